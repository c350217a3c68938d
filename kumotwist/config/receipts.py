"""Options of receipts: how long they are remembered, and whose a listener takes.

Public: `ReceiptsConfig`, `ReceiptSources`, `ReceiptProof` and its provider's forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal

import attrs

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import Cidrs, Duration, WrongOption, option, options


@options
class ReceiptsConfig:
    """How long it is remembered what was handed over and what came back."""

    keep: Duration = option("Forget hand-overs and receipts after so long.", default=Duration(14 * 86400.0))
    keep_rows: int = option(
        "Forget the oldest above so many, of hand-overs, of mail that route tables sent by SMTP, and of receipts; a "
        "million of each of the first and the last take up to 0.7 GB.",
        default=1_000_000,
        unit="rows",
    )
    park: Duration = option(
        "Wait so long for the message of a receipt before it is written without one.", default=Duration(600.0)
    )
    max_parked: int = option(
        "Receipts that may wait; above it providers hear 503 and send them again.", default=200_000, unit="receipts"
    )


_PUBLIC_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?/?\Z")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}\Z")


@options
class ReceiptProof:
    """How one account proves that it is who it says; all that is given must be shown.

    `basic_user`, `bearer`, `token` and `hosts` are for providers that sign
    nothing, and may be asked of the others as well.
    """

    basic_user: str | None = option("User of HTTP Basic, as in the URL that the provider was given.", default=None)
    basic_password: KeySource | None = option("Its password.", default=None, secret=True)
    bearer: KeySource | None = option("What stands behind `Authorization: Bearer`.", default=None, secret=True)
    token: KeySource | None = option("What stands behind `token=` in the URL's query.", default=None, secret=True)
    hosts: Cidrs = option("Addresses that it calls from; none: any.", default=Cidrs())
    public_url: str | None = option(
        "Scheme, host and port by which it reaches us, where a proxy stands between: some sign the URL.", default=None
    )
    max_age: Duration | None = option(
        "Refuse what was signed longer ago; none: what fits the provider's retries.", default=None
    )

    #: Names of the options by which the provider's signature is checked.
    signed_by: ClassVar[tuple[str, ...]] = ()

    def __attrs_post_init__(self) -> None:
        """Raises ValueError when anybody could send receipts."""
        if (self.basic_user is None) != (self.basic_password is None):
            raise ValueError("'basic_user' and 'basic_password' go together")
        shown = [getattr(self, name) for name in (*self.signed_by, "basic_user", "bearer", "token")]
        if not any(shown) and not self.hosts.networks:
            known = ", ".join((*self.signed_by, "basic_user", "bearer", "token", "hosts"))
            raise ValueError(f"nothing proves who calls; give at least one of {known}")
        if self.public_url is not None and not _PUBLIC_URL.match(self.public_url):
            raise WrongOption("public_url", "must be like 'https://hooks.example.com', without a path")


@options
class SendgridReceipts(ReceiptProof):
    """SendGrid's Event Webhook."""

    verification_key: KeySource | None = option("The verification key of Signed Event Webhook.", default=None)
    signed_by: ClassVar[tuple[str, ...]] = ("verification_key",)


