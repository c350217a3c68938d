"""SendGrid's Event Webhook: a JSON array of events, signed with ECDSA on P-256.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features

Our id comes back among the event's own fields: custom_args are flattened into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from kumotwist.config.receipts import SendgridReceipts
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, unbase64

_SIGNATURE: Final = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP: Final = "X-Twilio-Email-Event-Webhook-Timestamp"
_STATES: Final = {
    "processed": ReceiptState.ACCEPTED,
    "deferred": ReceiptState.DEFERRED,
    "delivered": ReceiptState.DELIVERED,
    "bounce": ReceiptState.FAILED,
    "dropped": ReceiptState.FAILED,
    "open": ReceiptState.OPENED,
    "click": ReceiptState.CLICKED,
    "spamreport": ReceiptState.COMPLAINED,
    "unsubscribe": ReceiptState.UNSUBSCRIBED,
    "group_unsubscribe": ReceiptState.UNSUBSCRIBED,
}
#: Why an event was dropped, by what its reason begins with.
_DROPPED: Final = (
    ("invalid", ReceiptClass.HARD),
    ("spam content", ReceiptClass.CONTENT),
    ("recipient list over", ReceiptClass.ACCOUNT),
    ("", ReceiptClass.SUPPRESSED),
)
_FACTS: Final = ("ip", "url", "useragent", "attempt", "status", "sg_machine_open", "bounce_classification", "smtp-id")


def verify(callback: Callback, options: SendgridReceipts, secrets: Mapping[str, str], now: float) -> str:
    """ECDSA over timestamp and raw body."""
    if "verification_key" not in secrets:
        return ""
    signature, timestamp = callback.required(_SIGNATURE), callback.required(_TIMESTAMP)
    try:
        _key(secrets["verification_key"]).verify(
            unbase64(signature), timestamp.encode() + callback.body, ec.ECDSA(SHA256())
        )
    except InvalidSignature:
        raise Unproven("the signature is wrong") from None
    check_age(timestamp, now, SCHEME.age_limit(options))
    return signature


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """One event for each element."""
    return [_event(one) for one in each(callback.json()) if isinstance(one, dict)]


def _event(one: Any) -> ReceiptEvent:
    kind = text(one, "event")
    state = _STATES.get(kind, ReceiptState.UNKNOWN)
    reason = text(one, "response") or text(one, "reason") or (kind if state is ReceiptState.UNKNOWN else "")
    class_ = ReceiptClass.NONE
    if kind == "dropped":
        class_ = next(found for start, found in _DROPPED if reason.lower().startswith(start))
    elif kind == "bounce":
        class_ = ReceiptClass.BLOCK if text(one, "type") == "blocked" else ReceiptClass.HARD
        if text(one, "type") == "expired":
            state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    return ReceiptEvent(
        channel="sendgrid",
        state=state,
        class_=class_,
        text=reason,
        spool_id=our_id(one.get(METADATA_ID)),
        remote_id=text(one, "sg_message_id"),
        recipient=text(one, "email"),
        event_id=text(one, "sg_event_id"),
        event_time=moment(one.get("timestamp")),
        facts=plain(one, _FACTS),
    )


def _key(written: str) -> ec.EllipticCurvePublicKey:
    try:
        if "-----BEGIN" in written:
            key = load_pem_public_key(written.encode())
        else:
            key = load_der_public_key(unbase64(written, "verification key"))
    except (ValueError, UnsupportedAlgorithm):
        raise Unproven("our verification key is none") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Unproven("our verification key is not for ECDSA")
    return key


#: SendGrid tries for a day.
SCHEME: Final = Scheme("sendgrid", parse, verify, 86400.0)
