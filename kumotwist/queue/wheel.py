"""The timer wheel: what waits, by the second at which it is due.

One wheel holds every waiting message of a worker. Six levels of 64 slots count
seconds, then 64 seconds, and so on, addressed by the digits of the absolute
second; where an entry sits is a function of its due time and the present, so
inserting and cancelling are one dictionary operation each and nothing points
back from an entry to its slot.

Public: `Wheel`. An entry is never given out before its due time; it comes out
with the first `advance` at or after it, one second late at most. A clock that
is set back or far ahead costs one pass over all entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Final, Generic, Protocol, TypeVar

_BITS: Final = 6
_SLOTS: Final = 1 << _BITS
_MASK: Final = _SLOTS - 1
_LEVELS: Final = 6
#: The last second that the wheel can tell apart, in the year 4147; what is due later waits there.
_LAST: Final = (1 << _BITS * _LEVELS) - 1
#: Seconds passed at once beyond which sorting everything anew is cheaper than stepping.
_MAX_STEPS: Final = _SLOTS * _SLOTS


class Due(Protocol):
    """Anything that knows when it is due, in Unix seconds. `due` stays put while it is on the wheel."""

    @property
    def due(self) -> float: ...


E = TypeVar("E", bound=Due)
V = TypeVar("V")


class Wheel(Generic[E, V]):
    """Entries by due time, each with a value; entries are told apart by identity or hash."""

    __slots__ = ("_now", "_size", "_slots")

    def __init__(self, now: float) -> None:
        self._now = int(now)
        self._size = 0
        self._slots: list[dict[E, V]] = [{} for _ in range(_LEVELS * _SLOTS)]

    def __len__(self) -> int:
        return self._size

    def insert(self, entry: E, value: V) -> None:
        """Keep `entry` until it is due; an overdue one comes out with the next second."""
        slot = self._slots[self._index(entry)]
        before = len(slot)
        slot[entry] = value
        self._size += len(slot) - before

    def cancel(self, entry: E) -> V | None:
        """Take `entry` off the wheel: its value, or None when it is not there."""
        value = self._slots[self._index(entry)].pop(entry, None)
        if value is not None:
            self._size -= 1
        return value

    def advance(self, now: float) -> list[tuple[E, V]]:
        """Everything that is due at `now`, earliest second first."""
        target = int(now)
        if target < self._now or target - self._now > _MAX_STEPS:
            return self._sort_anew(target)
        due: list[tuple[E, V]] = []
        while self._now < target:
            if not self._size:
                self._now = target
                break
            self._step(due)
        return due

    def entries(self) -> list[tuple[E, V]]:
        """All that waits, in no order."""
        return [pair for slot in self._slots for pair in slot.items()]

    def _index(self, entry: E) -> int:
        tick = entry.due
        # ceil: a message that is due within a second must not leave at the start of it.
        second = ceil(tick) if tick < _LAST else _LAST
        if second <= self._now:
            second = self._now + 1
        level = ((second ^ self._now).bit_length() - 1) // _BITS
        return level * _SLOTS + (second >> level * _BITS & _MASK)

    def _step(self, due: list[tuple[E, V]]) -> None:
        now = self._now = self._now + 1
        for level in range(_LEVELS - 1, 0, -1):
            if now & ((1 << level * _BITS) - 1) == 0:
                self._spread(level * _SLOTS + (now >> level * _BITS & _MASK), due)
        slot = self._slots[now & _MASK]
        if slot:
            self._slots[now & _MASK] = {}
            self._size -= len(slot)
            due.extend(slot.items())

    def _spread(self, index: int, due: list[tuple[E, V]]) -> None:
        """Move a slot of a higher level down, now that its time has begun."""
        slot = self._slots[index]
        if not slot:
            return
        self._slots[index] = {}
        self._size -= len(slot)
        self._place(slot.items(), due)

    def _sort_anew(self, target: int) -> list[tuple[E, V]]:
        everything = self.entries()
        self._slots = [{} for _ in range(_LEVELS * _SLOTS)]
        self._size = 0
        self._now = target
        due: list[tuple[E, V]] = []
        self._place(everything, due)
        due.sort(key=lambda pair: pair[0].due)
        return due

    def _place(self, pairs: Iterable[tuple[E, V]], due: list[tuple[E, V]]) -> None:
        for entry, value in pairs:
            if entry.due <= self._now:
                due.append((entry, value))
            else:
                self.insert(entry, value)
