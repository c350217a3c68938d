"""Plivo, by its Message API: JSON for each text.

https://www.plivo.com/docs/messaging/api/message/send-a-message

Public: `PlivoKind`, `PlivoOptions`, `Plivo`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse, basic_auth

#: Seconds that Plivo keeps a text (`message_expiry` of its API, whose default is the most).
MIN_VALIDITY: Final = 5
MAX_VALIDITY: Final = 10_800

RULES: Final = (
    Rule(Fault.ACCOUNT, (400,), says="insufficient", meaning="no credit"),
    Rule(Fault.ACCOUNT, (404,), meaning="the account does not exist"),
    Rule(Fault.PERMANENT, (400,), meaning="a field is wrong"),
)


@options
class PlivoOptions(CallbackOptions):
    """Text messages by Plivo."""

    channel: ClassVar[str] = "plivo"

    auth_id: str = option("The account's Auth ID.")
    auth_token: KeySource = option("Its Auth Token.", secret=True)
    powerpack: str | None = option(
        "UUID of the Powerpack that chooses a sender; no sender is given then.", default=None
    )
    validity: Duration | None = validity()
    base_url: str = option("Where its API is.", default="https://api.plivo.com")


@frozen(eq=False)
class Plivo:
    """Implements `egress.api.dialect.Dialect`."""

    options: PlivoOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        needs_sender = self.options.powerpack is None
        return plan_texts(batch, self.options, self.judge, self._request, now, needs_sender)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """HTTP Basic."""
        return with_header(request, b"Authorization", basic_auth(self.options.auth_id, secrets["auth_token"]).decode())

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """202 and one `message_uuid` for the whole text; reports about it speak of it all."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "message_uuid", 0))
        error = at(answer, "error")
        text = str(at(error, "error") or (error if isinstance(error, str) else "") or text_of(reply))
        return refused(self.judge, reply, call, text)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {"dst": text.to, "text": text.words, "type": "sms"}
        if chosen.powerpack is not None:
            value["powerpack_uuid"] = chosen.powerpack
        else:
            value["src"] = text.sender or ""
        if chosen.status_url is not None:
            value["url"], value["method"] = text.callback(chosen.status_url), "POST"
        expiry = text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if expiry is not None:
            value["message_expiry"] = expiry
        return json_request(f"{chosen.base_url}/v1/Account/{chosen.auth_id}/Message/", value)


class PlivoKind(ApiKind):
    """Makes Plivo channels."""

    options = PlivoOptions

    def dialect(self, options: PlivoOptions, peer: Peer) -> Plivo:
        """For one account."""
        return Plivo(options, self.judge(peer, RULES, options))
