"""Twilio's status callbacks: a form, signed with an HMAC over URL and parameters.

https://www.twilio.com/docs/usage/webhooks/webhooks-security
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from kumotwist.config.receipts import TwilioReceipts
from kumotwist.core.receipt import METADATA_ID, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.callback import Callback, Scheme, Unproven, Unreadable
from kumotwist.proto.receipts.reading import our_id, plain
from kumotwist.proto.receipts.signing import hmac_of, same, sha256_hex

_STATES: Final = {
    "queued": ReceiptState.ACCEPTED,
    "accepted": ReceiptState.ACCEPTED,
    "scheduled": ReceiptState.ACCEPTED,
    "sending": ReceiptState.ACCEPTED,
    "sent": ReceiptState.ACCEPTED,
    "delivered": ReceiptState.DELIVERED,
    "undelivered": ReceiptState.FAILED,
    "failed": ReceiptState.FAILED,
    "canceled": ReceiptState.FAILED,
    "read": ReceiptState.OPENED,
}
#: Twilio's error codes of messages, https://www.twilio.com/docs/api/errors
_CLASSES: Final = {
    **dict.fromkeys(("21211", "21614", "30005", "30006"), ReceiptClass.HARD),
    **dict.fromkeys(("30001", "30003", "30017"), ReceiptClass.SOFT),
    **dict.fromkeys(("30004", "30007", "30450"), ReceiptClass.BLOCK),
    "30019": ReceiptClass.CONTENT,
    "21610": ReceiptClass.SUPPRESSED,
    **dict.fromkeys(("21408", "30002", "30010", "30032", "30034"), ReceiptClass.ACCOUNT),
}
_EXPIRED: Final = "30036"
_FACTS: Final = ("ErrorCode", "RawDlrDoneDate", "From", "ChannelToAddress", "MessagingServiceSid")


def verify(callback: Callback, _options: TwilioReceipts, secrets: Mapping[str, str], _now: float) -> str:
    """HMAC over the URL, with and without its port, and the sorted parameters of the form."""
    settings = callback.header("X-Twilio-Webhooks-Signature-Settings") or ""
    algorithm = _setting(settings, "algorithm") or "HMAC_SHA1"
    key = secrets.get("shared_key" if settings else "auth_token")
    if key is None:
        if not secrets.keys() & {"shared_key", "auth_token"}:
            return ""
        raise Unproven("it is signed with a key of the kind that we do not have")
    if algorithm.upper() not in ("HMAC_SHA1", "HMAC_SHA256"):
        raise Unproven("the algorithm of the signature is not known")
    shown = callback.required("X-Twilio-Signature")
    hash_name = algorithm.lower().removeprefix("hmac_")
    signed = _parameters(callback)
    wanted = [base64.b64encode(hmac_of(key, url + signed, hash_name)) for url in _urls(callback.url)]
    if not any(same(one, shown) for one in wanted):
        raise Unproven("the signature is wrong; is public_url what Twilio was given?")
    return ""


def parse(callback: Callback) -> Sequence[ReceiptEvent]:
    """The one event. It has no time of its own, and the same status comes but once."""
    form = dict(callback.form())
    remote_id = form.get("MessageSid") or form.get("SmsSid") or ""
    status = form.get("MessageStatus") or form.get("SmsStatus") or ""
    if not remote_id or not status:
        raise Unreadable("there is no MessageSid or no MessageStatus")
    code = form.get("ErrorCode", "")
    state = _STATES.get(status, ReceiptState.UNKNOWN)
    class_ = ReceiptClass.NONE
    if state is ReceiptState.FAILED:
        class_ = _CLASSES.get(code, ReceiptClass.UNDETERMINED)
        if code == _EXPIRED:
            state, class_ = ReceiptState.EXPIRED, ReceiptClass.SOFT
    return [
        ReceiptEvent(
            channel="twilio",
            state=state,
            class_=class_,
            text=" ".join([one for one in (code, form.get("ErrorMessage", ""), status) if one]),
            spool_id=our_id(callback.parameters().get(METADATA_ID)),
            remote_id=remote_id,
            recipient=form.get("To", ""),
            event_id=f"{remote_id}/{status}",
            facts=plain(form, _FACTS),
        )
    ]


def _setting(settings: str, wanted: str) -> str:
    pairs = [part.partition("=") for part in settings.split(",")]
    return next((value.strip() for name, _, value in pairs if name.strip() == wanted), "")


def _parameters(callback: Callback) -> str:
    """What is signed behind the URL: each name with each of its values once, sorted; nothing of a JSON body."""
    digest = callback.parameters().get("bodySHA256")
    if digest is not None:
        if not same(sha256_hex(callback.body), digest.lower()):
            raise Unproven("the body is not the one that was signed")
        return ""
    if not callback.body:
        return ""
    return "".join([name + value for name, value in sorted(set(callback.form()))])


def _urls(url: str) -> Iterator[str]:
    yield url
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return
    if port is not None:
        yield url.replace(f":{port}", "", 1)
    else:
        standard = 443 if parts.scheme == "https" else 80
        yield url.replace(parts.netloc, f"{parts.netloc}:{standard}", 1)


SCHEME: Final = Scheme("twilio", parse, verify)
