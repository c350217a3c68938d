"""Sinch, by its SMS REST API: a batch of one for each text.

https://developers.sinch.com/docs/sms/api-reference

Public: `SinchKind`, `SinchOptions`, `Sinch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse

#: Seconds that Sinch keeps a text: three days at most (`expire_at` of its API); the least is ours.
MIN_VALIDITY: Final = 60
MAX_VALIDITY: Final = 259_200

RULES: Final = (
    Rule(Fault.PERMANENT, (403,), "illegal_number_type", meaning="that kind of number cannot get texts there"),
    Rule(Fault.ACCOUNT, (404,), meaning="the service plan does not exist there"),
    Rule(Fault.PERMANENT, (400,), meaning="a field is wrong"),
)


@options
class SinchOptions(CallbackOptions):
    """Text messages by Sinch."""

    channel: ClassVar[str] = "sinch"

    service_plan: str = option("The service plan's id.")
    api_token: KeySource = option("Its API token.", secret=True)
    validity: Duration | None = validity()
    base_url: str = option(
        "Where its API is; regions are `us`, `eu`, `au`, `br` and `ca`.", default="https://us.sms.api.sinch.com"
    )


@frozen(eq=False)
class Sinch:
    """Implements `egress.api.dialect.Dialect`."""

    options: SinchOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, lambda text: self._request(text, now), now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """A bearer token."""
        return with_header(request, b"Authorization", f"Bearer {secrets['api_token']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """The batch's `id` comes back as `batch_id`."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "id"))
        return refused(self.judge, reply, call, str(at(answer, "text") or text_of(reply)), at(answer, "code"))

    def _request(self, text: Text, now: float) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "to": [digits(text.to)],
            "body": text.words,
            "type": "mt_text",
            "delivery_report": "per_recipient",
            "client_reference": text.id,
        }
        if text.sender is not None:
            value["from"] = digits(text.sender)
        if chosen.status_url is not None:
            value["callback_url"] = text.callback(chosen.status_url)
        life = text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if life is not None:
            value["expire_at"] = datetime.fromtimestamp(now + life, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return json_request(f"{chosen.base_url}/xms/v1/{chosen.service_plan}/batches", value)


class SinchKind(ApiKind):
    """Makes Sinch channels."""

    options = SinchOptions

    def dialect(self, options: SinchOptions, peer: Peer) -> Sinch:
        """For one service plan."""
        return Sinch(options, self.judge(peer, RULES, options))
