"""Rates and counts within this process: `LocalLimits`.

Rates are the generic cell rate algorithm with redis-cell's semantics: a burst
of `max_burst + 1` may pass in one instant, `max_burst` being the limit less
one unless it is given and smaller. All arithmetic is on integers, so a rate is
kept to the event.

Public: `LocalLimits`, the `Limits` and `Budgeting` of `core.interfaces` for one process,
`Cells` for whoever shares rates between processes, and the algorithm itself,
`pass_one`, `pass_all`, `mend`, `until_full` and `places`, for whoever keeps the arrival times elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from attrs import frozen

from kumotwist.core.interfaces import Ask, Deal, Event, Lease, NoRoom, Waiter
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.clock import Clock

#: Clock ticks a second. Ours: finer than any peer notices, coarse enough for float seconds of this century.
_TICKS: Final = 1_000_000
#: Cells kept before the ones that are full again are swept out; doubles while all are in use.
_SWEEP_AT: Final = 4096
#: Seconds ahead for which places are dealt, and how many at a time. Ours: they are dealt once a second, a little late
#: when there is much to do.
_HORIZON: Final = 1.25
_MOST_PLACES: Final = 1_000
#: Seconds after its time at which a place is given out: the arithmetic here is on floats.
_ROUNDING: Final = 0.001


def pass_one(arrival: int, spec: Throttle, now: float) -> tuple[int, float]:
    """The arrival time from now on, and 0.0 when one more event passes at `now` (seconds), else whole seconds to wait.

    The theoretical arrival time is in ticks times the limit, which makes the
    interval between events a whole number. One that is farther ahead than
    events can bring it was reckoned by a clock that has been put back since.
    """
    interval = spec.period * _TICKS
    present = round(now * _TICKS) * spec.limit
    furthest = present + spec.burst * interval
    arrival = min(max(arrival, present), furthest)
    ahead = arrival + interval - furthest
    if ahead > 0:
        second = _TICKS * spec.limit
        return arrival, float((ahead + second - 1) // second)
    return arrival + interval, 0.0


def mend(arrival: int, spec: Throttle, now: float) -> int:
    """The same, unless it was reckoned by a clock that has been put back since."""
    return min(arrival, round(now * _TICKS) * spec.limit + spec.burst * spec.period * _TICKS)


def pass_all(
    arrival_of: Callable[[Event], int | None],
    events: Sequence[Event],
    now: float,
    has_line: Callable[[Event], bool] = attrgetter("has_line"),
) -> tuple[dict[Event, int], tuple[NoRoom, ...]]:
    """The arrival times that change when all events pass at `now`, or none does for want of room for some.

    `arrival_of` gives the present one of a rate, None when nothing of it was ever taken; `has_line` whether anybody
    waits for it. Equal events are several of one rate.
    """
    reached: dict[Event, int] = {}
    mended: dict[Event, int] = {}
    without: list[NoRoom] = []
    for position, event in enumerate(events):
        known = arrival_of(event)
        before = reached.get(event, known or 0)
        arrival, wait = pass_one(before, event.spec, now)
        if wait > 0.0:
            without.append(NoRoom(position, wait))
            if event not in reached and known is not None and arrival != known:
                mended[event] = arrival  # it was reckoned by a clock that has been put back since
        elif event.behind > 0.0 and pass_one(before, event.spec, now - event.behind)[1] > 0.0 and has_line(event):
            without.append(NoRoom(position, 0.0))
        else:
            reached[event] = arrival
    return (mended if without else reached), tuple(without)


def until_full(arrival: int, spec: Throttle, now: float) -> float:
    """Seconds until the whole burst may pass again."""
    ahead = (arrival - round(now * _TICKS) * spec.limit) / (_TICKS * spec.limit)
    return min(max(0.0, ahead), spec.burst * spec.period / spec.limit)


@frozen
class Places:
    """When the next ones come free, in Unix seconds: `times` of those that are free now or about to be.

    Those that come after these are to be dealt at `ask_at`; the first has been free `since`, or will be.
    """

    times: list[float]
    ask_at: float
    since: float


def places(arrival: int, spec: Throttle, now: float) -> Places:
    """Those of a rate, as long as each is taken when it comes."""
    interval = spec.period / spec.limit
    reached = arrival / (_TICKS * spec.limit)
    first = max(reached, now) - (spec.burst - 1) * interval + _ROUNDING
    count = max(0, math.floor((now + _HORIZON - first) / interval) + 1)
    count = min(count, _MOST_PLACES)
    times = [max(first + number * interval, now) for number in range(count)]
    ask_at = max(first + count * interval - _HORIZON, now)
    return Places(times, ask_at, reached - (spec.burst - 1) * interval)


class Cells:
    """Cells by name and spec: the theoretical arrival time of each. A changed spec starts afresh."""

    __slots__ = ("_arrivals", "_sweep_at")

    def __init__(self) -> None:
        self._arrivals: dict[tuple[str, Throttle], int] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        return len(self._arrivals)

    def take(self, name: str, spec: Throttle, now: float) -> float:
        """Let one event pass and answer 0.0, or answer the whole seconds until one may."""
        key = (name, spec)
        self._arrivals[key], wait = pass_one(self._arrivals.get(key, 0), spec, now)
        if len(self._arrivals) > self._sweep_at:
            self._sweep(now)
        return wait

    def take_all(self, events: Sequence[Event], now: float) -> tuple[NoRoom, ...]:
        """Let all events pass, or none: those that may not."""
        changed, without = pass_all(lambda event: self._arrivals.get((event.key, event.spec)), events, now)
        self._arrivals.update({(event.key, event.spec): arrival for event, arrival in changed.items()})
        if len(self._arrivals) > self._sweep_at:
            self._sweep(now)
        return without

    def until_full(self, name: str, spec: Throttle, now: float) -> float:
        """Seconds until the whole burst may pass again."""
        return until_full(self._arrivals.get((name, spec), 0), spec, now)

    def deal(self, ask: Ask, now: float) -> Deal:
        """Who of a line may go, when it is on this process alone."""
        arrival = mend(self._arrivals.get((ask.key, ask.spec), 0), ask.spec, now)
        self._arrivals[ask.key, ask.spec] = arrival
        free = places(arrival, ask.spec, now)
        return Deal(list(zip(ask.line, free.times, strict=False)), 0, free.ask_at)

    def _sweep(self, now: float) -> None:
        present = round(now * _TICKS)
        self._arrivals = {key: at for key, at in self._arrivals.items() if at > present * key[1].limit}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._arrivals))


class _Slot:
    """A held slot; releasing it twice is the same as once."""

    __slots__ = ("_held", "_key")

    def __init__(self, held: dict[str, int], key: str) -> None:
        self._held: dict[str, int] | None = held
        self._key = key

    def release(self) -> None:
        """Give the slot back."""
        held, self._held = self._held, None
        if held is None:
            return
        left = held[self._key] - 1
        if left:
            held[self._key] = left
        else:
            del held[self._key]


class LocalLimits:
    """`Limits` of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cells = Cells()
        self._held: dict[str, int] = {}

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event of `spec` under `key`: 0.0 when it may pass, else whole seconds to wait."""
        return self._cells.take(key, spec, self._clock.seconds())

    async def take_all(
        self,
        events: Sequence[Event],
        leaves: tuple[str, Waiter] | None = None,  # noqa: ARG002
    ) -> tuple[NoRoom, ...]:
        """Take them all, or nothing when there is no room for some, which these are; who leaves is known anyway."""
        return self._cells.take_all(events, self._clock.seconds())

    async def deal(self, asks: Sequence[Ask]) -> list[Deal]:
        """Who of each line may go."""
        now = self._clock.seconds()
        return [self._cells.deal(ask, now) for ask in asks]

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole burst of `spec` may pass again."""
        return self._cells.until_full(key, spec, self._clock.seconds())

    async def acquire(self, key: str, limit: Limit, waits: bool = False) -> Lease | None:  # noqa: ARG002
        """Take one of `limit` slots under `key`, or None when all are taken; one process need not take turns."""
        taken = self._held.get(key, 0)
        if taken >= limit.limit:
            return None
        self._held[key] = taken + 1
        return _Slot(self._held, key)
