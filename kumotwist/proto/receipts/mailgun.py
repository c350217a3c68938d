"""Mailgun's webhooks: one event as JSON, with an HMAC over a timestamp and a token of its own.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks

The HMAC does not cover the event, so a token counts once: with it somebody
could send another event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kumotwist.config.receipts import MailgunReceipts
from kumotwist.core.json import at
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import moment, our_id, plain, text
from kumotwist.proto.receipts.signing import check_age, hmac_of, same

_STATES: Final = {
    "accepted": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "failed": ReceiptState.FAILED,
    "rejected": ReceiptState.FAILED,
    "opened": ReceiptState.OPENED,
    "clicked": ReceiptState.CLICKED,
    "complained": ReceiptState.COMPLAINED,
    "unsubscribed": ReceiptState.UNSUBSCRIBED,
}
_FACTS: Final = ("url", "ip", "severity", "reason", "log-level")


def verify(callback: Callback, options: MailgunReceipts, secrets: Mapping[str, str], now: float) -> str:
    """HMAC-SHA256 over timestamp and token, in hex."""
    if "signing_key" not in secrets:
        return ""
    try:
        signature = at(callback.json(), "signature")
    except Unreadable:
        raise Unproven("there is no signature") from None
    timestamp, token = text(signature, "timestamp"), text(signature, "token")
    if not timestamp or not token:
        raise Unproven("there is no signature")
    wanted = hmac_of(secrets["signing_key"], timestamp + token).hex()
    if not same(wanted, text(signature, "signature").lower()):
        raise Unproven("the signature is wrong")
    check_age(timestamp, now, SCHEME.age_limit(options))
    return token


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event."""
    event = at(callback.json(), "event-data")
    if not isinstance(event, dict):
        raise Unreadable("there is no event-data")
    kind = text(event, "event")
    state, class_ = _STATES.get(kind, ReceiptState.UNKNOWN), ReceiptClass.NONE
    if kind == "failed":
        state, class_ = _failure(event)
    elif kind == "rejected":
        class_ = ReceiptClass.ACCOUNT
    when = moment(event.get("timestamp"))
    return [
        ReceiptEvent(
            channel="mailgun",
            state=state,
            class_=class_,
            text=_text(event, kind),
            spool_id=our_id(at(event, "user-variables", METADATA_ID)),
            remote_id=text(event, "message", "headers", "message-id"),
            recipient=text(event, "recipient"),
            # Mailgun's id is unique within a day.
            event_id=f"{text(event, 'id')}@{when or 0:.3f}" if text(event, "id") else "",
            event_time=when,
            facts=plain(event, _FACTS),
        )
    ]


def _failure(event: Any) -> tuple[ReceiptState, ReceiptClass]:
    if text(event, "severity") == "temporary":
        return ReceiptState.DEFERRED, ReceiptClass.SOFT
    reason = text(event, "reason")
    if reason.startswith("suppress-"):
        return ReceiptState.FAILED, ReceiptClass.SUPPRESSED
    if reason == "old":
        return ReceiptState.EXPIRED, ReceiptClass.SOFT
    if reason == "espblock":
        return ReceiptState.FAILED, ReceiptClass.BLOCK
    is_hard = text(event, "delivery-status", "code").startswith("5")
    return ReceiptState.FAILED, ReceiptClass.HARD if is_hard else ReceiptClass.UNDETERMINED


def _text(event: Any, kind: str) -> str:
    status = at(event, "delivery-status")
    said = text(status, "message") or text(status, "description") or text(event, "reject", "reason")
    code = text(status, "code")
    if code and said and not said.startswith(code):
        said = f"{code} {said}"
    return said or (kind if kind not in _STATES else "")


#: Mailgun tries for eight hours.
SCHEME: Final = Scheme("mailgun", parse, verify, 9 * 3600.0)
