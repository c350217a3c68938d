"""What of a message a text message needs besides its words and its number: the sender.

Public: `sender_of`, `as_sender`, `FromOptions`.
"""

from __future__ import annotations

from typing import Final, Protocol

from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.proto.mime import headers

#: What people write between the digits of a number.
_SEPARATORS: Final = str.maketrans("", "", " -()./")


class FromOptions(Protocol):
    """The option that says where to look."""

    @property
    def sender_header(self) -> str | None: ...


def sender_of(message: Message, options: FromOptions) -> str | None:
    """Who the message says that it is from: by the options' header, else meta `from.sms`."""
    found = _header(message, options.sender_header) or at(message.meta.get("from"), "sms")
    return (str(found).strip() or None) if found else None


def as_sender(name: str) -> str:
    """A number that people wrote with something between the digits without that; names and ids as they are."""
    bare = name.translate(_SEPARATORS)
    return bare if bare.isascii() and bare.removeprefix("+").isdecimal() else name


def _header(message: Message, name: str | None) -> str | None:
    value = headers.first_value(message.body or b"", name) if name is not None else None
    return value.strip() or None if value is not None else None
