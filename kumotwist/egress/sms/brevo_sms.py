"""Brevo, by its transactional SMS API: JSON for each text.

https://developers.brevo.com/reference/sendtransacsms

Public: `BrevoSmsKind`, `BrevoSmsOptions`, `BrevoSms`.
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
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions
from kumotwist.net.http import HttpRequest, HttpResponse

RULES: Final = (
    Rule(Fault.ACCOUNT, code="not_enough_credits", meaning="no credit"),
    Rule(Fault.ACCOUNT, code="account_under_validation", meaning="the account is not yet validated"),
    Rule(Fault.PERMANENT, (400,), meaning="a field is wrong"),
)


@options
class BrevoSmsOptions(CallbackOptions):
    """Text messages by Brevo."""

    channel: ClassVar[str] = "brevo_sms"

    api_key: KeySource = option("The key.", secret=True)
    tag: str | None = option("The tag that its statistics are kept by; none: our id.", default=None)
    base_url: str = option("Where its API is.", default="https://api.brevo.com")


@frozen(eq=False)
class BrevoSms:
    """Implements `egress.api.dialect.Dialect`."""

    options: BrevoSmsOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now, needs_sender=True)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """In a header of its own."""
        return with_header(request, b"api-key", secrets["api_key"])

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """201 and `messageId`, a number."""
        answer = json_of(reply)
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(answer, "messageId"), at(answer, "smsCount"))
        return refused(self.judge, reply, call, str(at(answer, "message") or text_of(reply)), at(answer, "code"))

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "sender": digits(text.sender or ""),
            "recipient": digits(text.to),
            "content": text.words,
            "type": "transactional",
            "unicodeEnabled": text.is_unicode,
            "tag": chosen.tag if chosen.tag is not None else text.id,
        }
        if chosen.status_url is not None:
            value["webUrl"] = text.callback(chosen.status_url)
        return json_request(f"{chosen.base_url}/v3/transactionalSMS/send", value)


class BrevoSmsKind(ApiKind):
    """Makes channels over Brevo's SMS API."""

    options = BrevoSmsOptions

    def dialect(self, options: BrevoSmsOptions, peer: Peer) -> BrevoSms:
        """For one account."""
        return BrevoSms(options, self.judge(peer, RULES, options))
