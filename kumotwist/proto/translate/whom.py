"""Whom a message really goes to by a channel, by the options of its protocol.

The channel asks when it makes its request, and a route's budgets ask before
the message is on its way: both must find the same, or a cap on numbers would
count mailboxes. An options class says by `addressed_by` what its channel looks
for; one that says nothing takes the mailbox of the envelope.

Public: `Whom`, `whom_of`, `number_for`, `token_for`, `subscription_for`, `chat_for`, `needs_body`, `short_hash`. What
can go wrong: ValueError from all `…_for`, as in `proto.translate.destination`; `whom_of` raises nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias

from attrs import frozen

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.proto.mime import headers
from kumotwist.proto.phone import number_of
from kumotwist.proto.translate import destination

#: What a channel looks for, as `addressed_by` of its options class.
AddressedBy: TypeAlias = Literal["phone", "device_token", "web_push", "chat"]

_E164: Final = re.compile(r"\+[1-9]\d{6,14}\Z")
#: Hex digits of a hash in place of what is told to nobody. Ours: 64 bits, so two tokens of an application do not meet.
_DIGITS: Final = 16


class Naming(Protocol):
    """The options that say where an address may stand."""

    @property
    def to_meta(self) -> str | None: ...

    @property
    def to_header(self) -> str | None: ...


class Dialling(Naming, Protocol):
    """The same for numbers."""

    @property
    def default_region(self) -> str | None: ...


class Posting(Naming, Protocol):
    """The same for chats."""

    @property
    def has_one_place(self) -> bool:
        """Whether all goes to one place, whatever messages say."""
        ...

    @property
    def default_chat(self) -> str | None:
        """Where goes what names no chat; None: to the local part of the envelope."""
        ...


@frozen
class Whom:
    """`name` is one for one recipient, and no secret; `number` is in E.164, "" when there is none."""

    name: str
    number: str = ""


def whom_of(message: Message, recipient: EnvelopeAddress, options: object) -> Whom:
    """Whom the channel of these options reaches by one of the message's recipients.

    The mailbox, or the number in it, when the channel would find nothing.
    """
    find = _BY_KIND.get(getattr(options, "addressed_by", ""))
    if find is not None:
        try:
            return find(message, recipient, options)
        except ValueError:
            pass
    number = number_of(recipient.email)
    return Whom(number or recipient.email.lower(), number)


def needs_body(options: object) -> bool:
    """Whether that stands in the message's header, perhaps."""
    return getattr(options, "to_header", None) is not None


def number_for(message: Message, recipient: EnvelopeAddress, options: Dialling, *, is_checked: bool = True) -> str:
    """In E.164. One of the envelope's that is in that form may be of any length when it is not to be checked."""
    named = options.to_meta is not None or options.to_header is not None or "to" in message.meta
    if not is_checked and not named and _E164.match(recipient.user):
        return recipient.user
    return destination.phone(
        message, recipient, region=options.default_region, to_meta=options.to_meta, to_header=options.to_header
    )


def token_for(message: Message, recipient: EnvelopeAddress, options: Naming) -> str:
    """The token of a device."""
    return destination.device_token(message, recipient, to_meta=options.to_meta, to_header=options.to_header)


def subscription_for(message: Message, options: Naming) -> JsonObject:
    """The subscription of a browser."""
    return destination.web_push(message, to_meta=options.to_meta)


def chat_for(message: Message, recipient: EnvelopeAddress, options: Posting) -> str:
    """The chat's name, id or URL; "" for the operator's own webhook."""
    if options.has_one_place:
        return ""
    if options.default_chat is not None and not _names_chat(message, options):
        return options.default_chat
    return destination.chat(message, recipient, to_meta=options.to_meta, to_header=options.to_header)


def short_hash(text: str) -> str:
    """What stands for a token or a URL in logs, records and queues."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _names_chat(message: Message, options: Naming) -> bool:
    """Whether the message says more of its chat than the recipient's mailbox does."""
    to = message.meta.get("to")
    if (isinstance(to, dict) and to.get("chat")) or (options.to_meta is not None and message.meta.get(options.to_meta)):
        return True
    return options.to_header is not None and bool(headers.first_value(message.body or b"", options.to_header))


def _by_number(message: Message, recipient: EnvelopeAddress, options: Any) -> Whom:
    number = number_for(message, recipient, options, is_checked=False)
    return Whom(number, number)


def _by_token(message: Message, recipient: EnvelopeAddress, options: Any) -> Whom:
    return Whom(f"{short_hash(token_for(message, recipient, options))}@push")


def _by_subscription(message: Message, _: EnvelopeAddress, options: Any) -> Whom:
    return Whom(f"{short_hash(str(subscription_for(message, options).get('endpoint')))}@webpush")


def _by_chat(message: Message, recipient: EnvelopeAddress, options: Any) -> Whom:
    chat = chat_for(message, recipient, options)
    return Whom(f"{short_hash(chat)}@chat" if "://" in chat else chat or "webhook")


_BY_KIND: Final[dict[str, Callable[[Message, EnvelopeAddress, Any], Whom]]] = {
    "phone": _by_number,
    "device_token": _by_token,
    "web_push": _by_subscription,
    "chat": _by_chat,
}
