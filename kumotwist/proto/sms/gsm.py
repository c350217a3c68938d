"""The GSM 7 bit default alphabet with its extension table (3GPP TS 23.038 s6.2.1, once GSM 03.38).

Septets are unpacked here: one in each octet, as SMPP and the HTTP gateways
carry them. A character of the extension table takes two, ESC and a code, and
the two must never be parted. National shift tables are not used.

Public: `encode`, `decode`, `ESCAPE`, `BASIC`, `EXTENSION`.
"""

from __future__ import annotations

import codecs
from typing import Final

#: Announces a character of the extension table.
ESCAPE: Final = 0x1B

#: Characters by code; the escape has a place but is no character.
BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)

#: Characters by the code that follows the escape.
EXTENSION: Final[dict[int, str]] = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}

_ENCODE: Final[dict[int, bytes]] = {ord(char): bytes([code]) for code, char in enumerate(BASIC) if code != ESCAPE} | {
    ord(char): bytes([ESCAPE, code]) for code, char in EXTENSION.items()
}
#: Octets above 0x7F are no septets.
_DECODE: Final = dict(enumerate(BASIC + "\ufffd" * 128))
#: By the basic table's character for the same code.
_EXTENDED: Final = {BASIC[code]: char for code, char in EXTENSION.items()}


def encode(text: str) -> bytes | None:
    """`text` as unpacked septets: its length is what it costs. None when some character is not in the alphabet."""
    try:
        return codecs.charmap_encode(text, "strict", _ENCODE)[0]
    except UnicodeEncodeError:
        return None


def decode(septets: bytes) -> str:
    """The text behind unpacked septets; never fails.

    An escape before a code without a meaning shows the code's character of
    the basic table, and one at the end a space (3GPP TS 23.038 s6.2.1.1).
    Octets that are no septets become U+FFFD.
    """
    text = septets.decode("latin-1").translate(_DECODE)
    if "\x1b" not in text:
        return text
    first, *rest = text.split("\x1b")
    return first + "".join(_extended(piece) for piece in rest)


def _extended(piece: str) -> str:
    if not piece:
        return " "
    return _EXTENDED.get(piece[0], piece[0]) + piece[1:]
