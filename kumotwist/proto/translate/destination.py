"""Whom a message is for, where that is no mailbox: a phone number, a device, a browser or a chat.

A policy or an API writes it into the metadata, as `to` (`{ phone = ... }`) or
under a key that the channel is told of; mail brings it in the envelope, as in
`+15551234567@sms`, or in a header. The first that is there counts:

1. the metadata key `to_meta` and then the header `to_header`, where the channel's options name them;
2. metadata `to`;
3. the local part of the recipient.

The first two name one address, so they hold only for a message with one
recipient, and not for one that was split from a message with several. Public:
`phone`, `device_token`, `web_push`, `chat`. What can go wrong: ValueError,
saying what is missing or wrong: a permanent failure of that recipient.
"""

from __future__ import annotations

import re
from typing import Final

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.json import JsonObject
from kumotwist.core.message import SPLIT_FROM, Message
from kumotwist.proto.mime import headers
from kumotwist.proto.phone import e164

#: The pseudo-domains of recipients whose local part is only a hash of the true address.
_HASHED: Final = frozenset(("push", "webpush"))
_NUMBER: Final = re.compile(r"\+?[0-9][0-9().\-]*\Z")


def phone(
    message: Message,
    recipient: EnvelopeAddress,
    *,
    region: str | None = None,
    to_meta: str | None = None,
    to_header: str | None = None,
) -> str:
    """The number of one of its recipients in E.164; one without `+` is of `region`. `to_header` needs the body."""
    written = _named(message, to_meta, to_header) or _from_to(message, "phone")
    if written is not None:
        return e164(written, region)
    user = recipient.user.strip('"')
    if not _NUMBER.match(user):
        raise ValueError(f"there is no phone number in {recipient}, and no 'phone' in meta 'to'")
    return e164(user, region)


def device_token(
    message: Message, recipient: EnvelopeAddress, *, to_meta: str | None = None, to_header: str | None = None
) -> str:
    """The token of the device of one of its recipients."""
    return _opaque(message, recipient, "device_token", "device token", to_meta, to_header)


def chat(
    message: Message, recipient: EnvelopeAddress, *, to_meta: str | None = None, to_header: str | None = None
) -> str:
    """The name or id of the chat of one of its recipients."""
    return _opaque(message, recipient, "chat", "chat", to_meta, to_header)


def web_push(message: Message, *, to_meta: str | None = None) -> JsonObject:
    """The subscription of a browser as it gave it: `endpoint` and `keys`."""
    to = message.meta.get(to_meta) if to_meta is not None else None
    if to is None:
        around = message.meta.get("to")
        to = around.get("web_push") if isinstance(around, dict) and _is_for_one(message) else None
    if not isinstance(to, dict):
        raise ValueError("there is no subscription: meta 'to' has no 'web_push' with endpoint and keys")
    return to


def _opaque(
    message: Message, recipient: EnvelopeAddress, key: str, what: str, to_meta: str | None, to_header: str | None
) -> str:
    written = _named(message, to_meta, to_header) or _from_to(message, key)
    if written is None and recipient.domain not in _HASHED:
        written = recipient.user.strip('"')
    if written is None:
        raise ValueError(f"there is no {what}: meta 'to' has no '{key}'")
    return written


def _named(message: Message, to_meta: str | None, to_header: str | None) -> str | None:
    """What the operator's own key or header holds; None where they hold nothing or it cannot be for one recipient."""
    if not _is_for_one(message):
        return None
    value = message.meta.get(to_meta) if to_meta is not None else None
    if isinstance(value, (str, int)) and str(value).strip():
        return str(value).strip()
    header = headers.first_value(message.body or b"", to_header) if to_header is not None else None
    return header.strip() if header and header.strip() else None


def _is_for_one(message: Message) -> bool:
    return len(message.recipients) == 1 and SPLIT_FROM not in message.meta


def _from_to(message: Message, key: str) -> str | None:
    to = message.meta.get("to")
    value = to.get(key) if isinstance(to, dict) and _is_for_one(message) else None
    return value.strip() if isinstance(value, str) and value.strip() else None
