"""Amazon SES, by its API v2: raw MIME, up to 50 recipients a request, signed with Signature Version 4.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html

Public: `SesKind`, `SesOptions`, `Ses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from attrs import frozen

from kumotwist.config.option import option, options
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer
from kumotwist.core.receipt import METADATA_ID
from kumotwist.egress.api.aws import ACCOUNT_RULES, AwsOptions, error_of, signed
from kumotwist.egress.api.dialect import Call, Refused, Target, chunked, targets_of
from kumotwist.egress.api.jsonapi import id_in, json_of, json_request
from kumotwist.egress.api.judge import Fault, Judge, Rule
from kumotwist.egress.api.kind import ApiKind
from kumotwist.egress.api.parts import base64
from kumotwist.egress.api.rawmime import outgoing
from kumotwist.net.http import HttpRequest, HttpResponse

#: Recipients of one request (SES).
MAX_RECIPIENTS: Final = 50

RULES: Final = (
    Rule(Fault.ACCOUNT, (429,), says="daily message quota exceeded", meaning="the day's quota is used up"),
    Rule(Fault.ACCOUNT, (400,), "AccountSuspendedException", meaning="the account is suspended"),
    Rule(Fault.ACCOUNT, (400,), "SendingPausedException", meaning="sending is paused"),
    Rule(Fault.ACCOUNT, (400,), "LimitExceededException", meaning="a limit of the account"),
    Rule(Fault.ACCOUNT, (400,), "MailFromDomainNotVerifiedException", meaning="the MAIL FROM domain is not verified"),
    Rule(Fault.ACCOUNT, (400,), "MessageRejected", "not verified", meaning="the sender's address is not verified"),
    Rule(Fault.ACCOUNT, (404,), "NotFoundException", meaning="there is no such configuration set"),
    Rule(Fault.PERMANENT, (400,), "MessageRejected", meaning="the message has content that SES refuses"),
    Rule(Fault.PERMANENT, (400,), "BadRequestException", meaning="a field is wrong"),
    *ACCOUNT_RULES,
)


@options
class SesOptions(AwsOptions):
    """Delivery by Amazon SES."""

    channel: ClassVar[str] = "ses"

    configuration_set: str | None = option("The configuration set, which says where events go.", default=None)
    from_identity_arn: str | None = option(
        "The identity that authorizes the sender, for sending by others.", default=None
    )


@frozen(eq=False)
class Ses:
    """Implements `egress.api.dialect.Dialect`."""

    options: SesOptions
    judge: Judge

    max_batch: int = 1

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:  # noqa: ARG002
        """One request for each fifty recipients."""
        return [
            Call(self._request(batch[targets[0][0]], targets), targets)
            for every in targets_of(batch)
            for targets in chunked(every, MAX_RECIPIENTS)
        ]

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """Signed for the region."""
        return signed(request, secrets, self.options.region, "ses", now)

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """`MessageId` is what events call `mail.messageId`."""
        if 200 <= reply.code < 300:
            outcome = self.judge.delivered(reply, id_in(json_of(reply), "MessageId"))
        else:
            code, text = error_of(reply)
            outcome = self.judge.refused(reply, text, code)
        return [outcome] * len(call.targets)

    def _request(self, message: Message, targets: Sequence[Target]) -> HttpRequest:
        chosen = self.options
        to: list[Json] = [message.recipients[number].email for _, number in targets]
        value: JsonObject = {
            "Destination": {"ToAddresses": to},
            "Content": {"Raw": {"Data": base64(outgoing(message.body or b""))}},
            "EmailTags": [{"Name": METADATA_ID, "Value": message.id.hex()}],
        }
        if chosen.configuration_set is not None:
            value["ConfigurationSetName"] = chosen.configuration_set
        if chosen.from_identity_arn is not None:
            value["FromEmailAddressIdentityArn"] = chosen.from_identity_arn
        return json_request(f"{chosen.base_url}/v2/email/outbound-emails", value)


class SesKind(ApiKind):
    """Makes SES channels."""

    options = SesOptions

    def base_url(self, options: SesOptions) -> str:
        """The region's endpoint unless another is given."""
        return options.base_url or f"https://email.{options.region}.amazonaws.com"

    def dialect(self, options: SesOptions, peer: Peer) -> Ses:
        """For one account and region."""
        return Ses(options, self.judge(peer, RULES, options))
