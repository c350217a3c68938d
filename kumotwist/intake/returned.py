"""What a report by mail says, in the words of receipts: so that what learns from receipts learns from it, too.

A bounce tells by its status (RFC 3463) whose fault it was. What is about the
address or the mailbox, or says nothing at all, is the recipient's; what is about
content, policy or the systems on the way is not.

Public: `event_of_bounce`, `event_of_complaint`, `origin_of_complaint`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kumotwist.core.json import JsonObject
from kumotwist.core.origin import Origin
from kumotwist.core.receipt import MAIL, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.response import Response
from kumotwist.proto.dsn import RecipientReport
from kumotwist.proto.origin import origin_of

#: By the subject of the status: systems and network, protocol, content, policy.
_CLASSES: Final[Mapping[int, ReceiptClass]] = {
    3: ReceiptClass.UNDETERMINED,
    4: ReceiptClass.UNDETERMINED,
    5: ReceiptClass.UNDETERMINED,
    6: ReceiptClass.CONTENT,
    7: ReceiptClass.BLOCK,
}
#: RFC 5965 s7.3 and what is registered beside it; what else there is, "not-spam" say, is no complaint.
_COMPLAINTS: Final[Mapping[str, ReceiptState]] = {
    "abuse": ReceiptState.COMPLAINED,
    "fraud": ReceiptState.COMPLAINED,
    "virus": ReceiptState.COMPLAINED,
    "opt-out": ReceiptState.UNSUBSCRIBED,
    "opt-out-list": ReceiptState.UNSUBSCRIBED,
}
#: What stands before the text of a reply, where the report itself has a status that says nothing (`5.0.0`).
_STATUS: Final = re.compile(r"[45]\.(\d{1,3})\.\d{1,3}\b")


def event_of_bounce(failed: RecipientReport) -> ReceiptEvent:
    """That a message came back, for one recipient."""
    return ReceiptEvent(
        channel=MAIL,
        state=ReceiptState.FAILED,
        class_=_CLASSES.get(_subject(failed.response), ReceiptClass.HARD),
        text=failed.response.to_line(),
        recipient=failed.recipient,
        event_time=failed.last_attempt,
    )


def event_of_complaint(feedback: JsonObject) -> ReceiptEvent:
    """That somebody complained; `feedback` is as `proto.arf` gives it."""
    kind, recipients = str(feedback["feedback_type"]), feedback.get("original_rcpto_to")
    first = recipients[0] if isinstance(recipients, list) and recipients else ""
    return ReceiptEvent(
        channel=MAIL,
        state=_COMPLAINTS.get(kind.lower(), ReceiptState.UNKNOWN),
        text=kind,
        recipient=str(first).strip("<>"),
    )


def origin_of_complaint(feedback: JsonObject) -> Origin:
    """Which message it is about."""
    original = feedback.get("original_message")
    return origin_of(original.encode("utf-8", "replace") if isinstance(original, str) else None)


def _subject(response: Response) -> int:
    if response.enhanced is not None and response.enhanced.subject:
        return response.enhanced.subject
    found = _STATUS.match(response.content)
    return int(found[1]) if found is not None else 0
