"""Budgets of routes: what may still go by one, counted for the whole machine.

A budget is a rate under a name of its own for each thing that it counts. A
message takes its part of all budgets of its route or of none. What it has taken
it keeps while it only waits, so that one which is held up elsewhere is not
charged twice; a new attempt is charged again.

What is held is in line (`queue/routes/line.py`). Once a second it is asked who
of it may go, and these are woken when their places come free.

Public: `Budgets`, `Waits`, `Over`, `Held`, `Left`, `describe`. A recipient that is no number has no country.
What can go wrong: StateUnavailable, when what has been taken cannot be read or written.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError

from kumotwist.config.routes import BudgetConfig, RouteEntry
from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Budgeting, Event
from kumotwist.core.message import Message
from kumotwist.core.units import format_duration
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.tasks import Tasks
from kumotwist.proto.phone import calling_code
from kumotwist.proto.translate.whom import Whom, whom_of
from kumotwist.queue.routes.classes import MAX_NAME
from kumotwist.queue.routes.line import MOST_ASKS, UNCLAIMED, Lines

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
    """The budget that a message waits for, about how many seconds, and whether it did not wait for it before."""

    over: Over
    wait: float
    is_new: bool


@frozen
class Left:
    """What budgets have left, and those that are used up, in words.

    `over` is the first that has no room, and `rank` where the message would wait; see `Budgets.rank`.
    """

    budgets: list[str]
    used_up: list[str]
    over: Over | None = None
    rank: float = 0.0


class Waits(Protocol):
    """Where those that are held wait."""

    def holds(self, spool_id: SpoolId) -> bool:
        """Whether the message waits there, held."""
        ...

    def wake(self, spool_id: SpoolId) -> bool:
        """Take the message up; False when it does not wait there."""
        ...


@define(eq=False)
class Budgets:
    """Asks `rates`, and wakes those whose turn it is."""

    rates: Budgeting
    clock: Clock
    tasks: Tasks
    waits: Waits
    lines: Lines = field(factory=Lines, init=False)
    #: Those who were called, by when their places come free.
    _called: list[tuple[float, SpoolId]] = field(factory=list, init=False)
    _next: DelayedCall | None = field(default=None, init=False)
    _is_dealing: bool = field(default=False, init=False)
    _is_stopped: bool = field(default=False, init=False)
    #: By message, attempt, table and route, the hash of the keys that it has taken.
    _taken: OrderedDict[tuple[bytes, int, str, str], int] = field(factory=OrderedDict, init=False)

    async def take(self, message: Message, table: str, entry: RouteEntry) -> tuple[Over, ...]:
        """Take the part of each recipient of all budgets of a route, or nothing when some have no room: these.

        Raises what `rates` raises, StateUnavailable.
        """
        counted = [(budget, what) for budget in entry.budgets for what in _counted(entry, budget, message)]
        keys = [_key(table, entry, budget, what) for budget, what in counted]
        mark, taken = (message.id, message.attempts, table, entry.name), hash(tuple(keys))
        if self._taken.get(mark) == taken:
            return ()
        behind = 0.0 if self.lines.is_called(message.id, self.clock.seconds()) else UNCLAIMED
        events = [
            Event(key, budget.rate, behind, self.lines.has(key)) for key, (budget, _) in zip(keys, counted, strict=True)
        ]
        without = await self.rates.take_all(events, self.lines.come(message.id))
        if without:
            return tuple(Over(*counted[one.position], keys[one.position], one.wait) for one in without)
        self.lines.leave(message.id, is_known=True)
        self._taken[mark] = taken
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)
        return ()

    def hold(self, message: Message, overs: Sequence[Over]) -> Held:
        """Have the message wait in the line of the budget where its turn is the latest."""
        now, (wait, over) = self.clock.seconds(), self._latest(message, overs)
        is_new, was_called = not self.lines.is_in(over.key, message.id), self.lines.is_called(message.id, now)
        self.lines.join(over.key, (_came(message, now), message.id), over.budget.rate, now)
        if was_called:
            # The one before it came late. Its own place is less than a second away, and need not wait for that second.
            self.tick()
        return Held(over, wait, is_new)

    def rank(self, message: Message, overs: Sequence[Over]) -> float:
        """Of several ways without room it waits where this is least: whose line it is in, else where it is soonest."""
        wait, over = self._latest(message, overs)
        return -1.0 if self.lines.is_in(over.key, message.id) else wait

    # -- once a second ----------------------------------------------------------------------------

    def tick(self) -> None:
        """Ask who of those that are held may go, and have them woken in time."""
        if self.lines.is_busy and not self._is_dealing and not self._is_stopped:
            self._is_dealing = True
            self.tasks.spawn("places of routes' budgets", self._deal())

    async def _deal(self) -> None:
        try:
            while not self._is_stopped and await self._deal_some() == MOST_ASKS:
                pass
        finally:
            self._is_dealing = False

    async def _deal_some(self) -> int:
        """About how many lines was asked."""
        now = self.clock.seconds()
        asks = self.lines.asks(now, self.waits.holds)
        try:
            deals = await self.rates.deal(asks)
        except CancelledError:
            raise
        except KumotwistError:
            # Whoever asks for a place is told, and waits as after a failure.
            self.lines.unheard(asks, now)
            return 0
        if not self._is_stopped:
            for called in self.lines.hear(asks, deals, now):
                heapq.heappush(self._called, called)
            self._wake()
        return len(asks)

    def stop(self) -> None:
        """Wake nobody any more."""
        self._is_stopped = True
        self._called.clear()
        self._set_alarm()

    def _wake(self) -> None:
        """Those whose places are free."""
        now = self.clock.seconds()
        while self._called and self._called[0][0] <= now:
            _, spool_id = heapq.heappop(self._called)
            if self.lines.is_called(spool_id) and not self.waits.wake(spool_id):
                self.lines.miss(spool_id, now)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        wait = self._called[0][0] - self.clock.seconds() if self._called else None
        self._next = self.clock.callLater(max(wait, 0.0), self._wake) if wait is not None else None

    # -- to look at -------------------------------------------------------------------------------

    async def left_of(self, message: Message, table: str, entry: RouteEntry) -> Left:
        """What each budget of a route has left for the message; nothing is taken. Raises as `take`."""
        told, used_up, overs = [], [], []
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
                    overs.append(over)
        waits = [one for one in overs if one.budget.over != "reject"]
        rank = self.rank(message, waits) if waits else 0.0
        return Left(told, used_up, overs[0] if overs else None, rank)

    def _held_by(self, message: Message, over: Over, left: int) -> str | None:
        """How a budget with so much left would hold the message, in words; None when it would not."""
        wait = math.ceil(self._expected(message, over))
        if wait > over.wait:
            return f"{over}; its turn is in {format_duration(wait)}, behind those that wait for room"
        return f"{over}; there is room in {format_duration(math.ceil(over.wait))}" if left == 0 else None

    def _latest(self, message: Message, overs: Sequence[Over]) -> tuple[float, Over]:
        """The budget where its turn is the latest, and about how many seconds that is away."""
        return max(((self._expected(message, one), one) for one in overs), key=lambda found: found[0])

    def _expected(self, message: Message, over: Over) -> float:
        return self.lines.expected(message.id, over.key, over.wait, over.budget.rate)


def describe(budget: BudgetConfig) -> str:
    """In words."""
    to = f" to {', '.join(budget.prefixes)}" if budget.prefixes else ""
    return f"{budget.rate} by {budget.by}{to}, then {budget.over}"


def _came(message: Message, now: float) -> float:
    """When a message got in line, in Unix seconds: when it could first go, so that a restart leaves it where it was.

    One that is tried again is not put before those that came since.
    """
    if message.attempts:
        return now
    first = message.schedule.first_attempt if message.schedule is not None else None
    return max(message.began, first or 0.0)


def _key(table: str, entry: RouteEntry, budget: BudgetConfig, what: str) -> str:
    """Each part with its length, since any of them may have a dash: no two budgets are one."""
    return "-".join(["route-budget", *(f"{len(one)}:{one}" for one in (table, entry.name, describe(budget), what))])


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
