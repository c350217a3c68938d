"""A route table at work: choices out, outcomes in.

Ask `choose` for each message, tell `report` what became of it. Shares are
computed anew at most once a second for each class; a choice itself is a few
additions.

A class learns by itself as soon as it has evidence enough; until then it is
judged by what all classes together have shown. So does the breaker: one for
each route and class, and one for the route as a whole.

Public: `RouteTable`, `Choice`, `Change`, `Signal`. Nothing can go wrong: when
no route is left the resting weights decide, since trying is better than waiting.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.config.routes import RouteTableConfig
from kumotwist.queue.routes.balance import MAX_CLASSES, Balance
from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.evidence import Evidence, believed
from kumotwist.queue.routes.judgement import Judged, Sample, judge

#: Seconds between two judgements of a class.
_REFRESH: Final = 1.0
#: The class that stands for all of them.
ALL: Final = ""


class Signal(enum.Enum):
    """What an outcome says about the route. What is the recipient's fault says nothing, and is not reported."""

    #: It was handed over.
    HANDED_OVER = "handed over"
    #: It was not, and the route is at fault: no connection, our account, 5xx, refusal of our content.
    FAILED = "failed"
    #: A receipt: it arrived.
    ARRIVED = "arrived"
    #: A receipt, or its absence: it did not, and the route is at fault.
    LOST = "lost"


@frozen
class Choice:
    """A route by position and name; `is_trial` when its breaker was open."""

    position: int
    route: str
    is_trial: bool = False


@frozen
class Change:
    """A breaker that changed, or a share that moved; `name` is the class, "" for all."""

    route: str
    name: str
    what: str
    before: str
    after: str


@define(eq=False)
class _Class:
    """What is known about one class, by route."""

    handed: list[Evidence]
    arrived: list[Evidence]
    breakers: list[Breaker]
    judged: Judged | None = None
    judge_at: float = 0.0


