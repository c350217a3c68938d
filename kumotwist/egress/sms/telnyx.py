"""Telnyx, by its Messages API v2: JSON for each text.

https://developers.telnyx.com/api/messaging/send-message

Public: `TelnyxKind`, `TelnyxOptions`, `Telnyx`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions
from kumotwist.net.http import HttpRequest, HttpResponse

RULES: Final = (
    Rule(Fault.THROTTLED, code="10011", meaning="too many requests"),
    Rule(Fault.THROTTLED, code="40318", meaning="the queue of the sender is full"),
    Rule(Fault.TRANSIENT, code="10007", meaning="an error of its own"),
    Rule(Fault.TRANSIENT, code="40320", meaning="the sender cannot be used just now"),
    Rule(Fault.ACCOUNT, code="10009", meaning="the key is wrong"),
    Rule(Fault.ACCOUNT, code="20100", meaning="no credit"),
    Rule(Fault.ACCOUNT, code="40305", meaning="the sender is not allowed"),
    Rule(Fault.ACCOUNT, code="40306", meaning="no alphanumeric sender is set up"),
    Rule(Fault.ACCOUNT, code="40311", meaning="the messaging profile does not exist"),
    Rule(Fault.ACCOUNT, code="40312", meaning="the messaging profile is disabled"),
    Rule(Fault.ACCOUNT, code="40315", meaning="the account is suspended"),
    Rule(Fault.ACCOUNT, code="40321", meaning="the messaging profile has no number that can be used"),
    Rule(Fault.ACCOUNT, code="40333", meaning="the messaging profile has spent its money"),
    Rule(Fault.PERMANENT, code="40300", meaning="the recipient unsubscribed with STOP"),
    Rule(Fault.PERMANENT, code="40302", meaning="the text is too long"),
    Rule(Fault.PERMANENT, code="40308", meaning="the profile may not send to that country"),
    Rule(Fault.PERMANENT, code="40310", meaning="the number is wrong"),
    Rule(Fault.PERMANENT, code="40322", meaning="blocked for what it says"),
    Rule(Fault.PERMANENT, (400, 422), meaning="a field is wrong"),
)
_SENDERS: Final = frozenset(("40305", "40306", "40320"))


@options
class TelnyxOptions(CallbackOptions):
    """Text messages by Telnyx."""

    channel: ClassVar[str] = "telnyx"

    api_key: KeySource = option("The key.", secret=True)
    messaging_profile: str | None = option(
        "Id of the messaging profile; chooses a sender where none is given.", default=None
    )
    base_url: str = option("Where its API is.", default="https://api.telnyx.com")


@frozen(eq=False)
class Telnyx:
    """Implements `egress.api.dialect.Dialect`."""

    options: TelnyxOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets['api_key']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`data.id` comes back with every event; errors have numbers of their own."""
        answer = json_of(reply)
        error = at(answer, "errors", 0) or at(answer, "data", "errors", 0)
        if 200 <= reply.code < 300 and error is None:
            return taken(self.judge, reply, call, id_in(answer, "data", "id"), at(answer, "data", "parts"))
        text = ": ".join(str(at(error, key)) for key in ("title", "detail") if at(error, key))
        code = at(error, "code")
        otherwise = Fault.PERMANENT if reply.code < 300 else None
        return refused(self.judge, reply, call, text or text_of(reply), code, senders=_SENDERS, otherwise=otherwise)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "to": text.to,
            "text": text.words,
            "type": "SMS",
            "encoding": "ucs2" if text.is_unicode else "gsm7",
        }
        if text.sender is not None:
            value["from"] = text.sender
        if chosen.messaging_profile is not None:
            value["messaging_profile_id"] = chosen.messaging_profile
        if chosen.status_url is not None:
            value["webhook_url"], value["use_profile_webhooks"] = text.callback(chosen.status_url), False
        return json_request(f"{chosen.base_url}/v2/messages", value)


class TelnyxKind(ApiKind):
    """Makes Telnyx channels."""

    options = TelnyxOptions

    def dialect(self, options: TelnyxOptions, peer: Peer) -> Telnyx:
        """For one account."""
        return Telnyx(options, self.judge(peer, RULES, options))
