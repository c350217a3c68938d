"""The user data header that ties the parts of a long text together (3GPP TS 23.040 s9.2.3.24).

Public: `Concatenation`, `header`, `parse`. A header that lies about its length is no header:
`parse` then gives the octets back as they came.
"""

from __future__ import annotations

from attrs import frozen

#: Information elements: concatenated short messages with an 8-bit and a 16-bit reference.
NARROW = 0x00
WIDE = 0x08


@frozen
class Concatenation:
    """Part `sequence` (from 1) of `total` under `reference`."""

    reference: int
    total: int
    sequence: int


def header(part: Concatenation, wide: bool = False) -> bytes:
    """The header, its length octet included: 6 octets, 7 when `wide`; the reference is cut to fit."""
    if wide:
        return bytes((6, WIDE, 4, part.reference >> 8 & 0xFF, part.reference & 0xFF, part.total, part.sequence))
    return bytes((5, NARROW, 3, part.reference & 0xFF, part.total, part.sequence))


def parse(user_data: bytes) -> tuple[Concatenation | None, bytes]:
    """The place of this part, if the header tells one, and what stands behind the header."""
    if not user_data or user_data[0] + 1 > len(user_data):
        return None, user_data
    end = user_data[0] + 1
    found = None
    at = 1
    while at + 2 <= end:
        element, size = user_data[at], user_data[at + 1]
        value = user_data[at + 2 : min(at + 2 + size, end)]
        if len(value) == size:
            found = _concatenation(element, value) or found
        at += 2 + size
    return found, user_data[end:]


def _concatenation(element: int, value: bytes) -> Concatenation | None:
    if element == NARROW and len(value) == 3:
        part = Concatenation(value[0], value[1], value[2])
    elif element == WIDE and len(value) == 4:
        part = Concatenation(value[0] << 8 | value[1], value[2], value[3])
    else:
        return None
    # Anything else is to be ignored (s9.2.3.24.1).
    return part if 1 <= part.sequence <= part.total else None
