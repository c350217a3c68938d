"""Where a recipient of the send API is in the envelope, and the address that its channel needs.

Every message has mailboxes in its envelope. An address that is no mailbox gets
one in a domain without a dot that names its kind, and the true address stands
in the message's meta `to`. Tokens and endpoints show up in logs and queues as
the start of their hash only.

Public: `Placed`, `place`, `KIND_DOMAINS`. What can go wrong: ValueError, which
fails one recipient.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.core.json import JsonObject
from kumotwist.intake.send.request import Address, WebPush
from kumotwist.proto.phone import DOMAIN as SMS
from kumotwist.proto.phone import e164
from kumotwist.proto.translate.whom import short_hash

PUSH: Final = "push"
WEB_PUSH: Final = "webpush"
CHAT: Final = "chat"
#: The domains of addresses that are no mailboxes.
KIND_DOMAINS: Final = frozenset((SMS, PUSH, WEB_PUSH, CHAT))
#: RFC 8291 s3.1: an uncompressed P-256 point; s3.2: a secret of 16 octets.
_POINT: Final = 65
_SECRET: Final = 16


@frozen
class Placed:
    """A recipient's place: its envelope, meta `to` (None: the envelope says it all) and what splits its queue."""

    envelope: EnvelopeAddress
    to: JsonObject | None = None
    routing_domain: str | None = None


def place(address: Address, region: str | None) -> Placed:
    """The place of `address`, which has exactly one kind; numbers without `+` are of `region`. Raises ValueError."""
    if address.email is not None:
        return Placed(_mailbox(address.email))
    if address.phone is not None:
        number = e164(address.phone, region)
        return Placed(EnvelopeAddress(number, SMS), {"phone": number})
    if address.web_push is not None:
        push = address.web_push
        _check_subscription(push)
        keys: JsonObject = {"p256dh": push.keys.p256dh, "auth": push.keys.auth}
        return Placed(_hashed(push.endpoint, WEB_PUSH), {"web_push": {"endpoint": push.endpoint, "keys": keys}})
    if address.device_token is not None:
        return _opaque("device_token", address.device_token, PUSH, address.platform)
    return _opaque("chat", address.chat or "", CHAT, address.platform)


def _mailbox(email: str) -> EnvelopeAddress:
    envelope = parse_address(email)
    if not envelope.domain:
        raise ValueError(f"{email!r} is not a mailbox")
    if envelope.domain.lower().rstrip(".") in KIND_DOMAINS:
        raise ValueError(f"{email!r} is no email address; give phone, device_token, web_push or chat")
    return envelope


def _opaque(kind: str, text: str, domain: str, platform: str | None) -> Placed:
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError(f"{kind} must be printable text without white space around it")
    to: JsonObject = {kind: text}
    if platform is not None:
        to["platform"] = platform
    # Different platforms need different protocols, and the queue's config is where a policy chooses one.
    return Placed(_hashed(text, domain), to, platform)


def _hashed(text: str, domain: str) -> EnvelopeAddress:
    return EnvelopeAddress(short_hash(text), domain)


def _check_subscription(push: WebPush) -> None:
    if not push.endpoint.isascii() or not push.endpoint.isprintable() or " " in push.endpoint:
        raise ValueError("web_push.endpoint is not a URL")
    url = urlsplit(push.endpoint)
    if url.scheme != "https" or not url.hostname or "@" in url.netloc:
        raise ValueError("web_push.endpoint must be an https URL")
    point = _decoded("p256dh", push.keys.p256dh)
    if len(point) != _POINT or point[0] != 4:
        raise ValueError("web_push.keys.p256dh is not an uncompressed P-256 point")
    if len(_decoded("auth", push.keys.auth)) != _SECRET:
        raise ValueError(f"web_push.keys.auth does not have {_SECRET} octets")


def _decoded(name: str, text: str) -> bytes:
    """Base64url with or without padding; browsers give it without, some libraries in plain base64."""
    bare = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"web_push.keys.{name} is not base64url") from None
