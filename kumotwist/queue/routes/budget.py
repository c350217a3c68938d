"""Budgets of routes: what may still go by one, counted for the whole machine.

A budget is a rate under a name of its own for each thing that it counts. A
message takes its part of all budgets of its route or of none. What it has taken
it keeps while it only waits, so that one which is held up elsewhere is not
charged twice; a new attempt is charged again.

Public: `Budgets`, `Over`, `Left`, `describe`, `left_of`. A recipient that is no number has no country. What can go
wrong: StateUnavailable, when what has been taken cannot be read or written.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from kumotwist.config.routes import BudgetConfig, RouteEntry
from kumotwist.core.interfaces import Budgeting, Event
from kumotwist.core.message import Message
from kumotwist.core.units import format_duration
from kumotwist.proto.phone import calling_code
from kumotwist.proto.translate.whom import Whom, whom_of
from kumotwist.queue.routes.classes import MAX_NAME

#: What is remembered as taken. Ours: messages that wait for room in a ready queue, some thousand at a time.
_REMEMBERED: Final = 65_536


@frozen
class Over:
    """A budget that is used up: which one, what it counted, and the seconds until it has room."""

    budget: BudgetConfig
    what: str
    wait: float

    def __str__(self) -> str:
        return f"budget of {describe(self.budget)} is used up for {self.what}"


@frozen
class Left:
    """What budgets have left, and those that are used up, in words."""

    budgets: list[str]
    used_up: list[str]


@define(eq=False)
class Budgets:
    """Asks `rates`."""

    rates: Budgeting
    #: By message, attempt, table and route, the hash of the keys that it has taken.
    _taken: OrderedDict[tuple[bytes, int, str, str], int] = field(factory=OrderedDict, init=False)

    async def take(self, message: Message, table: str, entry: RouteEntry) -> Over | None:
        """Take the part of each recipient of all budgets of a route, or nothing; the first that has no room.

        Raises what `rates` raises, StateUnavailable.
        """
        counted = [(budget, what) for budget in entry.budgets for what in _counted(entry, budget, message)]
        events = [Event(_key(table, entry, budget, what), budget.rate) for budget, what in counted]
        mark, taken = (message.id, message.attempts, table, entry.name), hash(tuple(events))
        if self._taken.get(mark) == taken:
            return None
        no_room = await self.rates.take_all(events)
        if no_room is not None:
            budget, what = counted[no_room.position]
            return Over(budget, what, no_room.wait)
        self._taken[mark] = taken
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return None


async def left_of(rates: Budgeting, message: Message, table: str, entry: RouteEntry) -> Left:
    """What each budget of a route has left for the message; nothing is taken. Raises as `Budgets.take`."""
    told, used_up = [], []
    for budget in entry.budgets:
        for what in dict.fromkeys(_counted(entry, budget, message)):
            until_full = await rates.until_full(_key(table, entry, budget, what), budget.rate)
            left = budget.rate.left(until_full)
            told.append(f"{describe(budget)}: {what} has {left} of {budget.rate.burst} left")
            if left == 0:
                over = Over(budget, what, budget.rate.wait(until_full))
                used_up.append(f"{over}; there is room in {format_duration(math.ceil(over.wait))}")
    return Left(told, used_up)


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
