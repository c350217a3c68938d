"""Amazon SES: event publishing and the older feedback notifications, both by way of SNS.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unreadable
from kumotwist.proto.receipts.reading import each, moment, our_id, parsed, plain, text
from kumotwist.proto.receipts.sns import SNS_MAX_AGE

#: State, and the member that has the details.
_KINDS: Final = {
    "Send": (ReceiptState.ACCEPTED, "send"),
    "Delivery": (ReceiptState.DELIVERED, "delivery"),
    "Bounce": (ReceiptState.FAILED, "bounce"),
    "Complaint": (ReceiptState.COMPLAINED, "complaint"),
    "Reject": (ReceiptState.FAILED, "reject"),
    "DeliveryDelay": (ReceiptState.DEFERRED, "deliveryDelay"),
    "Rendering Failure": (ReceiptState.FAILED, "failure"),
    "Open": (ReceiptState.OPENED, "open"),
    "Click": (ReceiptState.CLICKED, "click"),
    "Subscription": (ReceiptState.UNSUBSCRIBED, "subscription"),
}
#: Where the recipients of each kind stand, if not in the mail's destination.
_RECIPIENTS: Final = ("bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients")
_SUBTYPES: Final = {
    "Suppressed": ReceiptClass.SUPPRESSED,
    "OnAccountSuppressionList": ReceiptClass.SUPPRESSED,
    "ContentRejected": ReceiptClass.CONTENT,
    "AttachmentRejected": ReceiptClass.CONTENT,
    "MessageTooLarge": ReceiptClass.CONTENT,
}
_TYPES: Final = {
    "Permanent": ReceiptClass.HARD,
    "Transient": ReceiptClass.SOFT,
    "Undetermined": ReceiptClass.UNDETERMINED,
}
_FACTS: Final = ("bounceType", "bounceSubType", "complaintFeedbackType", "delayType", "link", "ipAddress", "userAgent")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """One event for each recipient."""
    body = callback.json()
    inner = at(body, "Message")
    event = parsed(inner) if isinstance(inner, str) else inner
    kind = text(event, "eventType") or text(event, "notificationType")
    if not kind:
        if "Successfully validated SNS topic" in text(body, "Message"):
            return ()
        raise Unreadable("it is no event of SES")
    return list(_events(event, kind, text(body, "MessageId")))


def _events(event: Any, kind: str, message_id: str) -> Iterator[ReceiptEvent]:
    state, member = _KINDS.get(kind, (ReceiptState.UNKNOWN, ""))
    details, mail = at(event, member) or {}, at(event, "mail")
    class_ = _class_of(kind, details)
    if class_ is ReceiptClass.AUTOREPLY:
        state = ReceiptState.UNKNOWN
    for entry in _recipients(details, mail):
        recipient = entry if isinstance(entry, str) else text(entry, "emailAddress")
        said = text(entry, "diagnosticCode") or text(entry, "status") or _text(kind, details)
        yield ReceiptEvent(
            channel="ses",
            state=state,
            class_=class_,
            text=said,
            spool_id=our_id(at(mail, "tags", METADATA_ID)),
            remote_id=text(mail, "messageId"),
            recipient=recipient,
            event_id=f"{message_id}/{recipient}" if message_id else "",
            event_time=moment(at(details, "timestamp")) or moment(at(mail, "timestamp")),
            facts=plain(details, _FACTS),
        )


def _recipients(details: Any, mail: Any) -> list[Any]:
    for name in _RECIPIENTS:
        found = list(each(details, name))
        if found:
            return found
    return list(each(mail, "destination")) or [""]


def _class_of(kind: str, details: Any) -> ReceiptClass:
    if kind == "Bounce":
        subtype = text(details, "bounceSubType")
        return _SUBTYPES.get(subtype) or _TYPES.get(text(details, "bounceType"), ReceiptClass.UNDETERMINED)
    if kind == "DeliveryDelay":
        return ReceiptClass.SOFT
    return ReceiptClass.CONTENT if kind in ("Reject", "Rendering Failure") else ReceiptClass.NONE


def _text(kind: str, details: Any) -> str:
    for name in ("smtpResponse", "reason", "errorMessage", "complaintFeedbackType", "delayType"):
        if text(details, name):
            return text(details, name)
    pair = [text(details, "bounceType"), text(details, "bounceSubType")]
    return ": ".join([one for one in pair if one]) or (kind if kind not in _KINDS else "")


SCHEME: Final = Scheme("ses", parse, max_age=SNS_MAX_AGE)
