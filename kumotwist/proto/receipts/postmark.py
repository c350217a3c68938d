"""Postmark's webhooks: one event as JSON; nothing is signed.

https://postmarkapp.com/developer/webhooks/webhooks-overview
https://postmarkapp.com/developer/api/bounce-api#bounce-types
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain, text

_STATES: Final = {
    "Delivery": ReceiptState.DELIVERED,
    "Bounce": ReceiptState.FAILED,
    "SpamComplaint": ReceiptState.COMPLAINED,
    "SubscriptionChange": ReceiptState.UNSUBSCRIBED,
    "Open": ReceiptState.OPENED,
    "Click": ReceiptState.CLICKED,
}
#: Postmark's bounce types.
_BOUNCES: Final = {
    "HardBounce": (ReceiptState.FAILED, ReceiptClass.HARD),
    "BadEmailAddress": (ReceiptState.FAILED, ReceiptClass.HARD),
    "SoftBounce": (ReceiptState.FAILED, ReceiptClass.SOFT),
    "Undeliverable": (ReceiptState.FAILED, ReceiptClass.SOFT),
    "Transient": (ReceiptState.DEFERRED, ReceiptClass.SOFT),
    "DnsError": (ReceiptState.DEFERRED, ReceiptClass.SOFT),
    "Blocked": (ReceiptState.FAILED, ReceiptClass.BLOCK),
    "DMARCPolicy": (ReceiptState.FAILED, ReceiptClass.BLOCK),
    "SpamNotification": (ReceiptState.FAILED, ReceiptClass.CONTENT),
    "VirusNotification": (ReceiptState.FAILED, ReceiptClass.CONTENT),
    "TemplateRenderingFailed": (ReceiptState.FAILED, ReceiptClass.CONTENT),
    "ManuallyDeactivated": (ReceiptState.FAILED, ReceiptClass.SUPPRESSED),
    "Unconfirmed": (ReceiptState.FAILED, ReceiptClass.ACCOUNT),
    "SMTPApiError": (ReceiptState.FAILED, ReceiptClass.ACCOUNT),
    "SpamComplaint": (ReceiptState.COMPLAINED, ReceiptClass.NONE),
    "Unsubscribe": (ReceiptState.UNSUBSCRIBED, ReceiptClass.NONE),
    "AutoResponder": (ReceiptState.UNKNOWN, ReceiptClass.AUTOREPLY),
    "AddressChange": (ReceiptState.UNKNOWN, ReceiptClass.AUTOREPLY),
    "ChallengeVerification": (ReceiptState.UNKNOWN, ReceiptClass.AUTOREPLY),
}
_TIMES: Final = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")
_FACTS: Final = ("Type", "TypeCode", "Inactive", "OriginalLink", "UserAgent", "SuppressionReason", "MessageStream")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    event = callback.json()
    kind = text(event, "RecordType")
    if not kind:
        raise Unreadable("there is no RecordType; is it the inbound webhook?")
    state, class_ = _judge(event, kind)
    said = text(event, "Details") or text(event, "Description") or text(event, "SuppressionReason")
    return [
        ReceiptEvent(
            channel="postmark",
            state=state,
            class_=class_,
            text=said or (kind if kind not in _STATES else ""),
            spool_id=our_id(at(event, "Metadata", METADATA_ID)),
            remote_id=text(event, "MessageID"),
            recipient=text(event, "Email") or text(event, "Recipient"),
            # Only bounces and complaints are numbered.
            event_id=f"{kind}-{text(event, 'ID')}" if text(event, "ID") else "",
            event_time=next((moment(event[name]) for name in _TIMES if name in event), None),
            facts=plain(event, _FACTS),
        )
    ]


def _judge(event: Any, kind: str) -> tuple[ReceiptState, ReceiptClass]:
    if kind == "Bounce":
        return _BOUNCES.get(text(event, "Type"), (ReceiptState.FAILED, ReceiptClass.UNDETERMINED))
    if kind == "SubscriptionChange" and at(event, "SuppressSending") is False:
        # Subscribed again.
        return ReceiptState.UNKNOWN, ReceiptClass.NONE
    return _STATES.get(kind, ReceiptState.UNKNOWN), ReceiptClass.NONE


SCHEME: Final = Scheme("postmark", parse)
