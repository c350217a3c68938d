"""A simulation: a stream of messages over routes that behave as a scenario says, on a clock of its own.

Public: `simulate`, `Run`. Deterministic: the same scenario and seed give the same run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.option import Duration
from kumotwist.queue.routes.table import Signal
from kumotwist.trial.choosers import Chooser
from kumotwist.trial.scenario import Scenario, Trouble

#: Where a simulation's clock begins, in Unix seconds.
_START: Final = 1_800_000_000.0
#: Seconds between two looks at the shares.
_LOOK: Final = 10.0
#: Seconds after which a receipt is late where the table does not say.
_LATE: Final = 240.0
#: A part of the resting traffic that counts as gone, and as back.
_GONE: Final = 0.1
_BACK: Final = 0.9
_WELL: Final = Trouble(start=Duration(0.0), until=Duration(0.0))


@define(eq=False)
class Run:
    """What came of it. `lost` are messages that trouble cost: failed, bounced, late or unheard of while it lasted."""

    lost: int = 0
    sent: list[int] = field(factory=list)
    #: Seconds from the start, and the shares then.
    history: list[tuple[float, tuple[float, ...]]] = field(factory=list)
    #: Seconds until nine tenths of the traffic had left the route in trouble, and after its end until it was back.
    left_after: float | None = None
    back_after: float | None = None


def simulate(scenario: Scenario, chooser: Chooser, seed: int = 1) -> Run:
    """Send the scenario's messages as `chooser` says."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    run = Run(sent=[0] * len(scenario.table.routes))
    later: list[tuple[float, int, int, Signal, bool]] = []
    next_look = 0.0
    for number in range(int(scenario.duration * scenario.rate)):
        at = number / scenario.rate
        while later and later[0][0] <= at:
            when, _, position, signal, counts = heapq.heappop(later)
            chooser.report(position, signal, _START + when)
            run.lost += counts and signal is Signal.LOST
        if at >= next_look:
            next_look += _LOOK
            run.history.append((at, tuple(chooser.shares(_START + at))))
        position = chooser.choose(_START + at)
        run.sent[position] += 1
        _send(scenario, position, at, number, chance, chooser, run, later)
    _measure(scenario, run)
    return run


def _send(
    scenario: Scenario,
    position: int,
    at: float,
    number: int,
    chance: random.Random,
    chooser: Chooser,
    run: Run,
    later: list[tuple[float, int, int, Signal, bool]],
) -> None:
    trouble = _trouble(scenario, position, at)
    behaviour = trouble or _WELL
    if chance.random() >= behaviour.success:
        run.lost += trouble is not None
        chooser.report(position, Signal.FAILED, _START + at)
        return
    chooser.report(position, Signal.HANDED_OVER, _START + at)
    patience = scenario.table.learn.receipt_within or _LATE
    delay = chance.expovariate(1.0 / behaviour.delay)
    comes, is_good = chance.random() < behaviour.receipts, chance.random() < behaviour.arrival
    if not comes or delay > patience:
        later_at, signal = at + patience, Signal.LOST
    else:
        later_at, signal = at + delay, Signal.ARRIVED if is_good else Signal.LOST
    heapq.heappush(later, (later_at, number, position, signal, trouble is not None))


def _trouble(scenario: Scenario, position: int, at: float) -> Trouble | None:
    name = scenario.table.routes[position].name
    return next((one for one in scenario.trouble if one.route in (None, name) and one.start <= at < one.until), None)


def _measure(scenario: Scenario, run: Run) -> None:
    """When the traffic left the first route in trouble, and when it was back."""
    trouble = next((one for one in scenario.trouble if one.route is not None), None)
    if trouble is None:
        return
    position = [route.name for route in scenario.table.routes].index(str(trouble.route))
    rest = scenario.table.routes[position].weight / sum(route.weight for route in scenario.table.routes)
    seen = [(at, shares[position] / rest) for at, shares in run.history]
    run.left_after = _first(seen, trouble.start, lambda part: part <= _GONE)
    run.back_after = _first(seen, trouble.until, lambda part: part >= _BACK) if run.left_after is not None else None


def _first(seen: Sequence[tuple[float, float]], start: float, holds: Callable[[float], bool]) -> float | None:
    return next((at - start for at, part in seen if at >= start and holds(part)), None)
