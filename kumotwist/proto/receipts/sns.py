"""Amazon SNS: the envelope in which events of SES and of AWS's SMS service come.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

The signature is checked with a certificate whose address stands in the
message itself, so that address decides everything: only SNS's own hosts are
believed, over HTTPS, and a message without it or with another is refused
before anything is fetched. The same holds for the address by which a
subscription is confirmed.

Public: `Envelope`, `read_envelope`, `check_signature`, `SNS_MAX_AGE`. What can
go wrong: `Unproven`, `Unreadable`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from kumotwist.proto.receipts.callback import Callback, Unproven
from kumotwist.proto.receipts.reading import moment, text
from kumotwist.proto.receipts.signing import check_age, unbase64

#: Seconds. SNS's default delivery policy gives up within an hour, an operator's own within a day or so.
SNS_MAX_AGE: Final = 86400.0
NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
_HOST: Final = re.compile(r"sns\.[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?\Z")
_CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]+\.pem\Z")
#: The fields that are signed, in their order; a field that is absent is left out.
_SIGNED: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@frozen(kw_only=True)
class Envelope:
    """An SNS message, not yet believed."""

    type: str
    topic: str
    message_id: str
    message: str
    timestamp: str
    signed: bytes
    signature: str
    version: str
    certificate_url: str
    subscribe_url: str


def read_envelope(callback: Callback, topics: tuple[str, ...]) -> Envelope:
    """Read what can be judged without the certificate. Raises Unproven, Unreadable."""
    body = callback.json()
    kind, topic = text(body, "Type"), text(body, "TopicArn")
    names = _SIGNED.get(kind)
    if names is None:
        raise Unproven("it is no SNS message")
    if topic not in topics:
        raise Unproven("the topic is not one of ours")
    url = text(body, "SigningCertURL")
    _check_url(url, "SigningCertURL")
    if not _CERTIFICATE_PATH.match(urlsplit(url).path):
        raise Unproven("SigningCertURL names no certificate of SNS")
    subscribe_url = text(body, "SubscribeURL")
    if kind == CONFIRMATION:
        _check_url(subscribe_url, "SubscribeURL")
        parts = urlsplit(subscribe_url)
        if parts.path not in ("", "/") or "Action=ConfirmSubscription" not in parts.query.split("&"):
            raise Unproven("SubscribeURL confirms no subscription")
    return Envelope(
        type=kind,
        topic=topic,
        message_id=text(body, "MessageId"),
        message=text(body, "Message"),
        timestamp=text(body, "Timestamp"),
        signed=_signed(body, names),
        signature=text(body, "Signature"),
        version=text(body, "SignatureVersion"),
        certificate_url=url,
        subscribe_url=subscribe_url,
    )


def check_signature(envelope: Envelope, certificate: bytes, now: float, max_age: float) -> None:
    """Judge an envelope by the PEM certificate that stood at its `certificate_url`. Raises Unproven."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise Unproven("what stands at SigningCertURL is no certificate") from None
    moment_now = dt.datetime.fromtimestamp(now, dt.UTC)
    if not found.not_valid_before_utc <= moment_now <= found.not_valid_after_utc:
        raise Unproven("the signing certificate is not valid now")
    key = found.public_key()
    algorithm = {"1": SHA1(), "2": SHA256()}.get(envelope.version)  # noqa: S303  # version 1 is what SNS sends by default
    if not isinstance(key, rsa.RSAPublicKey) or algorithm is None:
        raise Unproven("the kind of signature is not known")
    try:
        key.verify(unbase64(envelope.signature), envelope.signed, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        raise Unproven("the signature is wrong") from None
    check_age(moment(envelope.timestamp) or 0.0, now, max_age)


def _signed(body: Any, names: tuple[str, ...]) -> bytes:
    lines = [f"{name}\n{text(body, name)}\n" for name in names if isinstance(body.get(name), str)]
    return "".join(lines).encode("utf-8", "replace")


def _check_url(url: str, what: str) -> None:
    """Pass only SNS's own addresses. Raises Unproven."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unproven(f"{what} is no URL") from None
    # The whole of netloc: neither user nor port nor anything that only looks like a host.
    if parts.scheme != "https" or port is not None or not _HOST.match(parts.netloc):
        raise Unproven(f"{what} is not an address of SNS")
