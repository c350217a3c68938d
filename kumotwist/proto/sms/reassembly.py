"""Puts the parts of long texts together again, whichever order they come in.

Bounded in number and size: a sender who never sends the last part costs
nothing for long. Public: `Reassembly`, `Whole`, and its limits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.proto.sms.udh import Concatenation

#: Seconds that a text waits for its missing parts. Ours: networks deliver parts within seconds, and
#: a handset that leaves the network in between comes back within minutes or tomorrow.
PATIENCE: Final = 600.0
#: Texts that may wait at once. Ours: 255 parts of 254 octets each make some thirty MB at the very worst.
MAX_WAITING: Final = 500


@frozen
class Whole:
    """A text: its parts in order, None for one that never came."""

    parts: tuple[bytes | None, ...]

    @property
    def missing(self) -> int:
        """How many parts never came."""
        return self.parts.count(None)


@define(eq=False)
class _Waiting:
    until: float
    parts: dict[int, bytes] = field(factory=dict)


@define(eq=False)
class Reassembly:
    """Texts of which some parts are there, by sender, recipient and reference."""

    _waiting: dict[tuple[Hashable, int, int], _Waiting] = field(factory=dict, init=False)

    def add(self, key: Hashable, place: Concatenation, octets: bytes, now: float) -> Whole | None:
        """Take a part; the whole text when it was the last that was missing. A part that came before is passed over."""
        name = (key, place.reference, place.total)
        text = self._waiting.get(name)
        if text is None:
            text = self._waiting[name] = _Waiting(now + PATIENCE)
        text.parts.setdefault(place.sequence, octets)
        if len(text.parts) < place.total:
            return None
        del self._waiting[name]
        return Whole(tuple(text.parts[number] for number in range(1, place.total + 1)))

    def overdue(self, now: float) -> Sequence[tuple[Hashable, Whole]]:
        """Texts that have waited long enough, or that there is no room for, with their keys; forgotten here."""
        found = []
        for name, text in list(self._waiting.items()):
            if text.until > now and len(self._waiting) <= MAX_WAITING:
                break
            del self._waiting[name]
            found.append((name[0], Whole(tuple(text.parts.get(number) for number in range(1, name[2] + 1)))))
        return found

    def next_overdue(self) -> float | None:
        """When the oldest will have waited long enough."""
        return next((text.until for text in self._waiting.values()), None)
