"""A text as the messages it takes: coding chosen, cut to a limit, split into parts.

    sms = compose("Hello", max_segments=3)
    sms.coding, sms.segments, sms.units, sms.parts

No part ends between the halves of a character: neither between an escape and
its code nor within a surrogate pair, so that a part may be one unit short.

Public: `Sms`, `compose`, `CODINGS`, `MAX_SEGMENTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import regex
from attrs import frozen

from kumotwist.proto.sms import gsm, transliterate
from kumotwist.proto.sms.coding import ROOM, Coding, clean, from_units, measure, to_units

#: Tried in this order; the last can write every text.
CODINGS: Final = (Coding.GSM, Coding.UCS2)
#: The header counts parts in one octet (3GPP TS 23.040 s9.2.3.24.1).
MAX_SEGMENTS: Final = 255

#: A letter with its accents, a flag, a family of emoji: what a cut must not go through.
_CLUSTER: Final = regex.compile(r"\X")
#: A link that the cut would go through; half a link leads nowhere.
_HALF_LINK: Final = regex.compile(r"(?:https?://|www\.)\S*\Z", regex.IGNORECASE)
_HALF_WORD: Final = regex.compile(r"\s\S*\Z")


@frozen
class Sms:
    """A text ready to go.

    `text` is what the reader gets, `parts` the same by message. `units` are
    septets in GSM codings, octets in Latin-1, UTF-16 code units in UCS-2.
    """

    text: str
    coding: Coding
    units: int
    parts: tuple[str, ...]
    is_cut: bool = False
    is_transliterated: bool = False

    @property
    def segments(self) -> int:
        """How many messages it takes."""
        return len(self.parts)


def compose(
    text: str,
    *,
    codings: Sequence[Coding] = CODINGS,
    transliterate_to_gsm: bool = False,
    max_segments: int = MAX_SEGMENTS,
    wide_reference: bool = False,
) -> Sms:
    """`text` in the first of `codings` that can write it; characters that none can become `?`.

    With `transliterate_to_gsm`, look-alikes from the GSM alphabet take the
    place of others where that avoids UCS-2 altogether, and only there. What
    does not fit into `max_segments` (1 to 255) is cut at a word, never
    through a link, and ends with three dots. `wide_reference` leaves room
    for a 16-bit concatenation reference.
    """
    text = clean(text)
    coding = _first(text, codings)
    is_transliterated = False
    if coding is Coding.UCS2 and transliterate_to_gsm:
        plain = transliterate.to_gsm(text)
        found = None if plain is None else _first(plain, codings)
        if plain is not None and found is not Coding.UCS2:
            text, coding, is_transliterated = plain, found, True
    if coding is None:
        coding = codings[-1]
        text = "".join(char if measure(char, coding) is not None else "?" for char in text)
    parts, units = _split(text, coding, wide_reference)
    limit = max(1, min(max_segments, MAX_SEGMENTS))
    if len(parts) <= limit:
        return Sms(text, coding, units, parts, False, is_transliterated)
    text = _cut(text, coding, limit, wide_reference)
    parts, units = _split(text, coding, wide_reference)
    return Sms(text, coding, units, parts, True, is_transliterated)


def _first(text: str, codings: Sequence[Coding]) -> Coding | None:
    return next((coding for coding in codings if to_units(text, coding) is not None), None)


def _split(text: str, coding: Coding, wide: bool) -> tuple[tuple[str, ...], int]:
    """The parts and the units of all; an empty text is one empty part."""
    units = to_units(text, coding) or b""
    width = 2 if coding is Coding.UCS2 else 1
    room = ROOM[coding]
    count = len(units) // width
    if count <= room.alone:
        return (text,), count
    size = (room.wide if wide else room.narrow) * width
    parts = []
    start = 0
    while start < len(units):
        end = start + size
        if end < len(units) and _is_half(units, end, coding):
            end -= width
        parts.append(from_units(units[start:end], coding))
        start = end
    return tuple(parts), count


def _is_half(units: bytes, end: int, coding: Coding) -> bool:
    """Whether a cut at `end` would part what belongs together."""
    if coding is Coding.UCS2:
        return 0xD8 <= units[end - 2] <= 0xDB
    return coding is not Coding.LATIN1 and units[end - 1] == gsm.ESCAPE


def _cut(text: str, coding: Coding, limit: int, wide: bool) -> str:
    """As much of `text` as goes into `limit` parts with the dots behind it."""
    dots = "…" if coding is Coding.UCS2 else "..."
    kept: list[str] = []
    used = len(dots) if coding is not Coding.UCS2 else 1
    room = ROOM[coding]
    # Each border between parts may cost a unit.
    budget = room.alone if limit == 1 else limit * ((room.wide if wide else room.narrow) - 1) + 1
    for match in _CLUSTER.finditer(text):
        used += measure(match[0], coding) or 0
        if used > budget:
            break
        kept.append(match[0])
    return _at_word("".join(kept), text).rstrip() + dots


def _at_word(head: str, text: str) -> str:
    """`head` of `text` without the half word or link at its end, unless little would be left."""
    if text[len(head)].isspace():
        return head
    link = _HALF_LINK.search(head)
    if link is not None:
        return head[: link.start()] or head
    word = _HALF_WORD.search(head)
    # Languages without spaces have "words" as long as the text. A quarter is ours.
    return head[: word.start()] if word is not None and word.start() > len(head) * 3 // 4 else head