@define(eq=False)
class RouteTable:
    """`changed` hears of what moves."""

    config: RouteTableConfig
    changed: Callable[[Change], object] = field(default=lambda _: None)
    _balance: Balance = field(init=False)
    _classes: OrderedDict[str, _Class] = field(factory=OrderedDict, init=False)
    _weights: tuple[float, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        total = sum(route.weight for route in self.config.routes)
        self._weights = tuple(route.weight / total for route in self.config.routes)
        self._balance = Balance(len(self._weights))

    def choose(self, name: str, now: float, tried: Collection[str] = ()) -> Choice | None:
        """The route for a message of class `name`, none of those `tried`; None when all were."""
        everybody, own = self._class(ALL), self._class(name)
        open_ = self._open(everybody, own, now, tried)
        shares = [0.0 if is_out else share for share, is_out in zip(self.shares(name, now), open_, strict=True)]
        if not any(shares):
            shares = self._last_resort(open_, tried)
        total = sum(shares)
        if total <= 0.0:
            return None
        position = self._balance.choose(name, [share / total for share in shares])
        is_trial = False
        for breaker in (everybody.breakers[position], own.breakers[position]):
            is_trial = is_trial or breaker.state is not State.CLOSED
            breaker.take(now)
        return Choice(position, self.config.routes[position].name, is_trial)

    def report(self, name: str, position: int, signal: Signal, now: float) -> None:
        """What became of a message of class `name` that went by the route at `position`."""
        is_good = signal in (Signal.HANDED_OVER, Signal.ARRIVED)
        for one in {ALL, name}:
            known = self._class(one)
            if signal in (Signal.HANDED_OVER, Signal.FAILED):
                known.handed[position].add(is_good, now)
                self._note_breaker(known, one, position, is_good, now)
            else:
                known.arrived[position].add(is_good, now)

    def shares(self, name: str, now: float) -> Sequence[float]:
        """The shares of class `name` now, breakers aside; they add up to 1."""
        return self.judged(name, now).shares

    def open_shares(self, name: str, now: float) -> Sequence[float]:
        """The same without the routes that breakers keep out; the resting shares when they keep out all."""
        open_ = self._open(self._class(ALL), self._class(name), now, ())
        shares = [0.0 if is_out else share for share, is_out in zip(self.shares(name, now), open_, strict=True)]
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else self._weights

    def judged(self, name: str, now: float) -> Judged:
        """The shares and what they rest on, no older than a second."""
        known = self._class(name)
        if known.judged is None or now >= known.judge_at or now < known.judge_at - _REFRESH:
            before, known.judged = known.judged, self._judge(known, now)
            known.judge_at = now + _REFRESH
            self._tell_shares(name, before, known.judged)
        return known.judged

    def breaker(self, name: str, position: int) -> Breaker:
        """The breaker of a route and class."""
        return self._class(name).breakers[position]

    def _judge(self, known: _Class, now: float) -> Judged:
        learn = self.config.learn
        if not learn.enabled:
            nothing = (0.0,) * len(self._weights)
            return Judged(self._weights, nothing, (-1,) * len(self._weights))
        everybody = self._class(ALL)
        streams = [
            self._stream(known.handed, everybody.handed, now),
            self._stream(known.arrived, everybody.arrived, now),
        ]
        return judge(self._weights, streams, margin=learn.margin, floor=learn.floor)

    def _stream(self, own: Sequence[Evidence], everybody: Sequence[Evidence], now: float) -> list[Sample]:
        """For each route what the class has shown, or all classes together where that is too little."""
        least = self.config.learn.min_samples
        mine, all_ = believed(own, now), believed(everybody, now)
        found = []
        for position, evidence in enumerate(own):
            is_own = evidence.slow.total >= least
            counts = mine[position] if is_own else all_[position]
            is_enough = is_own or everybody[position].slow.total >= least
            found.append(Sample(counts.good, counts.total, is_enough))
        return found

    def _open(self, everybody: _Class, own: _Class, now: float, tried: Collection[str]) -> list[bool]:
        """For each route whether it is out: tried already, or shut by a breaker."""
        return [
            route.name in tried
            or not everybody.breakers[position].allows(now)
            or not own.breakers[position].allows(now)
            for position, route in enumerate(self.config.routes)
        ]

    def _last_resort(self, open_: Sequence[bool], tried: Collection[str]) -> list[float]:
        """Shares when no route with a weight is in order: a standby's if there is one, else by the resting weights."""
        standby = [0.0 if is_out else 1.0 for is_out in open_]
        if any(standby):
            first = standby.index(1.0)
            return [1.0 if position == first else 0.0 for position in range(len(standby))]
        return [
            0.0 if route.name in tried else weight
            for route, weight in zip(self.config.routes, self._weights, strict=True)
        ]

    def _note_breaker(self, known: _Class, name: str, position: int, is_good: bool, now: float) -> None:
        breaker = known.breakers[position]
        before = breaker.state
        breaker.note(is_good, now)
        if breaker.is_alarmed:
            if any(other.is_well for other in known.breakers if other is not breaker):
                breaker.open(now)
            else:
                breaker.calm()
        if (breaker.state is State.CLOSED) is not (before is State.CLOSED):
            route = self.config.routes[position].name
            self.changed(Change(route, name, "breaker", before.value, breaker.state.value))

    def _tell_shares(self, name: str, before: Judged | None, after: Judged) -> None:
        """Say which shares have moved by more than a hundredth."""
        old = before.shares if before is not None else self._weights
        for route, one, other in zip(self.config.routes, old, after.shares, strict=True):
            if abs(one - other) >= 0.01:
                self.changed(Change(route.name, name, "share", f"{one:.3f}", f"{other:.3f}"))

    def _class(self, name: str) -> _Class:
        known = self._classes.get(name)
        if known is None:
            count, half_life = len(self._weights), self.config.learn.half_life
            known = self._classes[name] = _Class(
                [Evidence(half_life) for _ in range(count)],
                [Evidence(half_life) for _ in range(count)],
                [Breaker() for _ in range(count)],
            )
            if len(self._classes) > MAX_CLASSES:
                oldest = next(one for one in self._classes if one != ALL)
                del self._classes[oldest]
        elif name != ALL:
            self._classes.move_to_end(name)
        return known
