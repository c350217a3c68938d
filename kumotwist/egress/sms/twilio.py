"""Twilio, by its Messages resource: a form for each text.

https://www.twilio.com/docs/messaging/api/message-resource

Public: `TwilioKind`, `TwilioOptions`, `Twilio`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.form import form_request
from kumotwist.egress.api.jsonapi import id_in, json_of, text_of, with_header
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, plan_texts, refused, taken
from kumotwist.egress.sms.options import CallbackOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse, basic_auth

#: Seconds that Twilio keeps a text (ValidityPeriod of its API: 1 to 36000).
MAX_VALIDITY: Final = 36000

RULES: Final = (
    Rule(Fault.THROTTLED, code="20429", meaning="too many requests"),
    Rule(Fault.THROTTLED, code="14107", meaning="the sender's rate is exceeded"),
    Rule(Fault.THROTTLED, code="21611", meaning="the sender's queue is full"),
    Rule(Fault.ACCOUNT, code="63038", meaning="the account's messages of the day are used up"),
    Rule(Fault.ACCOUNT, code="30002", meaning="the account is suspended"),
    Rule(Fault.ACCOUNT, code="20005", meaning="the account is not active"),
    Rule(Fault.ACCOUNT, code="21603", meaning="no sender was given"),
    Rule(Fault.ACCOUNT, code="21606", meaning="the sender is not a number of the account that can send texts"),
    Rule(Fault.ACCOUNT, code="21659", meaning="the sender is not a number of Twilio's"),
    Rule(Fault.ACCOUNT, code="21660", meaning="the sender is another account's"),
    Rule(Fault.ACCOUNT, code="21701", meaning="the messaging service does not exist"),
    Rule(Fault.ACCOUNT, code="21703", meaning="the messaging service has no number"),
    Rule(Fault.PERMANENT, code="21211", meaning="the number does not exist"),
    Rule(Fault.PERMANENT, code="21408", meaning="the account may not send to that country"),
    Rule(Fault.PERMANENT, code="21610", meaning="the recipient unsubscribed from this sender"),
    Rule(Fault.PERMANENT, code="21612", meaning="the sender cannot reach that number"),
    Rule(Fault.PERMANENT, code="21614", meaning="the number is not a mobile one"),
    Rule(Fault.PERMANENT, code="21617", meaning="the text is longer than 1,600 characters"),
    Rule(Fault.TRANSIENT, code="30001", meaning="its queue was full"),
    Rule(Fault.TRANSIENT, code="30008", meaning="it does not know why"),
    Rule(Fault.ACCOUNT, (404,), "20404", meaning="the account does not exist"),
)

#: Rules above that speak of the sender.
_SENDERS: Final = frozenset(("21603", "21606", "21659", "21660"))
_FAILED: Final = ("failed", "undelivered", "canceled")


@options
class TwilioOptions(CallbackOptions):
    """Text messages by Twilio."""

    channel: ClassVar[str] = "twilio"

    account_sid: str = option("The account, `AC` and 32 hexadecimal digits.")
    auth_token: KeySource = option("Its token, or the secret of `api_key`.", secret=True)
    api_key: str | None = option("An API key, `SK…`, to log in with instead of the account.", default=None)
    messaging_service_sid: str | None = option("The messaging service, `MG…`, that chooses a sender.", default=None)
    validity: Duration | None = validity()
    base_url: str = option("Where its API is.", default="https://api.twilio.com")


@frozen(eq=False)
class Twilio:
    """Implements `egress.api.dialect.Dialect`."""

    options: TwilioOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:  # noqa: ARG002
        """HTTP Basic."""
        user = self.options.api_key or self.options.account_sid
        return with_header(request, b"Authorization", basic_auth(user, secrets["auth_token"]).decode())

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`sid` comes back as MessageSid; a 201 may be about a text that has failed already."""
        answer = json_of(reply)
        failed = at(answer, "status") in _FAILED
        if 200 <= reply.code < 300 and not failed:
            return taken(self.judge, reply, call, id_in(answer, "sid"), at(answer, "num_segments"))
        code = at(answer, "code") or at(answer, "error_code")
        text = str(at(answer, "message") or at(answer, "error_message") or text_of(reply))
        otherwise = Fault.PERMANENT if failed else None
        return refused(self.judge, reply, call, text, code, senders=_SENDERS, otherwise=otherwise)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        fields = [("To", text.to), ("Body", text.words)]
        if text.sender is not None:
            fields.append(("From", text.sender))
        if chosen.messaging_service_sid is not None:
            fields.append(("MessagingServiceSid", chosen.messaging_service_sid))
        callback, validity = text.callback(chosen.status_url), text.validity(chosen.validity, 1, MAX_VALIDITY)
        if callback is not None:
            fields.append(("StatusCallback", callback))
        if validity is not None:
            fields.append(("ValidityPeriod", str(validity)))
        url = f"{chosen.base_url}/2010-04-01/Accounts/{chosen.account_sid}/Messages.json"
        return form_request(url, fields)


class TwilioKind(ApiKind):
    """Makes Twilio channels."""

    options = TwilioOptions

    def dialect(self, options: TwilioOptions, peer: Peer) -> Twilio:
        """For one account."""
        return Twilio(options, self.judge(peer, RULES, options))
