"""Telnyx's webhooks: one event as JSON, signed with Ed25519.

https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
https://developers.telnyx.com/docs/development/api-fundamentals/webhooks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kumotwist.config.receipts import TelnyxReceipts
from kumotwist.core.ids import SpoolId
from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, unbase64

_STATES: Final = {
    "queued": ReceiptState.ACCEPTED,
    "sending": ReceiptState.ACCEPTED,
    "sent": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "sending_failed": ReceiptState.FAILED,
    "delivery_failed": ReceiptState.FAILED,
    # No receipt came from the carrier.
    "delivery_unconfirmed": ReceiptState.UNKNOWN,
    "expired": ReceiptState.EXPIRED,
}
#: Telnyx's error codes of messages, https://developers.telnyx.com/docs/messaging/messages/error-codes
_CLASSES: Final = {
    **dict.fromkeys(("40001", "40012", "40310"), ReceiptClass.HARD),
    **dict.fromkeys(("40004", "40006", "40007", "40011", "40318"), ReceiptClass.SOFT),
    **dict.fromkeys(("40002", "40003", "40015"), ReceiptClass.BLOCK),
    "40009": ReceiptClass.CONTENT,
    "40013": ReceiptClass.ACCOUNT,
    "40300": ReceiptClass.SUPPRESSED,
}
_EXPIRED: Final = frozenset(("40005", "40014"))
_FACTS: Final = ("direction", "encoding", "messaging_profile_id", "tcr_campaign_id", "type")


def verify(callback: Callback, options: TelnyxReceipts, secrets: Mapping[str, str], now: float) -> str:
    """Ed25519 over timestamp and raw body."""
    if "public_key" not in secrets:
        return ""
    signature, timestamp = callback.required("telnyx-signature-ed25519"), callback.required("telnyx-timestamp")
    try:
        key = Ed25519PublicKey.from_public_bytes(unbase64(secrets["public_key"], "public key"))
    except ValueError:
        raise Unproven("our public key is none") from None
    try:
        key.verify(unbase64(signature), f"{timestamp}|".encode() + callback.body)
    except InvalidSignature:
        raise Unproven("the signature is wrong") from None
    check_age(timestamp, now, SCHEME.age_limit(options))
    return signature


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """One event for each recipient; those about other things than our messages are passed over."""
    data = at(callback.json(), "data")
    kind, payload = text(data, "event_type"), at(data, "payload")
    if not kind:
        raise Unreadable("there is no data.event_type")
    if kind not in ("message.sent", "message.finalized"):
        return ()
    ours = _our_id(payload) or our_id(callback.parameters().get(METADATA_ID))
    return [_event(data, payload, one, ours) for one in each(payload, "to")]


def _event(data: Any, payload: Any, to: Any, spool_id: SpoolId | None) -> ReceiptEvent:
    status, error = text(to, "status"), at(payload, "errors", 0)
    state = _STATES.get(status, ReceiptState.UNKNOWN)
    class_ = ReceiptClass.NONE
    if state is ReceiptState.EXPIRED or text(error, "code") in _EXPIRED:
        state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    elif state is ReceiptState.FAILED:
        class_ = _CLASSES.get(text(error, "code"), ReceiptClass.UNDETERMINED)
    said = " ".join([one for one in (text(error, "code"), text(error, "title"), text(error, "detail")) if one])
    parts, event_id = at(payload, "parts"), text(data, "id")
    return ReceiptEvent(
        channel="telnyx",
        state=state,
        class_=class_,
        text=said or status,
        spool_id=spool_id,
        remote_id=text(payload, "id"),
        recipient=text(to, "phone_number"),
        event_id=f"{event_id}/{text(to, 'phone_number')}" if event_id else "",
        event_time=moment(at(data, "occurred_at")),
        parts=parts if isinstance(parts, int) and parts > 0 else None,
        facts=plain(payload, _FACTS),
    )


def _our_id(payload: Any) -> Any:
    """Among the tags, ours has our name before it."""
    tags = [tag for tag in each(payload, "tags") if isinstance(tag, str) and tag.startswith(f"{METADATA_ID}:")]
    return our_id(tags[0].partition(":")[2]) if tags else None


#: Telnyx signs each try anew (its SDKs refuse what is older).
SCHEME: Final = Scheme("telnyx", parse, verify, 300.0)
