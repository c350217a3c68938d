"""Mailjet's events: an object, or an array where they are grouped; nothing is signed.

https://dev.mailjet.com/email/guides/webhooks/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme
from kumotwist.proto.receipts.reading import each, moment, our_id, parsed, plain, text

_STATES: Final = {
    "sent": ReceiptState.DELIVERED,
    "bounce": ReceiptState.FAILED,
    "blocked": ReceiptState.FAILED,
    "spam": ReceiptState.COMPLAINED,
    "unsub": ReceiptState.UNSUBSCRIBED,
    "open": ReceiptState.OPENED,
    "click": ReceiptState.CLICKED,
}
#: Mailjet's error names.
_CLASSES: Final = {
    "user unknown": ReceiptClass.HARD,
    "mailbox inactive": ReceiptClass.HARD,
    "invalid domain": ReceiptClass.HARD,
    "no mail host": ReceiptClass.HARD,
    "typofix": ReceiptClass.HARD,
    "quota exceeded": ReceiptClass.SOFT,
    "greylisted": ReceiptClass.SOFT,
    "connection issue": ReceiptClass.SOFT,
    "blacklisted": ReceiptClass.BLOCK,
    "spam reporter": ReceiptClass.SUPPRESSED,
    "preblocked": ReceiptClass.SUPPRESSED,
    "duplicate in campaign": ReceiptClass.SUPPRESSED,
    "relay/access denied": ReceiptClass.BLOCK,
    "policy issue": ReceiptClass.BLOCK,
    "sender blocked": ReceiptClass.BLOCK,
    "content blocked": ReceiptClass.CONTENT,
    "system issue": ReceiptClass.SOFT,
    "protocol issue": ReceiptClass.SOFT,
}
_FACTS: Final = ("url", "ip", "geo", "agent", "hard_bounce", "error_related_to", "error", "customcampaign", "source")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The events."""
    return [_event(one) for one in each(callback.json()) if isinstance(one, dict)]


def _event(one: Any) -> ReceiptEvent:
    kind, error = text(one, "event"), text(one, "error")
    state, class_ = _STATES.get(kind, ReceiptState.UNKNOWN), ReceiptClass.NONE
    if state is ReceiptState.FAILED:
        is_hard = at(one, "hard_bounce") is True
        class_ = _CLASSES.get(error, ReceiptClass.HARD if is_hard else ReceiptClass.UNDETERMINED)
        if error == "greylisted" and not is_hard:
            state = ReceiptState.DEFERRED
    said = text(one, "smtp_reply") or ": ".join(part for part in (error, text(one, "comment")) if part)
    return ReceiptEvent(
        channel="mailjet",
        state=state,
        class_=class_,
        text=said or (kind if kind not in _STATES else ""),
        spool_id=our_id(_payload(one)) or our_id(one.get("CustomID")),
        # The response names it by both.
        remote_id=f"{text(one, 'Message_GUID')} {text(one, 'MessageID')}",
        recipient=text(one, "email"),
        event_time=moment(one.get("time")),
        facts=plain(one, _FACTS),
    )


def _payload(one: Any) -> Any:
    """What we gave as EventPayload: our id, alone or under its name in JSON."""
    written = text(one, "Payload")
    return at(parsed(written), METADATA_ID) or written


SCHEME: Final = Scheme("mailjet", parse)
