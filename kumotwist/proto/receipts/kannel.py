"""Kannel's delivery reports: a call of the `dlr-url` that the message was sent with; nothing is signed.

https://www.kannel.org/download/1.4.5/userguide-1.4.5/userguide.html#DELIVERY-REPORTS
The URL is ours, so are the names in it: `type=%d&answer=%A&to=%p&smsid=%F&ts=%T` and our own id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain

#: Kannel's DLR types, with words for where the SMS centre sends none.
_TYPES: Final = {
    "1": (ReceiptState.DELIVERED, ReceiptClass.NONE, "delivered to the phone"),
    "2": (ReceiptState.FAILED, ReceiptClass.UNDETERMINED, "not delivered to the phone"),
    "4": (ReceiptState.ACCEPTED, ReceiptClass.NONE, "queued at the SMS centre"),
    "8": (ReceiptState.ACCEPTED, ReceiptClass.NONE, "taken by the SMS centre"),
    "16": (ReceiptState.FAILED, ReceiptClass.BLOCK, "refused by the SMS centre"),
    "32": (ReceiptState.ACCEPTED, ReceiptClass.NONE, "on its way"),
}
#: What an SMS centre's own text says more exactly than the type.
_STAT: Final = re.compile(r"\bstat:([A-Z]+)", re.IGNORECASE)
_EXPIRED: Final = "EXPIRE"


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    given = dict(callback.form())
    kind, spool_id = given.get("type", ""), our_id(given.get(METADATA_ID))
    if not kind or (spool_id is None and not given.get("smsid")):
        raise Unreadable(f"there is no type, or neither {METADATA_ID} nor smsid; is the dlr-url ours?")
    state, class_, words = _TYPES.get(kind, (ReceiptState.UNKNOWN, ReceiptClass.NONE, f"type {kind}"))
    answer = given.get("answer", "")
    found = _STAT.search(answer)
    if state is ReceiptState.FAILED and found is not None and found[1].upper().startswith(_EXPIRED):
        state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    return [
        ReceiptEvent(
            channel="kannel",
            state=state,
            class_=class_,
            text=answer or words,
            spool_id=spool_id,
            remote_id=given.get("smsid", ""),
            recipient=given.get("to", ""),
            event_time=moment(given.get("ts")),
            facts=plain(given, ("type", "smsc")),
        )
    ]


SCHEME: Final = Scheme("kannel", parse)
