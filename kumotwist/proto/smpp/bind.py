"""Bodies of the bind PDUs (SMPP 3.4 s4.1).

Public: `Credentials`, `BindMode`, `encode_bind`, `decode_bind_answer`.
"""

from __future__ import annotations

import enum
from typing import Final

from attrs import field, frozen

from kumotwist.proto.smpp.commands import INTERFACE_VERSION, Command
from kumotwist.proto.smpp.fields import Fields, Malformed, Tlv, cstring

#: Limits, their NUL included (s5.2.1 to s5.2.3, s5.2.7).
SYSTEM_ID: Final = 16
SYSTEM_TYPE: Final = 13
ADDRESS_RANGE: Final = 41
#: The book has 9; some providers give out longer ones. Ours.
PASSWORD: Final = 65


class BindMode(enum.Enum):
    """Which way messages may go."""

    TRANSCEIVER = Command.BIND_TRANSCEIVER
    TRANSMITTER = Command.BIND_TRANSMITTER
    RECEIVER = Command.BIND_RECEIVER

    @property
    def can_submit(self) -> bool:
        """Whether we may send over it."""
        return self is not BindMode.RECEIVER


@frozen
class Credentials:
    """Who we are to the SMSC."""

    system_id: str
    password: str = field(repr=False)
    system_type: str = ""


def encode_bind(who: Credentials, address_range: str = "") -> bytes:
    """The body of any of the three. Raises LocalProtocolError when a text does not fit."""
    return b"".join(
        (
            cstring(who.system_id, SYSTEM_ID, "system_id"),
            cstring(who.password, PASSWORD, "password"),
            cstring(who.system_type, SYSTEM_TYPE, "system_type"),
            bytes((INTERFACE_VERSION, 0, 0)),
            cstring(address_range, ADDRESS_RANGE, "address_range"),
        )
    )


def decode_bind_answer(body: bytes) -> tuple[str, tuple[Tlv, ...]]:
    """The SMSC's name for itself and its parameters; an SMSC that says nothing readable is still bound."""
    fields = Fields(body)
    try:
        return fields.cstring(256), fields.tlvs()
    except Malformed:
        return "", ()
