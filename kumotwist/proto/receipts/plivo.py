"""Plivo's message callbacks: a form, one for each part of a long message, signed over URL and nonce.

https://www.plivo.com/docs/messaging/concepts/signature-validation
https://www.plivo.com/docs/messaging/api/message/#message-object
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

from kumotwist.config.receipts import PlivoReceipts
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import MAX_PARAMETERS, Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import our_id, plain
from kumotwist.proto.receipts.signing import hmac_of, same

_STATES: Final = {
    "queued": ReceiptState.ACCEPTED,
    "sent": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "undelivered": ReceiptState.FAILED,
    "failed": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "read": ReceiptState.OPENED,
}
#: Plivo's error codes, https://www.plivo.com/docs/messaging/troubleshooting/error-codes
_CLASSES: Final = {
    **dict.fromkeys(("50", "70"), ReceiptClass.HARD),
    **dict.fromkeys(("20", "60", "80", "300"), ReceiptClass.SOFT),
    **dict.fromkeys(("30", "100"), ReceiptClass.BLOCK),
    **dict.fromkeys(("10", "110"), ReceiptClass.CONTENT),
    "200": ReceiptClass.SUPPRESSED,
    **dict.fromkeys(("40", "450", "900", "910"), ReceiptClass.ACCOUNT),
}
_EXPIRED: Final = "420"
_FACTS: Final = ("ErrorCode", "PartInfo", "TotalRate", "TotalAmount", "Units", "MCC", "MNC", "From", "MessageUUID")


def verify(callback: Callback, _options: PlivoReceipts, secrets: Mapping[str, str], _now: float) -> str:
    """V3 covers the parameters, V2 the URL alone; either is Plivo's choice."""
    if "auth_token" not in secrets:
        return ""
    key = secrets["auth_token"]
    shown = callback.header("X-Plivo-Signature-V3") or callback.header("X-Plivo-Signature-MA-V3")
    if shown:
        nonce = callback.required("X-Plivo-Signature-V3-Nonce")
        signed = f"{_url_v3(callback)}.{nonce}"
    else:
        shown, nonce = callback.required("X-Plivo-Signature-V2"), callback.required("X-Plivo-Signature-V2-Nonce")
        signed = callback.url.partition("?")[0] + nonce
    wanted = base64.b64encode(hmac_of(key, signed))
    if not any(same(wanted, one.strip()) for one in shown.split(",")):
        raise Unproven("the signature is wrong; is public_url what Plivo was given?")
    return nonce


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event. All parts go by the id of the first, which is the one in the response."""
    form = dict(callback.form())
    remote_id, status = form.get("MessageUUID", ""), form.get("Status", "").lower()
    if not remote_id or not status:
        raise Unreadable("there is no MessageUUID or no Status")
    state, code = _STATES.get(status, ReceiptState.UNKNOWN), form.get("ErrorCode", "")
    class_ = ReceiptClass.NONE
    if code == _EXPIRED:
        state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    elif state is ReceiptState.FAILED:
        class_ = _CLASSES.get(code, ReceiptClass.UNDETERMINED)
    part, _, parts = form.get("PartInfo", "").lower().partition(" of ")
    return [
        ReceiptEvent(
            channel="plivo",
            state=state,
            class_=class_,
            text=f"{code} {status}".strip(),
            spool_id=our_id(callback.parameters().get(METADATA_ID)),
            remote_id=form.get("ParentMessageUUID") or remote_id,
            recipient=form.get("To", ""),
            event_id=f"{remote_id}/{part}/{status}",
            part=_number(part),
            parts=_number(parts),
            facts=plain(form, _FACTS),
        )
    ]


def _number(written: str) -> int | None:
    return int(written) if written.isascii() and written.isdecimal() and 0 < len(written) < 4 else None


def _url_v3(callback: Callback) -> str:
    """The URL with its query sorted, and behind a dot the sorted parameters of the form."""
    base, _, query = callback.url.partition("?")
    sorted_query = _joined(query, "=", "&")
    form = callback.body.decode("utf-8", "replace") if callback.method == "POST" else ""
    if not form:
        return f"{base}?{sorted_query}" if sorted_query else base
    return f"{base}?{sorted_query}{'.' if sorted_query else ''}{_joined(form, '', '')}"


def _joined(source: str, equals: str, between: str) -> str:
    try:
        found = parse_qs(source, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Unproven("there are too many parameters") from None
    return between.join(
        [between.join([f"{name}{equals}{value}" for value in sorted(found[name])]) for name in sorted(found)]
    )


SCHEME: Final = Scheme("plivo", parse, verify)
