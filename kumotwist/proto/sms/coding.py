"""How a text is written on the air interface, and how much of it one message holds.

Public: `Coding`, `encode`, `decode`, `measure`, `clean`.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from attrs import frozen

from kumotwist.proto.sms import gsm


class Coding(enum.Enum):
    """An alphabet with its way onto the wire."""

    #: The GSM 7 bit default alphabet, one septet in an octet.
    GSM = "gsm"
    #: The same alphabet and the same count, but written as Latin-1: what an SMSC takes whose
    #: default data coding is Latin-1 and which goes over to septets itself.
    GSM_AS_LATIN1 = "gsm_as_latin1"
    #: 8 bit Latin-1 (ISO 8859-1).
    LATIN1 = "latin1"
    #: UTF-16BE, which is UCS-2 and what handsets make of emoji.
    UCS2 = "ucs2"


@frozen
class Room:
    """Units in a message: alone, as a part with an 8-bit reference, and with a 16-bit one."""

    alone: int
    narrow: int
    wide: int


#: A message has 140 octets (3GPP TS 23.040 s9.2.3.16); a concatenation header takes 6 of them, or 7
#: with a wide reference (s9.2.3.24.1, s9.2.3.24.8), and septets begin at a multiple of seven bits.
ROOM: Final = {
    Coding.GSM: Room(160, 153, 152),
    Coding.GSM_AS_LATIN1: Room(160, 153, 152),
    Coding.LATIN1: Room(140, 134, 133),
    Coding.UCS2: Room(70, 67, 66),
}

_CONTROL: Final = re.compile(r"[\0-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_SPACED: Final = str.maketrans({"\t": " ", "\f": "\n", "\u00a0": " ", "\u202f": " "})


def clean(text: str) -> str:
    """`text` as a handset can show it: LF line ends, no control characters, no tab, no half of a surrogate pair.

    What a tab or a no-break space would do is cost a UCS-2 message for nothing anybody sees.
    """
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_SPACED)
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def measure(text: str, coding: Coding) -> int | None:
    """What `text` costs in units of `coding`: septets, octets or UTF-16 code units; None when it cannot be written."""
    units = to_units(text, coding)
    if units is None:
        return None
    return len(units) // 2 if coding is Coding.UCS2 else len(units)


def to_units(text: str, coding: Coding) -> bytes | None:
    """`text` as it is counted: one octet a unit, two in UCS-2."""
    if coding is Coding.UCS2:
        return text.encode("utf-16-be", "replace")
    if coding is Coding.GSM:
        return gsm.encode(text)
    try:
        wire = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    return wire if coding is Coding.LATIN1 else gsm.encode(text)


def from_units(units: bytes, coding: Coding) -> str:
    """The text behind `to_units`."""
    if coding is Coding.UCS2:
        return units.decode("utf-16-be", "replace")
    return units.decode("latin-1") if coding is Coding.LATIN1 else gsm.decode(units)


def encode(text: str, coding: Coding) -> bytes:
    """`text` as octets on the wire. Raises UnicodeError when `coding` has no such character."""
    if coding in (Coding.LATIN1, Coding.GSM_AS_LATIN1):
        return text.encode("latin-1")
    units = to_units(text, coding)
    if units is None:
        raise UnicodeError("not in the GSM alphabet")
    return units


def decode(wire: bytes, coding: Coding) -> str:
    """The text of octets on the wire; what is no character becomes U+FFFD."""
    if coding is Coding.GSM_AS_LATIN1:
        return wire.decode("latin-1")
    return from_units(wire, coding)
