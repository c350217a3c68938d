"""AWS's SMS: events of End User Messaging, and delivery status of SNS Publish, both by way of SNS.

https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html
https://docs.aws.amazon.com/sns/latest/dg/sms_stats_cloudwatch.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, parsed, plain, text
from kumotwist.proto.receipts.sns import SNS_MAX_AGE

_JUDGED: Final = {
    "TEXT_QUEUED": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "TEXT_PENDING": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "TEXT_SENT": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    # Taken by the carrier; in most countries nothing more is heard.
    "TEXT_SUCCESSFUL": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "TEXT_DELIVERED": (ReceiptState.DELIVERED, ReceiptClass.NONE),
    "TEXT_INVALID": (ReceiptState.FAILED, ReceiptClass.HARD),
    "TEXT_INVALID_MESSAGE": (ReceiptState.FAILED, ReceiptClass.CONTENT),
    "TEXT_UNREACHABLE": (ReceiptState.FAILED, ReceiptClass.SOFT),
    "TEXT_CARRIER_UNREACHABLE": (ReceiptState.FAILED, ReceiptClass.SOFT),
    "TEXT_BLOCKED": (ReceiptState.FAILED, ReceiptClass.BLOCK),
    "TEXT_CARRIER_BLOCKED": (ReceiptState.FAILED, ReceiptClass.BLOCK),
    "TEXT_PROTECT_BLOCKED": (ReceiptState.FAILED, ReceiptClass.SUPPRESSED),
    "TEXT_SPAM": (ReceiptState.FAILED, ReceiptClass.CONTENT),
    "TEXT_TTL_EXPIRED": (ReceiptState.EXPIRED, ReceiptClass.SOFT),
    "TEXT_UNKNOWN": (ReceiptState.UNKNOWN, ReceiptClass.UNDETERMINED),
}
_FACTS: Final = ("isoCountryCode", "carrierName", "mcc", "mnc", "totalMessagePrice", "priceInUSD", "smsType")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    body = callback.json()
    inner = at(body, "Message")
    event = parsed(inner) if isinstance(inner, str) else inner
    if text(event, "eventType"):
        return [_event(event, text(body, "MessageId"))]
    if text(event, "notification", "messageId"):
        return [_published(event, text(body, "MessageId"))]
    raise Unreadable("it is no event about an SMS")


def _event(event: Any, event_id: str) -> ReceiptEvent:
    kind = text(event, "eventType")
    state, class_ = _JUDGED.get(kind, (ReceiptState.UNKNOWN, ReceiptClass.NONE))
    parts = at(event, "totalMessageParts")
    return ReceiptEvent(
        channel="aws_sms",
        state=state,
        class_=class_,
        text=text(event, "messageStatusDescription") or kind,
        spool_id=our_id(at(event, "context", METADATA_ID)),
        remote_id=text(event, "messageId"),
        recipient=text(event, "destinationPhoneNumber"),
        event_id=event_id,
        event_time=moment(at(event, "eventTimestamp")),
        parts=parts if isinstance(parts, int) else None,
        facts=plain(event, _FACTS),
    )


def _published(event: Any, event_id: str) -> ReceiptEvent:
    is_delivered = text(event, "status") == "SUCCESS"
    return ReceiptEvent(
        channel="aws_sms",
        state=ReceiptState.DELIVERED if is_delivered else ReceiptState.FAILED,
        class_=ReceiptClass.NONE if is_delivered else ReceiptClass.UNDETERMINED,
        text=text(event, "delivery", "providerResponse"),
        remote_id=text(event, "notification", "messageId"),
        recipient=text(event, "delivery", "destination"),
        event_id=event_id,
        event_time=moment(at(event, "notification", "timestamp")),
        facts=plain(at(event, "delivery"), _FACTS),
    )


SCHEME: Final = Scheme("aws_sms", parse, max_age=SNS_MAX_AGE)
