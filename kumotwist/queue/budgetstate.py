"""What has been taken of routes' budgets, in the state file: shared by all workers and kept over restarts.

A budget caps money, so each event is on disk before its message goes on: no
crash, power cut or change of the number of workers gives a cap back. Messages
that take their parts at the same time share one sync. One takes its part of all
budgets or of none, so what is held up or refused by one has cost the others
nothing, however often it comes back. A message that had taken its part and was
not on the wire when the daemon stopped takes it again.

There is a most of budgets that are counted at a time. Beyond it none is
forgotten, since whoever could have budgets forgotten by writing to many numbers
would get his cap back; what needs a new one waits until others are full again.

Public: `BudgetState`, the `Budgeting` of `core.interfaces` for budgets, `SCHEMA`, `MAX_COUNTED`.
What can go wrong: StateUnavailable; the caller keeps its message, since what
is not counted must not go out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final

from attrs import define, evolve, field

from kumotwist.core.errors import StateUnavailable
from kumotwist.core.interfaces import Ask, Deal, Event, NoRoom, Waiter
from kumotwist.core.units import Throttle
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue import budgetline, throttle

SCHEMA: Final = (
    # `arrival` is an integer that 64 bits need not hold.
    """CREATE TABLE IF NOT EXISTS budget_state (
      name TEXT NOT NULL PRIMARY KEY, arrival TEXT NOT NULL, full_at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS budget_state_full_at ON budget_state (full_at)",
    # How many there are: SQLite would look at each of them.
    "CREATE TABLE IF NOT EXISTS budget_count (counted INTEGER NOT NULL)",
    """INSERT INTO budget_count SELECT (SELECT count(*) FROM budget_state)
      WHERE NOT EXISTS (SELECT 1 FROM budget_count)""",
    *budgetline.SCHEMA,
)
#: Seconds between two sweeps of the budgets that are full again, and how many one sweep removes. Ours: more than
#: are taken meanwhile by a worker that hands over thousands of messages a second, in some milliseconds.
_SWEEP_EVERY: Final = 1.0
_SWEPT: Final = 10_000
#: Seconds for which the row of a full budget is kept: it tells for how long a place has been free, which matters for
#: the first seconds (`queue/routes/line.py`).
_KEPT: Final = 15.0
#: Budgets that are counted at a time. Ours: about a gigabyte of the state file, and as many recipients within the time
#: in which a budget of one each is full again (a day for 1/d, twenty minutes for 3/h).
MAX_COUNTED: Final = 4_000_000


@define(eq=False)
class BudgetState:
    """The budgets of the machine. A name tells a budget's rate, too: with another rate it is another budget."""

    file: SqliteFile
    clock: Clock
    #: Whose own those are that join and leave here.
    worker: int = 0
    max_counted: int = MAX_COUNTED
    _sweep_at: float = field(default=0.0, init=False)
    #: When the last sign of life was given, if there was one since the start.
    _beat_at: float | None = field(default=None, init=False)
    _forgot_at: float = field(default=-inf, init=False)

    async def take_all(self, events: Sequence[Event], leaves: tuple[str, Waiter] | None = None) -> tuple[NoRoom, ...]:
        """Take them all, and have that on disk, or nothing when there is no room for some, which these are.

        Raises StateUnavailable, also for a new name when too many are counted.
        """
        now = self.clock.seconds()
        is_sweep = not self._sweep_at - _SWEEP_EVERY <= now < self._sweep_at
        if is_sweep:
            self._sweep_at = now + _SWEEP_EVERY

        def work(connection: sqlite3.Connection) -> tuple[NoRoom, ...] | None:
            if is_sweep:
                _sweep(connection, now - _KEPT)
            known = {event: _arrival(connection, event.key) for event in events}
            has_line = partial(budgetline.has_line, connection)
            changed, without = throttle.pass_all(known.__getitem__, events, now, has_line)
            if not self._may_grow(connection, sum(known[event] is None for event in changed), now):
                return None
            rows = [
                (event.key, str(arrival), now + throttle.until_full(arrival, event.spec, now))
                for event, arrival in changed.items()
            ]
            connection.executemany("INSERT OR REPLACE INTO budget_state VALUES (?, ?, ?)", rows)
            if leaves is not None and not without:
                budgetline.leave(connection, *leaves)
            return without

        without = await self.file.write(work)
        if without is None:
            raise StateUnavailable(f"{self.max_counted:,} budgets are counted already; what needs another one waits")
        return without

    async def deal(self, asks: Sequence[Ask]) -> list[Deal]:
        """Who of this worker may go, in the order in which all workers' came. Raises StateUnavailable, Overload."""
        now, before = self.clock.seconds(), self._beat_at
        is_silent = before is None or abs(now - before) >= budgetline.BEAT_EVERY
        forgets = is_silent and abs(now - self._forgot_at) >= budgetline.FORGET_EVERY
        if not asks and not is_silent:
            return []
        if before is not None and abs(now - before) >= budgetline.ALIVE:
            # Another worker may have forgotten them.
            asks = [evolve(ask, joined=(*ask.joined, *ask.line)) for ask in asks]

        def work(connection: sqlite3.Connection) -> list[Deal]:
            if forgets:
                budgetline.forget(connection, self.worker if before is None else None, now)
            if is_silent:
                budgetline.beat(connection, self.worker, now)
            return [budgetline.deal(connection, self.worker, ask, _places(connection, ask, now), now) for ask in asks]

        deals = await self.file.write(work)
        self._beat_at = now if is_silent else before
        self._forgot_at = now if forgets else self._forgot_at
        return deals

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole budget may be taken again; takes nothing. Raises StateUnavailable."""
        now = self.clock.seconds()
        return await self.file.read(lambda connection: throttle.until_full(_arrival(connection, key) or 0, spec, now))

    def _may_grow(self, connection: sqlite3.Connection, by: int, now: float) -> bool:
        """Whether there is room for so many more, which are then counted."""
        if by == 0:
            return True
        if _counted(connection) + by > self.max_counted:
            _sweep(connection, now)
            if _counted(connection) + by > self.max_counted:
                return False
        connection.execute("UPDATE budget_count SET counted = counted + ?", (by,))
        return True


def _arrival(connection: sqlite3.Connection, name: str) -> int | None:
    """Up to when the budget of that name is taken; None for one that is not counted, as nothing is taken of it."""
    row = connection.execute("SELECT arrival FROM budget_state WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row is not None else None


def _places(connection: sqlite3.Connection, ask: Ask, now: float) -> throttle.Places:
    known = _arrival(connection, ask.key) or 0
    arrival = throttle.mend(known, ask.spec, now)
    if arrival != known:
        connection.execute("UPDATE budget_state SET arrival = ? WHERE name = ?", (str(arrival), ask.key))
    return throttle.places(arrival, ask.spec, now)


def _counted(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT counted FROM budget_count").fetchone()[0]
    return count


def _sweep(connection: sqlite3.Connection, before: float) -> None:
    """Remove budgets that were full again before that time."""
    swept = connection.execute(
        "DELETE FROM budget_state WHERE name IN "
        "(SELECT name FROM budget_state WHERE full_at < ? ORDER BY full_at LIMIT ?)",
        (before, _SWEPT),
    )
    if swept.rowcount > 0:
        connection.execute("UPDATE budget_count SET counted = counted - ?", (swept.rowcount,))
