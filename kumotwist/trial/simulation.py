"""A simulation: a stream of messages over routes that behave as a scenario says, on a clock of its own.

A message that is refused goes on at once as the table's `on_failure` says; it
is not tried again later. Budgets and fallback are not played.

Public: `simulate`, `Run`, `Span`. Deterministic: the same scenario and seed give the same run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from attrs import define, field, frozen

from kumotwist.queue.routes.signals import Signal
from kumotwist.trial.choosers import Chooser
from kumotwist.trial.scenario import Scenario, Trouble
from kumotwist.trial.weather import Behaviour, Weather

#: Where a simulation's clock begins, in Unix seconds.
_START: Final = 1_800_000_000.0
#: Looks at the shares in a run, and seconds between two at least.
_LOOKS: Final = 3600
_LOOK: Final = 1.0
#: A part of the resting traffic that counts as gone, and as back.
_GONE: Final = 0.1
_BACK: Final = 0.9
#: What sums of shares are wrong by.
_NOTHING: Final = 1e-9
#: Different keys of a sticky table. Ours: enough to follow the shares closely.
_KEYS: Final = 10_000

#: Chances that decide on one attempt: whether it is handed over, heard of, and well, and how long that takes.
_Draws: TypeAlias = tuple[float, float, float, float]


@frozen
class Span:
    """How a route was left and taken up again around one trouble: seconds from its beginning, and from its end."""

    left_after: float | None = None
    back_after: float | None = None


@define(eq=False)
class Run:
    """What came of it. `lost` are attempts that trouble cost: refused, bounced, late or unheard of while it lasted."""

    lost: int = 0
    #: Messages that one route refused and another one took in the same attempt.
    saved: int = 0
    #: Attempts by route.
    sent: list[int] = field(factory=list)
    #: By class: seconds from the start, and the shares then.
    history: dict[str, list[tuple[float, Sequence[float]]]] = field(factory=dict)
    #: By trouble; empty for one that is no single route's.
    spans: list[Span] = field(factory=list)


def simulate(scenario: Scenario, chooser: Chooser, seed: int = 1) -> Run:
    """Send the scenario's messages as `chooser` says."""
    simulation = _Simulation(scenario, chooser, seed)
    simulation.play()
    run = simulation.run
    run.spans = [_span(scenario, run, one) for one in scenario.trouble]
    return run


@define(eq=False)
class _Simulation:
    scenario: Scenario
    chooser: Chooser
    seed: int
    run: Run = field(init=False)
    _weather: Weather = field(init=False)
    #: Chances of first attempts and of all else: every chooser meets the same messages.
    _first: random.Random = field(init=False)
    _further: random.Random = field(init=False)
    _classes: list[str] = field(init=False)
    _cumulated: list[float] = field(init=False)
    #: Signals to come: when, in which order, of which class and route.
    _later: list[tuple[float, int, str, int, Signal]] = field(factory=list)
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        self._weather = Weather(self.scenario)
        self._first, self._further = random.Random(self.seed), random.Random(self.seed + 1)  # noqa: S311 - no secret
        self._classes = list(self.scenario.classes)
        self._cumulated = list(accumulate(self.scenario.classes.values()))
        self.run = Run(sent=[0] * len(self.scenario.table.routes), history={name: [] for name in self._classes})

    def play(self) -> None:
        """All of it."""
        scenario, next_look = self.scenario, 0.0
        look = max(_LOOK, scenario.duration / _LOOKS)
        for number in range(int(scenario.duration * scenario.rate)):
            at = number / scenario.rate
            while next_look <= at:
                self._hear(next_look)
                self._look(next_look)
                next_look += look
            self._hear(at)
            self._weather.at(at)
            self._send(at)

    def _hear(self, at: float) -> None:
        """Give the chooser what has come in by now."""
        while self._later and self._later[0][0] <= at:
            when, _, class_, position, signal = heapq.heappop(self._later)
            self.chooser.report(class_, position, signal, _START + when)

    def _look(self, at: float) -> None:
        for class_, seen in self.run.history.items():
            seen.append((at, tuple(self.chooser.shares(class_, _START + at))))

    def _send(self, at: float) -> None:
        """One message, over as many routes as the table's `on_failure` allows."""
        table, now = self.scenario.table, _START + at
        class_, key = self._message()
        draws = _draws(self._first)
        tried: tuple[str, ...] = ()
        while (position := self.chooser.choose(class_, now, tried, key)) is not None:
            self.run.sent[position] += 1
            behaviour = self._weather.of(position, class_)
            if draws[0] < behaviour.success:
                self.run.saved += len(tried) > 0
                self._handed_over(class_, position, at, behaviour, draws)
                return
            self.run.lost += behaviour.is_trouble
            self.chooser.report(class_, position, Signal.FAILED, now)
            if table.on_failure != "next_route":
                return
            draws, tried = _draws(self._further), (*tried, table.routes[position].name)

    def _message(self) -> tuple[str, str | None]:
        """A class, and the key of a table that is sticky."""
        classes = self._classes
        class_ = classes[0] if len(classes) == 1 else self._first.choices(classes, cum_weights=self._cumulated)[0]
        return class_, f"{self._first.randrange(_KEYS)}" if self.scenario.table.sticky_by is not None else None

    def _handed_over(self, class_: str, position: int, at: float, behaviour: Behaviour, draws: _Draws) -> None:
        self.chooser.report(class_, position, Signal.HANDED_OVER, _START + at)
        comes, is_good, delay = draws[1] < behaviour.receipts, draws[2] < behaviour.arrival, draws[3] * behaviour.delay
        in_time = comes and delay <= self.scenario.patience
        self.run.lost += behaviour.is_trouble and not (in_time and is_good)
        patience = self.chooser.patience
        if patience is not None and not (comes and delay <= patience):
            when, signal = at + patience, Signal.LOST
        elif comes:
            when, signal = at + delay, Signal.ARRIVED if is_good else Signal.LOST
        else:
            return
        self._count += 1
        heapq.heappush(self._later, (when, self._count, class_, position, signal))


def _draws(chance: random.Random) -> _Draws:
    return chance.random(), chance.random(), chance.random(), chance.expovariate(1.0)


def _span(scenario: Scenario, run: Run, trouble: Trouble) -> Span:
    """When the traffic left the route in trouble, down to a tenth or to the floor, and when nine tenths were back."""
    names = [route.name for route in scenario.table.routes]
    if trouble.route is None:
        return Span()
    position = names.index(trouble.route)
    rest = scenario.table.resting_shares[position]
    if rest <= 0.0:
        return Span()
    floor, gone = scenario.table.learn.floor, _GONE * rest
    if gone < floor < _BACK * rest:
        gone = floor
    seen = list(_shares(scenario, run, trouble.class_, position))
    left = next((at for at, share in seen if at >= trouble.from_ and share <= gone + _NOTHING), None)
    if left is None:
        return Span()
    back = next((at for at, share in seen if at >= max(trouble.until, left) and share >= _BACK * rest), None)
    return Span(left - trouble.from_, None if back is None else back - trouble.until)


def _shares(scenario: Scenario, run: Run, class_: str | None, position: int) -> Iterator[tuple[float, float]]:
    """A route's share over time in a class, or in all by their parts."""
    if class_ is not None:
        yield from ((at, shares[position]) for at, shares in run.history[class_])
        return
    total = sum(scenario.classes.values())
    parts = [part / total for part in scenario.classes.values()]
    for looks in zip(*run.history.values(), strict=True):
        yield (
            looks[0][0],
            sum(part * shares[position] for part, (_, shares) in zip(parts, looks, strict=True)),
        )