@options
class MailgunReceipts(ReceiptProof):
    """Mailgun's webhooks."""

    signing_key: KeySource | None = option("The HTTP webhook signing key.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("signing_key",)


@options
class ResendReceipts(ReceiptProof):
    """Resend's webhooks, signed by Svix."""

    signing_secret: KeySource | None = option("The signing secret, `whsec_…`.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("signing_secret",)


@options
class SnsReceipts(ReceiptProof):
    """Amazon's events by way of SNS."""

    topics: tuple[str, ...] = option(
        "ARNs of the topics that are ours: only their subscriptions are confirmed and their messages taken.", default=()
    )
    signed_by: ClassVar[tuple[str, ...]] = ("topics",)


@options
class TwilioReceipts(ReceiptProof):
    """Twilio's status callbacks."""

    auth_token: KeySource | None = option("The account's auth token.", default=None, secret=True)
    shared_key: KeySource | None = option(
        "The secret of a webhooks shared key, where one is in use.", default=None, secret=True
    )
    signed_by: ClassVar[tuple[str, ...]] = ("auth_token", "shared_key")


@options
class VonageReceipts(ReceiptProof):
    """Delivery receipts of Vonage's SMS API."""

    signature_secret: KeySource | None = option("The account's signature secret.", default=None, secret=True)
    signature_method: Literal["md5hash", "md5", "sha1", "sha256", "sha512"] = option(
        "As set in the account.", default="md5hash"
    )
    signed_by: ClassVar[tuple[str, ...]] = ("signature_secret",)


@options
class VonageMessagesReceipts(ReceiptProof):
    """Status webhooks of Vonage's Messages API."""

    signature_secret: KeySource | None = option("The account's signature secret.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("signature_secret",)


@options
class BirdReceipts(ReceiptProof):
    """Status reports of Bird and of MessageBird before it."""

    signing_key: KeySource | None = option("The signing key.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("signing_key",)


@options
class PlivoReceipts(ReceiptProof):
    """Plivo's message callbacks."""

    auth_token: KeySource | None = option("The (sub)account's auth token.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("auth_token",)


@options
class SinchReceipts(ReceiptProof):
    """Sinch's delivery reports."""

    webhook_secret: KeySource | None = option("The secret of webhook signatures.", default=None, secret=True)
    signed_by: ClassVar[tuple[str, ...]] = ("webhook_secret",)


@options
class TelnyxReceipts(ReceiptProof):
    """Telnyx's webhooks."""

    public_key: KeySource | None = option("The account's public key.", default=None)
    signed_by: ClassVar[tuple[str, ...]] = ("public_key",)


@options
class ReceiptSources:
    """Whose receipts a listener takes: for each channel, accounts by their names."""

    sendgrid: Mapping[str, SendgridReceipts] = option("SendGrid.", factory=dict)
    mailgun: Mapping[str, MailgunReceipts] = option("Mailgun.", factory=dict)
    sparkpost: Mapping[str, ReceiptProof] = option("SparkPost; it signs nothing.", factory=dict)
    postmark: Mapping[str, ReceiptProof] = option("Postmark; it signs nothing.", factory=dict)
    ses: Mapping[str, SnsReceipts] = option("Amazon SES by SNS.", factory=dict)
    mailjet: Mapping[str, ReceiptProof] = option("Mailjet; it signs nothing.", factory=dict)
    brevo: Mapping[str, ReceiptProof] = option("Brevo, mail; it signs nothing.", factory=dict)
    brevo_sms: Mapping[str, ReceiptProof] = option("Brevo, SMS; it signs nothing.", factory=dict)
    resend: Mapping[str, ResendReceipts] = option("Resend.", factory=dict)
    twilio: Mapping[str, TwilioReceipts] = option("Twilio.", factory=dict)
    vonage: Mapping[str, VonageReceipts] = option("Vonage's SMS API.", factory=dict)
    vonage_messages: Mapping[str, VonageMessagesReceipts] = option("Vonage's Messages API.", factory=dict)
    bird: Mapping[str, BirdReceipts] = option("Bird and MessageBird.", factory=dict)
    plivo: Mapping[str, PlivoReceipts] = option("Plivo.", factory=dict)
    sinch: Mapping[str, SinchReceipts] = option("Sinch.", factory=dict)
    infobip: Mapping[str, ReceiptProof] = option("Infobip; it signs nothing.", factory=dict)
    telnyx: Mapping[str, TelnyxReceipts] = option("Telnyx.", factory=dict)
    aws_sms: Mapping[str, SnsReceipts] = option("AWS End User Messaging by SNS.", factory=dict)
    kannel: Mapping[str, ReceiptProof] = option("Kannel; it signs nothing.", factory=dict)

    def __attrs_post_init__(self) -> None:
        """Raises ValueError for a name that cannot stand in a URL."""
        for channel, account, _ in self.accounts():
            if not _ACCOUNT.match(account):
                raise WrongOption(f"{channel}.{account}", "cannot stand in a URL; use letters, digits and _.-")

    def accounts(self) -> Iterator[tuple[str, str, ReceiptProof]]:
        """Every account: channel, name and options."""
        cls: type = type(self)
        for one in attrs.fields(cls):
            for account, proof in getattr(self, one.name).items():
                yield one.name, account, proof
