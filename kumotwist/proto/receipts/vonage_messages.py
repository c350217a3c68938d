"""Status webhooks of Vonage's Messages API: JSON, with a JWT that has the body's digest.

https://developer.vonage.com/en/messages/concepts/delivery-receipts
https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kumotwist.config.receipts import VonageMessagesReceipts
from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, jwt_claims, same, sha256_hex

_STATES: Final = {
    "submitted": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "read": ReceiptState.OPENED,
    "rejected": ReceiptState.FAILED,
    "undeliverable": ReceiptState.FAILED,
}
#: Vonage's numbers of Messages errors, https://developer.vonage.com/en/api-errors/messages
_CLASSES: Final = {
    **dict.fromkeys(("1170", "1190", "1260"), ReceiptClass.HARD),
    **dict.fromkeys(("1000", "1030", "1100", "1180", "1200", "1220", "1230", "1290"), ReceiptClass.SOFT),
    **dict.fromkeys(("1210", "1270", "1280"), ReceiptClass.BLOCK),
    **dict.fromkeys(("1040", "1090"), ReceiptClass.CONTENT),
    **dict.fromkeys(("1050", "1240"), ReceiptClass.SUPPRESSED),
    **dict.fromkeys(("1060", "1070", "1080", "1120", "1140", "1160"), ReceiptClass.ACCOUNT),
}
_FACTS: Final = ("from", "channel", "client_ref")


def verify(callback: Callback, options: VonageMessagesReceipts, secrets: Mapping[str, str], now: float) -> str:
    """The JWT's signature, age and digest of the body."""
    if "signature_secret" not in secrets:
        return ""
    scheme, _, token = callback.required("Authorization").partition(" ")
    if scheme.lower() != "bearer":
        raise Unproven("there is no bearer token")
    claims = jwt_claims(token, secrets["signature_secret"], now)
    if callback.body and not same(sha256_hex(callback.body), text(claims, "payload_hash").lower()):
        raise Unproven("the body is not the one that was signed")
    check_age(moment(at(claims, "iat")) or 0.0, now, SCHEME.age_limit(options))
    return text(claims, "jti")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    body = callback.json()
    remote_id, status = text(body, "message_uuid"), text(body, "status")
    if not remote_id or not status:
        raise Unreadable("there is no message_uuid or no status")
    state = _STATES.get(status, ReceiptState.UNKNOWN)
    code = text(body, "error", "title") or text(body, "error", "code")
    said = " ".join([one for one in (code, text(body, "error", "detail")) if one])
    parts = text(body, "sms", "count_total")
    return [
        ReceiptEvent(
            channel="vonage_messages",
            state=state,
            class_=_CLASSES.get(code, ReceiptClass.UNDETERMINED) if state is ReceiptState.FAILED else ReceiptClass.NONE,
            text=said or status,
            spool_id=our_id(at(body, "client_ref")) or our_id(callback.parameters().get(METADATA_ID)),
            remote_id=remote_id,
            recipient=text(body, "to"),
            event_id=f"{remote_id}/{status}",
            event_time=moment(at(body, "timestamp")),
            parts=int(parts) if parts.isdecimal() and len(parts) < 4 else None,
            facts=plain(body, _FACTS),
        )
    ]


#: Vonage tries for a day.
SCHEME: Final = Scheme("vonage_messages", parse, verify, 86400.0)
