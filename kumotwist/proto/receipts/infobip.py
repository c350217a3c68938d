"""Infobip's delivery reports: JSON with a list of results; nothing is signed unless its account profile says so.

https://www.infobip.com/docs/api/channels/sms/sms-messaging/logs-and-status-reports/receive-sent-sms-report
https://www.infobip.com/docs/essentials/response-status-and-error-codes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unreadable
from kumotwist.proto.receipts.reading import each, moment, our_id, parsed, plain, text

#: By `status.groupId`.
_STATES: Final = {
    "0": ReceiptState.ACCEPTED,
    "1": ReceiptState.ACCEPTED,
    "2": ReceiptState.FAILED,
    "3": ReceiptState.DELIVERED,
    "4": ReceiptState.EXPIRED,
    "5": ReceiptState.FAILED,
}
#: By `error.groupId`: handset, user, operator errors; and by `status.groupId` 5, where Infobip itself refuses.
_ERRORS: Final = {"1": ReceiptClass.HARD, "2": ReceiptClass.SUPPRESSED, "3": ReceiptClass.SOFT}
_FACTS: Final = ("mccMnc", "smsCount", "bulkId", "from", "entityId", "applicationId")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The results."""
    results = list(each(callback.json(), "results"))
    if not results:
        raise Unreadable("there are no results")
    return [_event(one) for one in results if isinstance(one, dict)]


def _event(one: Any) -> ReceiptEvent:
    group = text(one, "status", "groupId")
    state = _STATES.get(group, ReceiptState.UNKNOWN)
    class_ = ReceiptClass.NONE
    if state is ReceiptState.FAILED:
        found = _ERRORS.get(text(one, "error", "groupId"), ReceiptClass.UNDETERMINED)
        if found is ReceiptClass.HARD and at(one, "error", "permanent") is False:
            found = ReceiptClass.SOFT
        class_ = ReceiptClass.BLOCK if group == "5" and found is ReceiptClass.UNDETERMINED else found
    elif state is ReceiptState.EXPIRED:
        class_ = ReceiptClass.SOFT
    said = [text(one, "status", "name"), text(one, "error", "name"), text(one, "error", "description")]
    parts = at(one, "smsCount")
    return ReceiptEvent(
        channel="infobip",
        state=state,
        class_=class_,
        text=" ".join([part for part in said if part and part != "NO_ERROR" and part != "No Error"]),
        spool_id=_our_id(one),
        remote_id=text(one, "messageId"),
        recipient=text(one, "to"),
        event_id=f"{text(one, 'messageId')}/{text(one, 'status', 'id')}/{text(one, 'doneAt')}",
        event_time=moment(at(one, "doneAt")) or moment(at(one, "sentAt")),
        parts=parts if isinstance(parts, int) and parts > 0 else None,
        facts=plain(one, _FACTS),
    )


def _our_id(one: Any) -> Any:
    data = text(one, "callbackData")
    return our_id(at(parsed(data), METADATA_ID)) or our_id(data) if data else None


SCHEME: Final = Scheme("infobip", parse)
