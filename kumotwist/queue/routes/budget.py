"""Budgets of routes: what may still go by one, counted for the whole machine.

A budget is a rate under a name of its own for each thing that it counts. A
message takes its part of all budgets of its route or of none. What it has taken
it keeps while it only waits, so that one which is held up elsewhere is not
charged twice; a new attempt is charged again.

Public: `Budgets`, `Over`, `Held`, `Left`, `describe`. A recipient that is no number has no country.
What can go wrong: StateUnavailable, when what has been taken cannot be read or written.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.config.routes import BudgetConfig, RouteEntry
from kumotwist.core.interfaces import Budgeting, Event
from kumotwist.core.message import Message
from kumotwist.core.units import format_duration
from kumotwist.net.clock import Clock
from kumotwist.proto.phone import calling_code
from kumotwist.proto.translate.whom import Whom, whom_of
from kumotwist.queue.routes.classes import MAX_NAME
from kumotwist.queue.routes.line import Lines

#: What is remembered as taken. Ours: messages that wait for room in a ready queue, some thousand at a time.
_REMEMBERED: Final = 65_536


@frozen
class Over:
    """A budget that is used up: which one, what it counted and under which key, and the seconds until it has room."""

    budget: BudgetConfig
    what: str
    key: str
    wait: float

    def __str__(self) -> str:
        return f"budget of {describe(self.budget)} is used up for {self.what}"


@frozen
class Held:
    """The budget that a message waits for, the seconds until its turn, and whether it did not wait for it before."""

    over: Over
    wait: float
    is_new: bool


@frozen
class Left:
    """What budgets have left, and those that are used up, in words; `over` is the first that has no room."""

    budgets: list[str]
    used_up: list[str]
    over: Over | None = None


@define(eq=False)
class Budgets:
    """Asks `rates`."""

    rates: Budgeting
    clock: Clock
    lines: Lines = field(factory=Lines, init=False)
    #: By message, attempt, table and route, the hash of the keys that it has taken.
    _taken: OrderedDict[tuple[bytes, int, str, str], int] = field(factory=OrderedDict, init=False)

    async def take(self, message: Message, table: str, entry: RouteEntry) -> tuple[Over, ...]:
        """Take the part of each recipient of all budgets of a route, or nothing when some have no room: these.

        Raises what `rates` raises, StateUnavailable.
        """
        now = self.clock.seconds()
        counted = [(budget, what) for budget in entry.budgets for what in _counted(entry, budget, message)]
        keys = [_key(table, entry, budget, what) for budget, what in counted]
        mark, taken = (message.id, message.attempts, table, entry.name), hash(tuple(keys))
        if self._taken.get(mark) == taken:
            return ()
        is_due = self.lines.is_due(message.id, now)
        events = [
            Event(key, budget.rate, 0.0 if is_due else self.lines.behind(key, now))
            for key, (budget, _) in zip(keys, counted, strict=True)
        ]
        without = await self.rates.take_all(events)
        if without:
            return tuple(Over(*counted[one.position], keys[one.position], one.wait) for one in without)
        self.lines.leave(message.id)
        self._taken[mark] = taken
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return ()

    def hold(self, message: Message, overs: Sequence[Over]) -> Held:
        """Have the message wait for its turn with that of the budgets where it is the latest."""
        now = self.clock.seconds()
        turns = [(self.lines.turn(message.id, one.key, one.wait, now), one) for one in overs]
        turn, over = max(turns, key=lambda found: found[0].at)
        rate = over.budget.rate
        self.lines.join(message.id, over.key, turn, rate.period / rate.limit, now)
        return Held(over, turn.at - now, turn.is_new)

    async def left_of(self, message: Message, table: str, entry: RouteEntry) -> Left:
        """What each budget of a route has left for the message; nothing is taken. Raises as `take`."""
        told, used_up, first = [], [], None
        for budget in entry.budgets:
            for what, count in Counter(_counted(entry, budget, message)).items():
                key = _key(table, entry, budget, what)
                until_full = await self.rates.until_full(key, budget.rate)
                left = budget.rate.left(until_full)
                told.append(f"{describe(budget)}: {what} has {left} of {budget.rate.burst} left")
                over = Over(budget, what, key, budget.rate.wait(until_full))
                held = self._held_by(message, over, left)
                if held is not None:
                    used_up.append(held)
                if held is not None or left < count:
                    first = first or over
        return Left(told, used_up, first)

    def _held_by(self, message: Message, over: Over, left: int) -> str | None:
        """How a budget with so much left would hold the message, in words; None when it would not."""
        now = self.clock.seconds()
        at = self.lines.turn(message.id, over.key, over.wait, now).at
        if self.lines.behind(over.key, now) and at > now + over.wait:
            return f"{over}; its turn is in {format_duration(math.ceil(at - now))}, behind those that wait for room"
        return f"{over}; there is room in {format_duration(math.ceil(over.wait))}" if left == 0 else None


def describe(budget: BudgetConfig) -> str:
    """In words."""
    to = f" to {', '.join(budget.prefixes)}" if budget.prefixes else ""
    return f"{budget.rate} by {budget.by}{to}, then {budget.over}"


def _key(table: str, entry: RouteEntry, budget: BudgetConfig, what: str) -> str:
    return f"route-budget-{table}-{entry.name}-{describe(budget)}-{what}"


def _counted(entry: RouteEntry, budget: BudgetConfig, message: Message) -> Iterator[str]:
    """What each recipient is counted as; several of one kind are several."""
    for recipient in message.recipients:
        whom = whom_of(message, recipient, entry.protocol)
        if budget.prefixes and not whom.number.startswith(budget.prefixes):
            continue
        yield _name(budget.by, message, whom)[:MAX_NAME] or "none"


def _name(by: str, message: Message, whom: Whom) -> str:
    if by == "all":
        return "all"
    if by == "recipient":
        return whom.name
    if by == "country":
        return _country(whom.number)
    value = message.meta.get(by.removeprefix("meta:"))
    return value if isinstance(value, str) else ""


def _country(number: str) -> str:
    try:
        return calling_code(number) if number else ""
    except ValueError:
        return ""  # of the form of a number, but nobody's
