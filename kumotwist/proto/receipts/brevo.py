"""Brevo's webhooks: an object or, batched, an array, for mail and for SMS; nothing is signed.

https://developers.brevo.com/docs/transactional-webhooks and .../docs/webhooks-for-sms
Of its times only `ts_epoch` is in UTC for certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text

_JUDGED: Final = {
    "request": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "sent": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "accepted": (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    "delivered": (ReceiptState.DELIVERED, ReceiptClass.NONE),
    "deferred": (ReceiptState.DEFERRED, ReceiptClass.SOFT),
    "soft_bounce": (ReceiptState.FAILED, ReceiptClass.SOFT),
    "hard_bounce": (ReceiptState.FAILED, ReceiptClass.HARD),
    "invalid_email": (ReceiptState.FAILED, ReceiptClass.HARD),
    "blocked": (ReceiptState.FAILED, ReceiptClass.SUPPRESSED),
    "blacklisted": (ReceiptState.FAILED, ReceiptClass.SUPPRESSED),
    "rejected": (ReceiptState.FAILED, ReceiptClass.BLOCK),
    "error": (ReceiptState.FAILED, ReceiptClass.UNDETERMINED),
    "spam": (ReceiptState.COMPLAINED, ReceiptClass.NONE),
    "complaint": (ReceiptState.COMPLAINED, ReceiptClass.NONE),
    "opened": (ReceiptState.OPENED, ReceiptClass.NONE),
    "unique_opened": (ReceiptState.OPENED, ReceiptClass.NONE),
    "proxy_open": (ReceiptState.OPENED, ReceiptClass.NONE),
    "unique_proxy_open": (ReceiptState.OPENED, ReceiptClass.NONE),
    "click": (ReceiptState.CLICKED, ReceiptClass.NONE),
    "unsubscribe": (ReceiptState.UNSUBSCRIBED, ReceiptClass.NONE),
    "unsubscribed": (ReceiptState.UNSUBSCRIBED, ReceiptClass.NONE),
}
_FACTS: Final = ("link", "sending_ip", "user_agent", "device_used", "tag", "contact_id", "subject")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The events about mail."""
    return [_event(one, "brevo") for one in each(callback.json()) if isinstance(one, dict)]


def parse_sms(callback: Callback) -> Sequence[ReceiptEvent]:
    """The events about SMS."""
    ours = our_id(callback.parameters().get(METADATA_ID))
    return [_event(one, "brevo_sms", ours) for one in each(callback.json()) if isinstance(one, dict)]


def _event(one: Any, channel: str, ours: SpoolId | None = None) -> ReceiptEvent:
    # SMS: `msg_status`, `messageId`, `to`; mail: `event`, `message-id`, `email`.
    kind = (text(one, "event") or text(one, "msg_status")).lower()
    kind = {"hardbounce": "hard_bounce", "softbounce": "soft_bounce"}.get(kind, kind)
    state, class_ = _JUDGED.get(kind, (ReceiptState.UNKNOWN, ReceiptClass.NONE))
    said = text(one, "reason") or text(one, "description") or (kind if kind not in _JUDGED else "")
    return ReceiptEvent(
        channel=channel,
        state=state,
        class_=class_,
        text=said,
        spool_id=our_id(one.get("X-Mailin-custom")) or our_id(one.get("tag")) or ours,
        remote_id=text(one, "message-id") or text(one, "messageId"),
        recipient=text(one, "email") or text(one, "to"),
        event_time=moment(one.get("ts_epoch")) or moment(one.get("ts_event")),
        facts=plain(one, _FACTS),
    )


SCHEME: Final = Scheme("brevo", parse)
SMS_SCHEME: Final = Scheme("brevo_sms", parse_sms)
