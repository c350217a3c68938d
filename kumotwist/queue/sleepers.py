"""Sleepers: messages that wait for the rest of an account, and go on before it is over when another route is well.

While no other route was well they had to wait, and that may be a matter of
seconds. Each worker looks after its own; what waits since before a start goes
on when it is due.

Public: `Sleepers`. Nothing can go wrong: who has gone on or ended is not there to wake.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from attrs import define, field

from kumotwist.core.ids import SpoolId
from kumotwist.core.way import Way
from kumotwist.queue.routes.tallies import ALL
from kumotwist.queue.routetables import RouteTables

#: Seconds that a message sleeps at least, and after it was woken in vain: its class may have no other way. Ours.
_FIRST: Final = 1.0
_AGAIN: Final = 30.0
#: How many are looked at in a second, and woken. Ours: a few milliseconds' work, and a tenth of what a worker delivers.
_LOOKED_AT: Final = 5_000
_WOKEN: Final = 500
#: Messages that are looked after; further ones go on when they are due. Ours: some 20 MB.
_MOST: Final = 100_000


@define(eq=False)
class Sleepers:
    """By message, the table and route that it waits for, and until when it sleeps; `wake` has it go on."""

    tables: RouteTables
    wake: Callable[[SpoolId], bool]
    _asleep: dict[SpoolId, tuple[str, str, float]] = field(factory=dict, init=False)

    def __contains__(self, spool_id: SpoolId) -> bool:
        return spool_id in self._asleep

    def add(self, spool_id: SpoolId, way: Way, now: float, is_again: bool) -> None:
        """A message waits for the rest of its route from now on; `is_again` when it has waited before."""
        if len(self._asleep) < _MOST:
            self._asleep[spool_id] = (way.table, way.route, now + (_AGAIN if is_again else _FIRST))

    def remove(self, spool_id: SpoolId) -> None:
        """It goes on, or waits for something else."""
        if self._asleep:
            self._asleep.pop(spool_id, None)

    def tick(self, now: float) -> None:
        """Once a second: wake some of those for which another route is well."""
        is_well: dict[tuple[str, str], bool] = {}
        woken = 0
        for spool_id, (name, route, until) in list(islice(self._asleep.items(), _LOOKED_AT)):
            if (name, route) not in is_well:
                table = self.tables.at_work(name)
                is_well[name, route] = table is not None and table.is_other_well(ALL, (route,))
            del self._asleep[spool_id]  # it comes behind the others
            if 0.0 < until - now <= _AGAIN or not is_well[name, route] or woken == _WOKEN:
                self._asleep[spool_id] = (name, route, until)
            elif self.wake(spool_id):
                woken += 1
                self._asleep[spool_id] = (name, route, now + _AGAIN)  # until it has found a place
