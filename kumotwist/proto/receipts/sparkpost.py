"""SparkPost's webhooks: a JSON array of events, each in two wrappers; nothing is signed.

https://developers.sparkpost.com/api/webhooks/ and .../api/events/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text

_STATES: Final = {
    "injection": ReceiptState.ACCEPTED,
    "delivery": ReceiptState.DELIVERED,
    "delay": ReceiptState.DEFERRED,
    "bounce": ReceiptState.FAILED,
    "out_of_band": ReceiptState.FAILED,
    "policy_rejection": ReceiptState.FAILED,
    "generation_failure": ReceiptState.FAILED,
    "generation_rejection": ReceiptState.FAILED,
    "spam_complaint": ReceiptState.COMPLAINED,
    "open": ReceiptState.OPENED,
    "initial_open": ReceiptState.OPENED,
    "amp_open": ReceiptState.OPENED,
    "amp_initial_open": ReceiptState.OPENED,
    "click": ReceiptState.CLICKED,
    "amp_click": ReceiptState.CLICKED,
    "list_unsubscribe": ReceiptState.UNSUBSCRIBED,
    "link_unsubscribe": ReceiptState.UNSUBSCRIBED,
}
_WITHOUT_CLASS: Final = {
    "policy_rejection": ReceiptClass.SUPPRESSED,
    "generation_failure": ReceiptClass.CONTENT,
    "generation_rejection": ReceiptClass.CONTENT,
}
#: SparkPost's bounce classification codes.
_CLASSES: Final = {
    **dict.fromkeys(("10", "30", "90"), ReceiptClass.HARD),
    **dict.fromkeys(("20", "21", "22", "23", "24", "40", "70"), ReceiptClass.SOFT),
    **dict.fromkeys(("50", "51", "54"), ReceiptClass.BLOCK),
    **dict.fromkeys(("52", "53"), ReceiptClass.CONTENT),
    "25": ReceiptClass.SUPPRESSED,
    **dict.fromkeys(("60", "100"), ReceiptClass.AUTOREPLY),
}
_FACTS: Final = ("bounce_class", "error_code", "ip_address", "target_link_url", "num_retries", "subaccount_id")


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The events; an empty one is SparkPost trying out the URL."""
    return [_event(one) for one in _unwrapped(callback.json())]


def _unwrapped(body: Any) -> Iterator[Any]:
    for wrapper in each(body):
        inner = at(wrapper, "msys")
        if isinstance(inner, dict):
            yield from (one for one in inner.values() if isinstance(one, dict) and "type" in one)


def _event(one: Any) -> ReceiptEvent:
    kind = text(one, "type")
    state = _STATES.get(kind, ReceiptState.UNKNOWN)
    class_ = ReceiptClass.NONE
    if state in (ReceiptState.FAILED, ReceiptState.DEFERRED):
        code = text(one, "bounce_class")
        class_ = _CLASSES.get(code) or _WITHOUT_CLASS.get(kind, ReceiptClass.UNDETERMINED)
        if class_ is ReceiptClass.AUTOREPLY:
            # An automatic reply that came back: the message is there.
            state = ReceiptState.UNKNOWN
        elif code == "90":
            state = ReceiptState.UNSUBSCRIBED
    said = text(one, "raw_reason") or text(one, "reason") or (kind if kind not in _STATES else "")
    return ReceiptEvent(
        channel="sparkpost",
        state=state,
        class_=class_,
        text=said,
        spool_id=our_id(at(one, "rcpt_meta", METADATA_ID)),
        remote_id=text(one, "transmission_id"),
        recipient=text(one, "raw_rcpt_to") or text(one, "rcpt_to"),
        event_id=text(one, "event_id"),
        event_time=moment(one.get("timestamp")),
        facts=plain(one, _FACTS),
    )


SCHEME: Final = Scheme("sparkpost", parse)
