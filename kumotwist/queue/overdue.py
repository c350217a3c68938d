"""Receipts that do not come: a hand-over of which nothing is heard for too long counts against its route.

Only where `learn.receipt_within` says how long that is, and only on routes that
report what has arrived. Each worker waits for the messages that it handed
over itself; whether a receipt has come, on whichever worker, the ledger of
receipts knows. What a worker waits for ends with it: a restart forgives what
was on its way.

Public: `Overdue`, `HeardOf`. What can go wrong: a ledger that cannot be read, and more hand-overs than may be waited
for; both are told in the diagnostic log, and what it concerns counts for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.stats import Sample
from kumotwist.core.way import Way
from kumotwist.net.tasks import Tasks

log: Final = Logger()

#: Of these messages those whose fate is known: a receipt has ended the delivery, or somebody has seen it.
HeardOf: TypeAlias = Callable[[Sequence[SpoolId]], Awaitable[Collection[SpoolId]]]

#: Hand-overs waited for; further ones are not. Ours: some 30 MB, an hour at thirty a second.
MAX_WAITING: Final = 100_000
#: Seconds between two lines about hand-overs that are not waited for.
_TOLD_EVERY: Final = 60.0
#: Tables whose hand-overs are counted apart. As many as are remembered (`queue.routetables`).
_MAX_TABLES: Final = 128
#: Asked about at once, each second: more are asked about the next second.
_AT_ONCE: Final = 500
#: Seconds that a receipt may take from the wire to the ledger, on whichever worker (`records.receipts.desk`).
_GRACE: Final = 5.0


@define(eq=False)
class Overdue:
    """`lost` hears of the ways of messages of which nothing was heard in time."""

    heard_of: HeardOf
    tasks: Tasks
    _waiting: list[tuple[float, SpoolId, str, str, str]] = field(factory=list, init=False)
    _asking: bool = field(default=False, init=False)
    #: Hand-overs that were too many to wait for, by table; how many of them were told of, and when.
    _passed_over: Counter[str] = field(factory=Counter, init=False)
    _told: int = field(default=0, init=False)
    _tell_at: float = field(default=0.0, init=False)

    def wait(self, spool_id: SpoolId, way: Way, until: float) -> None:
        """A message was handed over, and should have been heard of by then (Unix seconds)."""
        if len(self._waiting) < MAX_WAITING:
            heappush(self._waiting, (until + _GRACE, spool_id, way.table, way.route, way.name))
        elif way.table in self._passed_over or len(self._passed_over) < _MAX_TABLES:
            self._passed_over[way.table] += 1

    def tick(self, now: float, lost: Callable[[Way], object]) -> None:
        """Once a second: ask after what is due."""
        self._tell(now)
        waiting = self._waiting
        if self._asking or not waiting or waiting[0][0] > now:
            return
        due: list[tuple[SpoolId, Way]] = []
        while waiting and waiting[0][0] <= now and len(due) < _AT_ONCE:
            _, spool_id, *way = heappop(waiting)
            due.append((spool_id, Way(*way)))
        self._asking = True
        self.tasks.spawn("receipts that are overdue", self._ask(due, lost))

    def samples(self) -> Iterator[Sample]:
        """Hand-overs that were not waited for, by table."""
        for table, count in self._passed_over.items():
            yield Sample("total_route_receipts_not_awaited", count, (("table", table),))

    def _tell(self, now: float) -> None:
        count = self._passed_over.total()
        if count == self._told or self._tell_at - _TOLD_EVERY < now < self._tell_at:
            return
        log.warn(
            "{count} hand-overs will not count as lost should no receipt come within learn.receipt_within: {most} "
            "others are waited for already; a shorter time or more workers make room",
            count=count - self._told,
            most=MAX_WAITING,
        )
        self._told, self._tell_at = count, now + _TOLD_EVERY

    async def _ask(self, due: Sequence[tuple[SpoolId, Way]], lost: Callable[[Way], object]) -> None:
        try:
            heard = await self.heard_of([spool_id for spool_id, _ in due])
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("overdue receipts of {count} messages count for nothing: {error}", count=len(due), error=error)
            return
        finally:
            self._asking = False
        for spool_id, way in due:
            if spool_id not in heard:
                lost(way)
