"""Infobip, by its SMS API v3: JSON for each text, which may be refused under HTTP 200.

https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-sms-messages

Public: `InfobipKind`, `InfobipOptions`, `Infobip`.
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
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.jsonapi import json_of, json_request, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, digits, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse

#: Minutes that Infobip keeps a text: two days at most.
MAX_VALIDITY: Final = 2880

RULES: Final = (
    Rule(Fault.ACCOUNT, code="REJECTED_NOT_ENOUGH_CREDITS", meaning="no credit"),
    Rule(Fault.ACCOUNT, code="REJECTED_PREPAID_PACKAGE_EXPIRED", meaning="the package is used up"),
    Rule(Fault.ACCOUNT, code="REJECTED_SOURCE", meaning="the sender is not allowed"),
    Rule(Fault.ACCOUNT, code="REJECTED_SENDER", meaning="the sender is not allowed"),
    Rule(Fault.ACCOUNT, code="REJECTED_ACCOUNT", meaning="the account is blocked"),
    Rule(Fault.TRANSIENT, code="REJECTED_SYSTEM_ERROR", meaning="an error of its own"),
    Rule(Fault.TRANSIENT, code="REJECTED_FLOODING_FILTER", meaning="too many texts to that number"),
    Rule(Fault.ACCOUNT, (404,), meaning="the address of the API is wrong"),
    Rule(Fault.PERMANENT, (400,), meaning="a field is wrong"),
)
_SENDERS: Final = frozenset(("REJECTED_SOURCE", "REJECTED_SENDER"))
#: `groupId`: accepted, pending, delivered already; the others are undeliverable, expired and rejected.
_TAKEN: Final = (0, 1, 3)


@options
class InfobipOptions(CallbackOptions):
    """Text messages by Infobip."""

    channel: ClassVar[str] = "infobip"

    api_key: KeySource = option("The key; it needs the scope sms:message:send.", secret=True)
    base_url: str = option("Where its API is: `https://xxxxx.api.infobip.com`, each account has its own.")
    validity: Duration | None = validity()


@frozen(eq=False)
class Infobip:
    """Implements `egress.api.dialect.Dialect`."""

    options: InfobipOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """`App`, and the key."""
        return with_header(request, b"Authorization", f"App {secrets['api_key']}")

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """Each message has a status of its own, whose group decides."""
        answer = json_of(reply)
        if not 200 <= reply.code < 300:
            return refused(self.judge, reply, call, _problem(answer) or text_of(reply))
        message = at(answer, "messages", 0)
        group, name = at(message, "status", "groupId"), at(message, "messageId")
        if not isinstance(group, int) or (group in _TAKEN and not name):
            raise Unreadable("no status and messageId in the reply")
        if group in _TAKEN:
            return taken(self.judge, reply, call, str(name), at(message, "details", "messageCount"))
        code, text = (str(at(message, "status", key) or "") for key in ("name", "description"))
        return refused(self.judge, reply, call, text, code, senders=_SENDERS, otherwise=Fault.PERMANENT)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        webhooks: JsonObject = {"callbackData": text.id}
        if chosen.status_url is not None:
            webhooks["delivery"] = {"url": text.callback(chosen.status_url)}
            webhooks["contentType"] = "application/json"
        message: JsonObject = {
            "destinations": [{"to": digits(text.to)}],
            "content": {"text": text.words},
            "webhooks": webhooks,
        }
        if text.sender is not None:
            message["sender"] = digits(text.sender)
        minutes = text.validity(chosen.validity, 1, MAX_VALIDITY, 60)
        if minutes is not None:
            message["options"] = {"validityPeriod": {"amount": minutes, "timeUnit": "MINUTES"}}
        return json_request(f"{chosen.base_url}/sms/3/messages", {"messages": [message]})


def _problem(answer: object) -> str:
    """What an error says, in the form of today or of before."""
    found = [str(at(answer, name) or "") for name in ("errorCode", "description")]
    old = [str(at(answer, "requestError", "serviceException", name) or "") for name in ("messageId", "text")]
    violations = [at(answer, "violations", 0, name) for name in ("property", "violation")]
    return ": ".join(str(one) for one in (*found, *violations, *old) if one)


class InfobipKind(ApiKind):
    """Makes Infobip channels."""

    options = InfobipOptions

    def dialect(self, options: InfobipOptions, peer: Peer) -> Infobip:
        """For one account."""
        return Infobip(options, self.judge(peer, RULES, options))
