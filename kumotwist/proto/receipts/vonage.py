"""Delivery receipts of Vonage's SMS API: a query, a form or JSON; signed when the account says so.

https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts
https://developer.vonage.com/en/getting-started/concepts/signing-messages
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from kumotwist.config.receipts import VonageReceipts
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain
from kumotwist.proto.receipts.signing import check_age, hmac_of, same

_STATES: Final = {
    "accepted": ReceiptState.ACCEPTED,
    "buffered": ReceiptState.DEFERRED,
    "delivered": ReceiptState.DELIVERED,
    "failed": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "expired": ReceiptState.EXPIRED,
    "unknown": ReceiptState.UNKNOWN,
}
#: Vonage's `err-code`, https://api.support.vonage.com/hc/en-us/articles/204014733
_CLASSES: Final = {
    **dict.fromkeys(("3", "4", "12"), ReceiptClass.HARD),
    **dict.fromkeys(("2", "5", "7", "8", "15"), ReceiptClass.SOFT),
    **dict.fromkeys(("6", "13", "14"), ReceiptClass.BLOCK),
    **dict.fromkeys(("10", "52"), ReceiptClass.CONTENT),
    **dict.fromkeys(("9", "53"), ReceiptClass.SUPPRESSED),
    **dict.fromkeys(("39", "50", "51", "54"), ReceiptClass.ACCOUNT),
}
_FACTS: Final = ("err-code", "network-code", "price", "scts", "to", "client-ref")


def verify(callback: Callback, options: VonageReceipts, secrets: Mapping[str, str], now: float) -> str:
    """A hash over the sorted parameters; which, the account's settings say."""
    if "signature_secret" not in secrets:
        return ""
    given = _given(callback)
    shown = given.pop("sig", "")
    if not shown:
        raise Unproven("there is no sig")
    escaped = {name: value.replace("&", "_").replace("=", "_") for name, value in given.items()}
    signed = "".join([f"&{name}={escaped[name]}" for name in sorted(escaped)])
    secret, method = secrets["signature_secret"], options.signature_method
    if method == "md5hash":
        wanted = hashlib.md5((signed + secret).encode("utf-8", "replace")).hexdigest()  # noqa: S324  # Vonage's default
    else:
        wanted = hmac_of(secret, signed, method).hex()
    if not same(wanted, shown.lower()):
        raise Unproven("the signature is wrong")
    if "timestamp" in given:
        check_age(moment(given["timestamp"]) or 0.0, now, SCHEME.age_limit(options))
    return shown


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    given = _given(callback)
    remote_id, status = given.get("messageId", ""), given.get("status", "")
    if not remote_id or not status:
        raise Unreadable("there is no messageId or no status")
    code = given.get("err-code", "")
    state = _STATES.get(status, ReceiptState.UNKNOWN)
    class_ = ReceiptClass.SOFT if state is ReceiptState.EXPIRED else ReceiptClass.NONE
    if state is ReceiptState.FAILED:
        class_ = _CLASSES.get(code, ReceiptClass.UNDETERMINED)
    return [
        ReceiptEvent(
            channel="vonage",
            state=state,
            class_=class_,
            text=f"{status} err-code:{code}" if code not in ("", "0") else status,
            spool_id=our_id(given.get("client-ref")) or our_id(callback.parameters().get(METADATA_ID)),
            remote_id=remote_id,
            recipient=given.get("msisdn", ""),
            event_id=f"{remote_id}/{status}",
            event_time=moment(given.get("message-timestamp")),
            facts=plain(given, _FACTS),
        )
    ]


def _given(callback: Callback) -> dict[str, str]:
    """The parameters, from wherever the account has them sent; none of the query's that we put there."""
    kind = (callback.header("Content-Type") or "").partition(";")[0].strip().lower()
    if kind == "application/json" and callback.body:
        found = callback.json()
        if not isinstance(found, dict):
            raise Unreadable("the body is no object")
        return {name: str(value) for name, value in found.items() if isinstance(value, (str, int, float))}
    given = dict(callback.form())
    # Ours in the callback's URL, not Vonage's.
    for name in ("token", METADATA_ID):
        given.pop(name, None)
    return given


#: Vonage tries for a day.
SCHEME: Final = Scheme("vonage", parse, verify, 86400.0)
