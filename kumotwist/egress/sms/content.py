"""What of a message a text message needs besides its words: the number and the sender.

Public: `number_of`, `sender_of`, `as_sender`, `WhomOptions`. What can go wrong: ValueError when
there is no number that could be dialled, naming what was found.
"""

from __future__ import annotations

from typing import Final, Protocol

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.json import at
from kumotwist.core.message import Message
from kumotwist.proto.mime import headers
from kumotwist.proto.translate import destination

#: What people write between the digits of a number.
_SEPARATORS: Final = str.maketrans("", "", " -()./")


class WhomOptions(Protocol):
    """The options that say where to look."""

    @property
    def sender_header(self) -> str | None: ...

    @property
    def to_meta(self) -> str | None: ...

    @property
    def to_header(self) -> str | None: ...

    @property
    def default_region(self) -> str | None: ...


def number_of(message: Message, recipient: EnvelopeAddress, options: WhomOptions) -> str:
    """The recipient's number in E.164: of the options' meta key or header, meta `to.phone`, else the local part."""
    return destination.phone(
        message, recipient, region=options.default_region, to_meta=options.to_meta, to_header=options.to_header
    )


def sender_of(message: Message, options: WhomOptions) -> str | None:
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
