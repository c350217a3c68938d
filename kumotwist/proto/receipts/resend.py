"""Resend's webhooks: one event as JSON, signed by Svix.

https://resend.com/docs/dashboard/webhooks/event-types
https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kumotwist.config.receipts import ResendReceipts
from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import each, moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, hmac_of, same, unbase64

_STATES: Final = {
    "email.scheduled": ReceiptState.ACCEPTED,
    "email.sent": ReceiptState.ACCEPTED,
    "email.delivered": ReceiptState.DELIVERED,
    "email.delivery_delayed": ReceiptState.DEFERRED,
    "email.bounced": ReceiptState.FAILED,
    "email.failed": ReceiptState.FAILED,
    "email.suppressed": ReceiptState.FAILED,
    "email.complained": ReceiptState.COMPLAINED,
    "email.opened": ReceiptState.OPENED,
    "email.clicked": ReceiptState.CLICKED,
}
_BOUNCES: Final = {
    "Permanent": ReceiptClass.HARD,
    "Transient": ReceiptClass.SOFT,
    "Undetermined": ReceiptClass.UNDETERMINED,
}


def verify(callback: Callback, options: ResendReceipts, secrets: Mapping[str, str], now: float) -> str:
    """HMAC-SHA256 over id, timestamp and raw body; any of the signatures shown may be the one."""
    if "signing_secret" not in secrets:
        return ""
    key = unbase64(secrets["signing_secret"].removeprefix("whsec_"), "signing secret")
    name = "svix" if callback.header("svix-id") else "webhook"
    message_id, timestamp = callback.required(f"{name}-id"), callback.required(f"{name}-timestamp")
    wanted = hmac_of(key, f"{message_id}.{timestamp}.".encode() + callback.body)
    shown = [one.partition(",") for one in callback.required(f"{name}-signature").split()]
    if not any(version == "v1" and same(wanted, unbase64(value)) for version, _, value in shown):
        raise Unproven("the signature is wrong")
    check_age(timestamp, now, SCHEME.age_limit(options))
    return message_id


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event, once for each recipient: Resend does not say which of them it is about."""
    event = callback.json()
    kind, data = text(event, "type"), at(event, "data")
    if not kind or not isinstance(data, dict):
        raise Unreadable("there is no type or no data")
    if not kind.startswith("email."):
        return ()
    recipients = [one for one in each(data, "to") if isinstance(one, str)] or [""]
    svix_id = callback.header("svix-id") or ""
    return [_event(event, kind, one, f"{svix_id}/{one}" if svix_id else "") for one in recipients]


def _event(event: Any, kind: str, recipient: str, event_id: str) -> ReceiptEvent:
    data = at(event, "data")
    said = text(data, "bounce", "message") or text(data, "failed", "reason") or text(data, "suppressed", "message")
    class_ = ReceiptClass.NONE
    if kind == "email.bounced":
        class_ = _BOUNCES.get(text(data, "bounce", "type"), ReceiptClass.UNDETERMINED)
    elif kind == "email.suppressed" or text(data, "bounce", "subType") == "Suppressed":
        class_ = ReceiptClass.SUPPRESSED
    elif kind == "email.failed":
        class_ = ReceiptClass.ACCOUNT
    return ReceiptEvent(
        channel="resend",
        state=_STATES.get(kind, ReceiptState.UNKNOWN),
        class_=class_,
        text=said or (kind if kind not in _STATES else ""),
        spool_id=_our_id(at(data, "tags")),
        remote_id=text(data, "email_id"),
        recipient=recipient,
        event_id=event_id,
        event_time=moment(at(event, "created_at")),
        facts=plain(at(data, "click") or {}, ("link", "ipAddress", "userAgent")),
    )


def _our_id(tags: Any) -> Any:
    """Tags come as an object, or as a list of name and value."""
    if isinstance(tags, list):
        return our_id(next((at(tag, "value") for tag in tags if at(tag, "name") == METADATA_ID), None))
    return our_id(at(tags, METADATA_ID))


#: Svix signs each try anew.
SCHEME: Final = Scheme("resend", parse, verify, 300.0)
