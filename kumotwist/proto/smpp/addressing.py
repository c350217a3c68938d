"""Addresses and times as SMPP writes them.

Public: `guess`, `validity`, `TypeOfNumber`.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from kumotwist.proto.smpp.messages import Address


class TypeOfNumber(enum.IntEnum):
    """addr_ton (SMPP 3.4 s5.2.5)."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NATIONAL = 2
    NETWORK_SPECIFIC = 3
    SUBSCRIBER = 4
    ALPHANUMERIC = 5
    ABBREVIATED = 6


#: addr_npi of telephone numbers (s5.2.6).
_ISDN: Final = 1
_INTERNATIONAL: Final = re.compile(r"\+\d{7,15}\Z")
_DIGITS: Final = re.compile(r"\d+\Z")
#: Digits that a short code has at most; a longer number is a telephone number. Ours, as customary.
_SHORT_CODE: Final = 6
#: Longer than any SMSC keeps a text, and still without months, whose length is anybody's guess. Ours.
_LONGEST: Final = 30 * 24 * 3600


def guess(address: str) -> Address:
    """The type and plan that go with what `address` looks like; a leading plus is said by the type."""
    if _INTERNATIONAL.match(address):
        return Address(address[1:], TypeOfNumber.INTERNATIONAL, _ISDN)
    if not _DIGITS.match(address):
        return Address(address, TypeOfNumber.ALPHANUMERIC, 0) if address else Address("")
    if len(address) <= _SHORT_CODE:
        return Address(address, TypeOfNumber.ABBREVIATED, 0)
    return Address(address, TypeOfNumber.UNKNOWN, _ISDN)


def validity(seconds: float) -> str:
    """A period from now in the relative form (s7.1.1.2): YYMMDDhhmmss000R, at least a minute."""
    left = int(min(max(seconds, 60.0), _LONGEST))
    minutes, second = divmod(left, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"0000{day:02d}{hour:02d}{minute:02d}{second:02d}000R"
