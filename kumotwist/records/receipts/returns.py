"""Bounces and complaints that come by mail: which of our mail they are about, and by which way that had gone.

For mail that a route sends by SMTP these are the only late signals. What route
tables hand over so is noted in batches, as other hand-overs are; a report that
comes in, on whichever worker and after whatever restart, is looked up there,
noted once, and told to whoever learns from it. Nothing is noted where policy has
no `get_listener_domain`, since no report is taken there.

Public: `Returns` (the `ReportDesk` of `core.interfaces`). What can go wrong: a state file that fails. What
was to be noted is then lost and counted, and a report is one on mail that nobody knows; mail is not held up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.origin import Origin
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record
from kumotwist.core.stats import Sample
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.records.receipts.mailed import Mailed, add_mailed, mailed, tie

log: Final = Logger()

#: Seconds that a hand-over waits for company, and how many go at once: as of other hand-overs. No report is as quick.
_FLUSH_DELAY: Final = 0.2
_FLUSH_COUNT: Final = 500

Learn: TypeAlias = Callable[[Way, ReceiptEvent, float], object]


@define(eq=False)
class Returns:
    """One worker's; `is_wanted` says whether reports may come in at all, `learn` hears of each that is tied, once."""

    _file: SqliteFile
    _clock: Clock
    _is_wanted: Callable[[], bool]
    _learn: Learn
    _tasks: Tasks = field(factory=Tasks, init=False)
    _waiting: list[Mailed] = field(factory=list, init=False)
    _call: DelayedCall | None = field(default=None, init=False)
    _last: Deferred[None] | None = field(default=None, init=False)
    _lost: int = field(default=0, init=False)
    _heard: Counter[tuple[str, str]] = field(factory=Counter, init=False)

    def note(self, record: Record) -> None:
        """Note the hand-over that `record` tells of, if a route table sent it by SMTP. Never raises."""
        way = record.way
        if way is None or record.delivery_protocol != "ESMTP" or not self._is_wanted():
            return
        row = mailed(record, way)
        if row is None:
            return
        self._waiting.append(row)
        if len(self._waiting) >= _FLUSH_COUNT:
            self._flush()
        elif self._call is None:
            self._call = self._clock.callLater(_FLUSH_DELAY, self._flush)

    async def hear(self, origin: Origin, event: ReceiptEvent) -> Way | None:
        """See `ReportDesk`."""
        self._flush()
        try:
            found = await self._file.write(partial(tie, origin=origin, event=event, now=self._clock.seconds()))
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("a report by mail teaches nothing: {error}", error=error)
            found = None
        if found is None:
            self._count(event, "unknown")
            return None
        self._count(event, "known" if found.is_news else "repeated")
        if found.is_news:
            self._learn(found.way, found.event, found.handed)
        return found.way

    async def close(self) -> None:
        """Write what waits; the state file is closed after us."""
        self._flush()
        last, self._last = self._last, None
        if last is not None:
            await last
        await self._tasks.close()

    def samples(self) -> Iterable[Sample]:
        """What came in about mail, by what is known of that; hand-overs that could not be noted."""
        yield Sample("total_mail_handovers_lost", self._lost)
        for (kind, message), count in self._heard.items():
            yield Sample("total_mail_reports", count, (("kind", kind), ("message", message)))

    def _count(self, event: ReceiptEvent, message: str) -> None:
        self._heard[event.state.value, message] += 1

    def _flush(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._last = self._tasks.spawn("mail that was handed over", self._write(waiting))

    async def _write(self, rows: list[Mailed]) -> None:
        try:
            await self._file.write(partial(add_mailed, rows=rows))
        except CancelledError:
            # The wait is over; the file finishes what it has.
            raise
        except KumotwistError as error:
            self._lost += len(rows)
            log.error("{count} hand-overs of mail were not noted: {error}", count=len(rows), error=error)
