"""Addresses as policy sees them: envelope addresses, and the addresses in From and To headers.

Public: `ENVELOPE_ADDRESS`, `AddressHeader`, `HeaderAddress`, `address`, `addresses`.
What can go wrong: ValueError, which Lua sees as an error with file and line.
"""

from __future__ import annotations

import operator
from typing import Final

import msgspec
from attrs import frozen

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.lua.binding import facade, sequence
from kumotwist.lua.convert import HostClass
from kumotwist.proto.mime.addresses import Mailbox, mailboxes

ENVELOPE_ADDRESS: Final = HostClass(
    "address",
    methods={},
    fields={name: operator.attrgetter(name) for name in ("user", "domain", "email")},
    meta={"__tostring": str, "__eq": operator.eq},
)


def address(value: object, what: str) -> EnvelopeAddress:
    """An address object or its text; "" and `<>` are the null sender."""
    if isinstance(value, EnvelopeAddress):
        return value
    if isinstance(value, str):
        try:
            return parse_address(value)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    raise ValueError(f"{what} must be an address or its text")


def addresses(value: object, what: str) -> tuple[EnvelopeAddress, ...]:
    """One address or a list of them."""
    if isinstance(value, (EnvelopeAddress, str)):
        return (address(value, what),)
    return tuple(address(one, what) for one in sequence(value, what))


@facade("address", fields=("user", "domain", "email", "name"), meta={"__tostring": "__str__"})
@frozen
class HeaderAddress:
    """One address of a header."""

    mailbox: Mailbox

    @property
    def user(self) -> str:
        """The local part."""
        return self.mailbox.user

    @property
    def domain(self) -> str:
        """The domain."""
        return self.mailbox.domain

    @property
    def email(self) -> str:
        """`user@domain`."""
        return self.mailbox.email

    @property
    def name(self) -> str | None:
        """The display name."""
        return self.mailbox.name

    def __str__(self) -> str:
        return msgspec.json.encode(_as_json(self.mailbox)).decode()


@facade("addressheader", fields=("user", "domain", "email", "name", "list"), meta={"__tostring": "__str__"})
class AddressHeader:
    """The addresses of one header; `user` and the like are for a header that holds exactly one."""

    def __init__(self, header: str, raw: bytes) -> None:
        """Raises ValueError when `raw`, as it stands in the message, is not a list of addresses."""
        self._header = header
        self._mailboxes = mailboxes(raw)

    def _single(self) -> Mailbox:
        if len(self._mailboxes) != 1:
            raise ValueError(f"the {self._header} header holds {len(self._mailboxes)} addresses; use its .list")
        return self._mailboxes[0]

    @property
    def user(self) -> str:
        """The local part."""
        return self._single().user

    @property
    def domain(self) -> str:
        """The domain."""
        return self._single().domain

    @property
    def email(self) -> str:
        """`user@domain`."""
        return self._single().email

    @property
    def name(self) -> str | None:
        """The display name."""
        return self._single().name

    @property
    def list(self) -> list[HeaderAddress]:
        """All addresses, groups flattened."""
        return [HeaderAddress(one) for one in self._mailboxes]

    def __str__(self) -> str:
        return msgspec.json.encode([_as_json(one) for one in self._mailboxes]).decode()


def _as_json(mailbox: Mailbox) -> dict[str, str | None]:
    return {"name": mailbox.name, "address": mailbox.email}
