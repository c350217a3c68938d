"""Those of this worker that budgets hold, in the order in which they came.

The line of a budget runs through all workers. Once a second it is dealt who of
it may go and when (`Budgeting.deal`), and whoever is called comes when its
place is free, so only as many wake as there are places. Who has not been
called gets a place only when it has been free for some seconds: then those it
was for have gone.

This is one worker's memory and a matter of order alone; what may pass is
counted elsewhere. Public: `Lines`, `LOOK_EVERY`, `UNCLAIMED`, `PATIENCE`,
`MOST_ASKS`. Nothing can go wrong.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from attrs import define, field

from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Ask, Deal, Waiter
from kumotwist.core.units import Throttle

#: Seconds after which a held message is tried though nobody called it: policy may have raised its budget. Ours: a
#: hundred thousand that are held cost some hundred tries a second.
LOOK_EVERY: Final = 600.0
#: Seconds for which a place has been free when nobody is expected to come for it. Ours: places are dealt once a second.
UNCLAIMED: Final = 3.0
#: Seconds after which one that does not wait to be called, or was called and did not come, counts as gone. Ours: policy
#: is asked between a try and the wait for the next.
PATIENCE: Final = 10.0
#: Messages in line; the others are tried every now and then. Ours: some 70 MB in one line, and 200 MB if
#: each is in a line of its own.
_MAX_WAITERS: Final = 200_000
#: Lines that are asked about at once, and how many of each are looked at. Ours: some ten milliseconds of the state
#: file.
MOST_ASKS: Final = 500
_AHEAD: Final = 1_000
#: Seconds until a line is asked about again for its next places, at least. Ours: less than those between two deals.
_ASK_AGAIN: Final = 0.5


@define(eq=False)
class _Line:
    """`waiters` in order; who `joined` and `left` is yet to be told; so many `others` wait on other workers."""

    spec: Throttle
    waiters: list[Waiter] = field(factory=list)
    joined: set[Waiter] = field(factory=set)
    left: set[Waiter] = field(factory=set)
    others: int = 0
    ask_at: float = inf


@define(eq=False)
class _Place:
    """The line that a message is in, as whom and since when; `called` is from when on it may go.

    `missed` is since when it does not wait to be called.
    """

    key: str
    waiter: Waiter
    since: float
    called: float | None = None
    missed: float | None = None


@define(eq=False)
class Lines:
    """One line for each budget that holds something."""

    max_waiters: int = _MAX_WAITERS
    _lines: dict[str, _Line] = field(factory=dict, init=False)
    _places: dict[SpoolId, _Place] = field(factory=dict, init=False)
    #: When to ask about which line; what the line no longer says counts for nothing.
    _due: list[tuple[float, str]] = field(factory=list, init=False)
    _asked_at: float = field(default=0.0, init=False)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, message: SpoolId) -> bool:
        return message in self._places

    @property
    def is_busy(self) -> bool:
        """Whether anybody is in line, or has left and this is yet to be told."""
        return bool(self._lines)

    # -- one message ------------------------------------------------------------------------------

    def is_called(self, message: SpoolId, now: float = inf) -> bool:
        """Whether the message is in a line and was called for a place that is free by `now`."""
        place = self._places.get(message)
        return place is not None and place.called is not None and place.called <= now

    def is_in(self, key: str, message: SpoolId) -> bool:
        """Whether it waits for that budget."""
        place = self._places.get(message)
        return place is not None and place.key == key

    def has(self, key: str) -> bool:
        """Whether any message of this worker waits for that budget."""
        return key in self._lines

    def expected(self, message: SpoolId, key: str, wait: float, spec: Throttle) -> float:
        """About how many seconds it is until the turn of one that finds no place for `wait` seconds."""
        line = self._lines.get(key)
        if line is None:
            return wait
        mine, ahead = len(line.waiters), len(line.waiters)
        if self.is_in(key, message):
            ahead = bisect_left(line.waiters, self._places[message].waiter)
        # Where those of the other workers stand is not known here: taken to be spread among ours.
        others = line.others * ahead / mine if mine else line.others
        return wait + (ahead + others) * spec.period / spec.limit

    def join(self, key: str, waiter: Waiter, spec: Throttle, now: float) -> None:
        """Have it wait until it is called; one that is in that line keeps its place, and the call for a later one."""
        message = waiter[1]
        if message in self._places and not self.is_in(key, message):
            self.leave(message)
        place = self._places.get(message)
        if place is None:
            if len(self._places) >= self.max_waiters:
                return
            place = self._places[message] = _Place(key, waiter, now)
            insort(self._lines.setdefault(key, _Line(spec)).waiters, waiter)
        place.since, place.missed = now, None
        if place.called is not None and place.called <= now:
            place.called = None
        line = self._lines[key]
        line.joined.add(place.waiter)
        line.left.discard(place.waiter)
        self._ask(key, line, 0.0)

    def come(self, message: SpoolId) -> tuple[str, Waiter] | None:
        """It tries to get a place, and then leaves or joins again: as whom it is in which line, if it is in one."""
        place = self._places.get(message)
        if place is None:
            return None
        self._lines[place.key].joined.discard(place.waiter)
        return place.key, place.waiter

    def leave(self, message: SpoolId, *, is_known: bool = False) -> None:
        """It has got a place, which `is_known` to the other workers, or goes another way."""
        place = self._places.get(message)
        if place is None:
            return
        line = self._lines[place.key]
        self._remove(line, place)
        if not is_known:
            line.left.add(place.waiter)
            self._ask(place.key, line, 0.0)
        elif not line.waiters and not line.left:
            del self._lines[place.key]

    def miss(self, message: SpoolId, now: float) -> None:
        """One that was called does not wait: it has gone, unless it joined just now; then it is called again."""
        place = self._places.get(message)
        if place is None or now - place.since > PATIENCE:
            self.leave(message)
        else:
            place.called = None
            self._ask(place.key, self._lines[place.key], now)

    # -- all of them ------------------------------------------------------------------------------

    def asks(self, now: float, waits: Callable[[SpoolId], bool]) -> list[Ask]:
        """What to ask now, longest due first; `waits` tells whether a message could be called."""
        if now < self._asked_at:
            self._begin_anew(now)
        self._asked_at = now
        asks: list[Ask] = []
        while self._due and self._due[0][0] <= now and len(asks) < MOST_ASKS:
            at, key = heapq.heappop(self._due)
            line = self._lines.get(key)
            if line is None or line.ask_at != at:
                continue
            self._drop_the_gone(line, now, waits)
            asks.append(Ask(key, line.spec, tuple(line.joined), tuple(line.left), line.waiters[:_AHEAD]))
            line.joined, line.left, line.ask_at = set(), set(), inf
        return asks

    def hear(self, asks: Sequence[Ask], deals: Sequence[Deal], now: float) -> list[tuple[float, SpoolId]]:
        """Who is called by the answers, and from when on each may go."""
        called: list[tuple[float, SpoolId]] = []
        for ask, deal in zip(asks, deals, strict=True):
            line = self._lines.get(ask.key)
            if line is None:
                continue
            line.others = deal.others
            for waiter, at in deal.called:
                if not self.is_in(ask.key, waiter[1]):
                    line.left.add(waiter)
                elif not self.is_called(waiter[1]):
                    self._places[waiter[1]].called = at
                    called.append((at, waiter[1]))
            if line.waiters or line.joined or line.left:
                at = now if line.left else deal.again_at
                latest = now + PATIENCE + 1.0 if deal.called else inf
                self._ask(ask.key, line, max(min(at, latest), now + _ASK_AGAIN))
            else:
                del self._lines[ask.key]
        return called

    def unheard(self, asks: Sequence[Ask], now: float) -> None:
        """There was no answer: ask again."""
        for ask in asks:
            line = self._lines.setdefault(ask.key, _Line(ask.spec))
            line.joined.update(one for one in ask.joined if self.is_in(ask.key, one[1]))
            line.left.update(one for one in ask.left if not self.is_in(ask.key, one[1]))
            self._ask(ask.key, line, now)

    def _begin_anew(self, now: float) -> None:
        """The clock was put back: what was said of later times holds no more."""
        self._due = []
        for key, line in self._lines.items():
            line.ask_at = inf
            self._ask(key, line, now)
        for place in self._places.values():
            place.since, place.called, place.missed = now, None, None

    def _drop_the_gone(self, line: _Line, now: float, waits: Callable[[SpoolId], bool]) -> None:
        """Those at the head that have gone, to an end or another way, keep nobody from his place."""
        for waiter in line.waiters[:_AHEAD]:
            place = self._places[waiter[1]]
            if place.called is not None:
                latest = max(place.since, place.called)
            elif waits(waiter[1]):
                place.missed = None
                continue
            else:
                latest = place.missed = now if place.missed is None else place.missed
            if now - latest > PATIENCE:
                self._remove(line, place)
                line.left.add(waiter)

    def _remove(self, line: _Line, place: _Place) -> None:
        del self._places[place.waiter[1]]
        del line.waiters[bisect_left(line.waiters, place.waiter)]
        line.joined.discard(place.waiter)

    def _ask(self, key: str, line: _Line, at: float) -> None:
        """At that time, if not sooner."""
        if at < line.ask_at:
            line.ask_at = at
            heapq.heappush(self._due, (at, key))
