"""Status reports of Bird's Channels API (JSON), and of MessageBird's REST API before it (a query).

https://docs.bird.com/api/notifications-api/api-reference/webhook-subscriptions/verifying-a-webhook-subscription
https://developers.messagebird.com/api/#verifying-http-requests
https://developers.messagebird.com/api/sms-messaging/#handle-a-status-report
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kumotwist.config.receipts import BirdReceipts
from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, hmac_of, jwt_claims, same, sha256_hex

_STATES: Final = {
    "accepted": ReceiptState.ACCEPTED,
    "scheduled": ReceiptState.ACCEPTED,
    "processing": ReceiptState.ACCEPTED,
    "buffered": ReceiptState.DEFERRED,
    "sent": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "expired": ReceiptState.EXPIRED,
    "delivery_failed": ReceiptState.FAILED,
    "sending_failed": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "skipped": ReceiptState.FAILED,
    "read": ReceiptState.OPENED,
}
#: MessageBird's status reasons.
_CLASSES: Final = {
    "unknown subscriber": ReceiptClass.HARD,
    "unavailable subscriber": ReceiptClass.SOFT,
    "expired": ReceiptClass.SOFT,
    "opted out": ReceiptClass.SUPPRESSED,
    "received network error": ReceiptClass.SOFT,
    "insufficient balance": ReceiptClass.ACCOUNT,
    "carrier rejected": ReceiptClass.BLOCK,
    "capacity limit reached": ReceiptClass.SOFT,
    "generic delivery failure": ReceiptClass.UNDETERMINED,
}
_FACTS: Final = ("statusErrorCode", "statusReason", "mccmnc", "reference", "price[amount]", "messagePartCount")


def verify(callback: Callback, options: BirdReceipts, secrets: Mapping[str, str], now: float) -> str:
    """Bird's HMAC over time, URL and digest of the body, or MessageBird's JWT with the digests of URL and body."""
    if "signing_key" not in secrets:
        return ""
    key = secrets["signing_key"]
    token = callback.header("MessageBird-Signature-JWT")
    if token:
        return _verify_jwt(callback, token, key, now)
    shown, timestamp = callback.required("messagebird-signature"), callback.required("messagebird-request-timestamp")
    signed = f"{timestamp}\n{callback.url}\n".encode() + hashlib.sha256(callback.body).digest()
    if not same(base64.b64encode(hmac_of(key, signed)), shown.strip()):
        raise Unproven("the signature is wrong; is public_url what Bird was given?")
    check_age(timestamp, now, SCHEME.age_limit(options))
    return shown


def _verify_jwt(callback: Callback, token: str, key: str, now: float) -> str:
    claims = jwt_claims(token, key, now)
    if text(claims, "iss") != "MessageBird" or "exp" not in claims:
        raise Unproven("the token is not MessageBird's")
    if not same(hashlib.sha256(callback.url.encode()).hexdigest(), text(claims, "url_hash").lower()):
        raise Unproven("the token is for another URL; is public_url what MessageBird was given?")
    digest = text(claims, "payload_hash").lower()
    if bool(callback.body) != bool(digest) or (digest and not same(sha256_hex(callback.body), digest)):
        raise Unproven("the body is not the one that was signed")
    return text(claims, "jti")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    if callback.body[:1] == b"{":
        return [_bird(callback)]
    return [_messagebird(callback)]


def _bird(callback: Callback) -> ReceiptEvent:
    body = callback.json()
    payload = at(body, "payload")
    remote_id, status = text(payload, "id"), text(payload, "status")
    if not remote_id or not status:
        raise Unreadable("there is no payload.id or no payload.status")
    state, reason = _STATES.get(status, ReceiptState.UNKNOWN), text(payload, "reason")
    return ReceiptEvent(
        channel="bird",
        state=state,
        class_=_class_of(state, reason),
        text=text(payload, "failure", "description") or reason or status,
        spool_id=our_id(text(payload, "reference")) or our_id(at(payload, "meta", "extraInformation", METADATA_ID)),
        remote_id=remote_id,
        recipient=text(payload, "receiver", "contacts", 0, "identifierValue"),
        event_id=f"{remote_id}/{status}",
        event_time=moment(at(payload, "lastStatusAt")) or moment(at(payload, "updatedAt")),
        facts=plain(payload, ("channelId", "reference", "reason")),
    )


def _messagebird(callback: Callback) -> ReceiptEvent:
    given: Any = dict(callback.form())
    remote_id, status = text(given, "id"), text(given, "status")
    if not remote_id or not status:
        raise Unreadable("there is no id or no status")
    state, reason = _STATES.get(status, ReceiptState.UNKNOWN), text(given, "statusReason")
    return ReceiptEvent(
        channel="bird",
        state=state,
        class_=_class_of(state, reason),
        text=" ".join([one for one in (text(given, "statusErrorCode"), reason) if one]) or status,
        spool_id=our_id(text(given, "reference")) or our_id(callback.parameters().get(METADATA_ID)),
        remote_id=remote_id,
        recipient=text(given, "recipient"),
        event_id=f"{remote_id}/{text(given, 'recipient')}/{status}",
        event_time=moment(text(given, "statusDatetime")),
        facts=plain(given, _FACTS),
    )


def _class_of(state: ReceiptState, reason: str) -> ReceiptClass:
    if state not in (ReceiptState.FAILED, ReceiptState.EXPIRED):
        return ReceiptClass.NONE
    # Bird's is one among others in a text: `details: …; reason: unknown_subscriber; code: 1`.
    said = reason.lower().replace("_", " ")
    return next((class_ for words, class_ in _CLASSES.items() if words in said), ReceiptClass.UNDETERMINED)


#: Both try for a day, and Bird may sign at the first try.
SCHEME: Final = Scheme("bird", parse, verify, 86400.0)
