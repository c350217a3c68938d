"""AWS End User Messaging: SendTextMessage of its SMS and voice API v2, signed with Signature Version 4.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html

Public: `AwsSmsKind`, `AwsSmsOptions`, `AwsSms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

import msgspec
from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Duration, option, options
from kumotwist.core.json import JsonObject, at
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.aws import ACCOUNT_RULES, error_of, signed
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.jsonapi import id_in, json_of
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.sms.gateway import Text, plan_texts, refused, taken
from kumotwist.egress.sms.options import SmsOptions, validity
from kumotwist.net.http import HttpRequest, HttpResponse

#: Seconds that AWS keeps a text (TimeToLive of its model).
MIN_VALIDITY: Final = 5
MAX_VALIDITY: Final = 259_200
#: The operation in AWS's JSON protocol.
_TARGET: Final = b"PinpointSMSVoiceV2.SendTextMessage"

RULES: Final = (
    Rule(
        *(Fault.TRANSIENT, (400,), "ServiceQuotaExceededException", "DAILY_DESTINATION_CALL_LIMIT"),
        meaning="too many texts to that number today",
    ),
    Rule(Fault.ACCOUNT, (400,), "ServiceQuotaExceededException", meaning="a quota or the month's money is used up"),
    Rule(Fault.ACCOUNT, (400,), "ResourceNotFoundException", meaning="the sender or configuration set does not exist"),
    Rule(Fault.ACCOUNT, (400,), "SENDER_ID_NOT_REGISTERED", meaning="the sender is not registered"),
    Rule(Fault.ACCOUNT, (400,), "SENDER_ID_REQUIRES_REGISTRATION", meaning="the sender is not registered"),
    Rule(Fault.ACCOUNT, (400,), "SENDER_ID_NOT_SUPPORTED", meaning="names are no senders in that country"),
    Rule(Fault.ACCOUNT, (400,), "NO_ORIGINATION_IDENTITIES_FOUND", meaning="the account has nothing to send from"),
    Rule(
        Fault.PERMANENT, (400,), "ConflictException", meaning="the number opted out, or is not verified in the sandbox"
    ),
    Rule(Fault.PERMANENT, (400,), "ValidationException", meaning="a field is wrong, or the country is blocked"),
    *ACCOUNT_RULES,
)
#: Reasons above, which then stand for the exception's name.
_NAMED: Final = frozenset(rule.code for rule in RULES if rule.code is not None and rule.code.isupper())
#: What speaks of the sender.
_SENDERS: Final = frozenset((*_NAMED, "ResourceNotFoundException"))


@options
class AwsSmsOptions(SmsOptions):
    """Text messages by AWS End User Messaging."""

    channel: ClassVar[str] = "aws_sms"

    region: str = option("The AWS region, like `eu-west-1`.")
    access_key_id: KeySource = option("The access key's id.")
    secret_access_key: KeySource = option("The access key's secret.", secret=True)
    session_token: KeySource | None = option(
        "The token that temporary credentials come with.", default=None, secret=True
    )
    base_url: str = option("Where its API is; none: the region's.", default="")
    message_type: Literal["TRANSACTIONAL", "PROMOTIONAL"] = option(
        "`TRANSACTIONAL` for what is urgent or awaited.", default="TRANSACTIONAL"
    )
    configuration_set: str | None = option("The configuration set, which says where events go.", default=None)
    max_price: str | None = option("The most US dollars that a part may cost.", default=None)
    validity: Duration | None = validity()


@frozen(eq=False)
class AwsSms:
    """Implements `egress.api.dialect.Dialect`."""

    options: AwsSmsOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """One request for each recipient."""
        return plan_texts(batch, self.options, self.judge, self._request, now)

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """Signed for the region."""
        return signed(request, secrets, self.options.region, "sms-voice", now)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`MessageId` is what events call `messageId`."""
        if 200 <= reply.code < 300:
            return taken(self.judge, reply, call, id_in(json_of(reply), "MessageId"))
        name, text = error_of(reply)
        reason = str(at(json_of(reply), "Reason") or "")
        said = f"{name} {reason} {text}" if name and reason else f"{reason} {text}".strip()
        return refused(self.judge, reply, call, said, reason if reason in _NAMED else name, senders=_SENDERS)

    def _request(self, text: Text) -> HttpRequest:
        chosen = self.options
        value: JsonObject = {
            "DestinationPhoneNumber": text.to,
            "MessageBody": text.words,
            "MessageType": chosen.message_type,
            "Context": {METADATA_ID: text.id},
        }
        if text.sender is not None:
            value["OriginationIdentity"] = text.sender
        if chosen.configuration_set is not None:
            value["ConfigurationSetName"] = chosen.configuration_set
        if chosen.max_price is not None:
            value["MaxPrice"] = chosen.max_price
        ttl = text.validity(chosen.validity, MIN_VALIDITY, MAX_VALIDITY)
        if ttl is not None:
            value["TimeToLive"] = ttl
        headers = ((b"Content-Type", b"application/x-amz-json-1.0"), (b"X-Amz-Target", _TARGET))
        return HttpRequest(b"POST", f"{chosen.base_url}/", headers, msgspec.json.encode(value))


class AwsSmsKind(ApiKind):
    """Makes channels over AWS End User Messaging."""

    options = AwsSmsOptions

    def base_url(self, options: AwsSmsOptions) -> str:
        """The region's endpoint unless another is given."""
        return options.base_url or f"https://sms-voice.{options.region}.amazonaws.com"

    def dialect(self, options: AwsSmsOptions, peer: Peer) -> AwsSms:
        """For one account and region."""
        return AwsSms(options, self.judge(peer, RULES, options))
