"""What has been taken of routes' budgets, in the state file: shared by all workers and kept over restarts.

A budget caps money, so each event is on disk before its message goes on: no
crash, power cut or change of the number of workers gives a cap back. Events
that are taken at the same time share one sync. A message that had taken its
part and was not on the wire when the daemon stopped takes it again.

Public: `BudgetState`, the `Rates` of `core.interfaces` for budgets, `SCHEMA`.
What can go wrong: StateUnavailable; the caller keeps its message, since what
is not counted must not go out.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from attrs import define, field

from kumotwist.core.units import Throttle
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue import throttle

SCHEMA: Final = (
    # `arrival` is an integer that 64 bits need not hold.
    """CREATE TABLE IF NOT EXISTS budget_state (
      name TEXT NOT NULL PRIMARY KEY, arrival TEXT NOT NULL, full_at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS budget_state_full_at ON budget_state (full_at)",
)
#: Seconds between two sweeps of the budgets that are full again, and how many one sweep removes. Ours: more than
#: are taken meanwhile by a worker that hands over thousands of messages a second, in some milliseconds.
_SWEEP_EVERY: Final = 1.0
_SWEPT: Final = 10_000


@define(eq=False)
class BudgetState:
    """The budgets of the machine. A name tells a budget's rate, too: with another rate it is another budget."""

    file: SqliteFile
    clock: Clock
    _sweep_at: float = field(default=0.0, init=False)

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event: 0.0 when that is on disk, else whole seconds to wait. Raises StateUnavailable."""
        now = self.clock.seconds()
        is_sweep = not self._sweep_at - _SWEEP_EVERY <= now < self._sweep_at
        if is_sweep:
            self._sweep_at = now + _SWEEP_EVERY

        def work(connection: sqlite3.Connection) -> float:
            if is_sweep:
                connection.execute(
                    "DELETE FROM budget_state WHERE name IN "
                    "(SELECT name FROM budget_state WHERE full_at < ? ORDER BY full_at LIMIT ?)",
                    (now, _SWEPT),
                )
            known = _arrival(connection, key)
            arrival, wait = throttle.pass_one(known, spec, now)
            if arrival != known:
                full_at = now + throttle.until_full(arrival, spec, now)
                connection.execute("INSERT OR REPLACE INTO budget_state VALUES (?, ?, ?)", (key, str(arrival), full_at))
            return wait

        return await self.file.write(work)

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole budget may be taken again; takes nothing. Raises StateUnavailable."""
        now = self.clock.seconds()
        return await self.file.read(lambda connection: throttle.until_full(_arrival(connection, key), spec, now))


def _arrival(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT arrival FROM budget_state WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row is not None else 0
