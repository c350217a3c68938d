"""Sinch's delivery reports: JSON, for a batch or for one recipient, signed over body, nonce and time.

https://developers.sinch.com/docs/sms/api-reference/sms/delivery-reports
https://developers.sinch.com/docs/conversation/callbacks#validating-callbacks
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kumotwist.config.receipts import SinchReceipts
from kumotwist.core.json import at
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, hmac_of, same

_STATES: Final = {
    "queued": ReceiptState.ACCEPTED,
    "dispatched": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "aborted": ReceiptState.FAILED,
    "cancelled": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "deleted": ReceiptState.FAILED,
    "failed": ReceiptState.FAILED,
    "expired": ReceiptState.EXPIRED,
    "unknown": ReceiptState.UNKNOWN,
}
#: Sinch's own codes of delivery reports, .../sms/delivery-reports/delivery-report-error-codes
_CLASSES: Final = {
    "402": ReceiptClass.HARD,
    **dict.fromkeys(("404", "406"), ReceiptClass.SOFT),
    "408": ReceiptClass.BLOCK,
    **dict.fromkeys(("405", "411", "414", "415"), ReceiptClass.CONTENT),
    **dict.fromkeys(("410", "412", "413"), ReceiptClass.ACCOUNT),
}
_EXPIRED: Final = "406"
_FACTS: Final = ("code", "client_reference", "operator", "applied_originator", "encoding", "number_of_message_parts")


def verify(callback: Callback, options: SinchReceipts, secrets: Mapping[str, str], now: float) -> str:
    """HMAC-SHA256 over body, nonce and timestamp."""
    if "webhook_secret" not in secrets:
        return ""
    shown = callback.required("x-sinch-webhook-signature")
    nonce = callback.required("x-sinch-webhook-signature-nonce")
    timestamp = callback.required("x-sinch-webhook-signature-timestamp")
    signed = callback.body + f".{nonce}.{timestamp}".encode()
    if not same(base64.b64encode(hmac_of(secrets["webhook_secret"], signed)), shown.strip()):
        raise Unproven("the signature is wrong")
    check_age(timestamp, now, SCHEME.age_limit(options))
    return nonce


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """One event for each recipient; a summary without recipients speaks for the batch."""
    body = callback.json()
    if not text(body, "batch_id"):
        raise Unreadable("there is no batch_id")
    return list(_events(body))


def _events(body: Any) -> Iterator[ReceiptEvent]:
    if text(body, "recipient"):
        yield _event(body, body, text(body, "recipient"))
        return
    for group in each(body, "statuses"):
        for recipient in list(each(group, "recipients")) or [""]:
            yield _event(body, group, recipient if isinstance(recipient, str) else "")


def _event(body: Any, group: Any, recipient: str) -> ReceiptEvent:
    status, code = text(group, "status"), text(group, "code")
    state = _STATES.get(status.lower(), ReceiptState.UNKNOWN)
    class_ = ReceiptClass.NONE
    if code == _EXPIRED or state is ReceiptState.EXPIRED:
        state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    elif state is ReceiptState.FAILED:
        class_ = _CLASSES.get(code, ReceiptClass.UNDETERMINED)
    return ReceiptEvent(
        channel="sinch",
        state=state,
        class_=class_,
        text=f"{code} {status}" if code not in ("", "0") else status,
        spool_id=our_id(at(body, "client_reference")),
        remote_id=text(body, "batch_id"),
        recipient=recipient,
        event_id=f"{text(body, 'batch_id')}/{recipient}/{status}/{code}",
        event_time=moment(at(body, "operator_status_at")) or moment(at(body, "at")),
        facts=plain(body, _FACTS),
    )


#: Sinch tries for 22 hours.
SCHEME: Final = Scheme("sinch", parse, verify, 86400.0)
