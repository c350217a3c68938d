"""Messages that wait for a receipt: which of them have news, and what receipts have said of one.

A message that waits has a row in `awaited`, written in batches; whichever
worker takes a receipt marks the row, and the worker that has the message asks
for its marked rows once a second. The mark says only that it is worth looking:
what was said is read from the receipts themselves (`heard_of`), which are on
disk before a provider hears that they were taken. A mark that was lost costs
the wait until the message's deadline, and nothing else.

Public: `Awaited` (the `ReceiptWatch` of `core.interfaces`), `heard_of`. What can go wrong: a state
file that fails, which is told in the diagnostic log; `heard` raises it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import MAIL, Heard, ReceiptEvent
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.records.receipts.matching import Match, find
from kumotwist.records.receipts.tables import TABLE, decode_event

log: Final = Logger()

#: Seconds that rows wait for company. Ours: less than hand-overs do, so that a row is there before what a receipt
#: is matched by.
_FLUSH_DELAY: Final = 0.05
#: Rows that go at once: a transaction of some ten milliseconds.
_FLUSH_COUNT: Final = 500
#: Marks that one look takes; more are taken the next second.
_NEWS: Final = 1_000
#: Receipts of one message that are read. Ours, as for its story.
_RECEIPTS: Final = 1_000


@define(eq=False)
class Awaited:
    """The waiting messages of one worker."""

    _file: SqliteFile
    _worker: int
    _clock: Clock
    _tasks: Tasks = field(factory=Tasks, init=False)
    _expected: set[SpoolId] = field(factory=set, init=False)
    _coming: list[SpoolId] = field(factory=list, init=False)
    _going: list[SpoolId] = field(factory=list, init=False)
    _call: DelayedCall | None = field(default=None, init=False)
    _is_told: bool = field(default=False, init=False)

    def expect(self, spool_id: SpoolId) -> None:
        """See `ReceiptWatch`."""
        if spool_id not in self._expected:
            self._expected.add(spool_id)
            self._coming.append(spool_id)
            self._flush_soon()

    def forget(self, spool_id: SpoolId) -> None:
        """See `ReceiptWatch`."""
        if spool_id in self._expected:
            self._expected.remove(spool_id)
            self._going.append(spool_id)
            self._flush_soon()

    async def news(self) -> Sequence[SpoolId]:
        """See `ReceiptWatch`."""
        try:
            found = await self._file.read(partial(_marked, worker=self._worker))
            if found:
                await self._file.write(partial(_unmark, spool_ids=found))
        except CancelledError:
            raise
        except KumotwistError as error:
            self._complain(error)
            return ()
        self._is_told = False
        return [spool_id for spool_id in found if spool_id in self._expected]

    async def heard(self, spool_id: SpoolId) -> Sequence[Heard]:
        """See `ReceiptWatch`."""
        return await self._file.read(partial(heard_of, spool_id=spool_id, now=self._clock.seconds()))

    async def close(self) -> None:
        """Write what waits; the state file is closed after us."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        await self._write()
        await self._tasks.close()

    def _flush_soon(self) -> None:
        if len(self._coming) + len(self._going) >= _FLUSH_COUNT:
            self._flush()
        elif self._call is None:
            self._call = self._clock.callLater(_FLUSH_DELAY, self._flush)

    def _flush(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        self._tasks.spawn("messages that wait for a receipt", self._write())

    async def _write(self) -> None:
        coming, self._coming = self._coming, []
        going, self._going = self._going, []
        if not coming and not going:
            return
        now = self._clock.seconds()
        try:
            await self._file.write(partial(_note, worker=self._worker, now=now, coming=coming, going=going))
        except CancelledError:
            # The wait is over; the file finishes what it has.
            raise
        except KumotwistError as error:
            self._expected.difference_update(coming)
            self._complain(error)

    def _complain(self, error: KumotwistError) -> None:
        if not self._is_told:
            log.error("messages that wait for a receipt go on at their deadline only: {error}", error=error)
        self._is_told = True


def heard_of(connection: sqlite3.Connection, spool_id: SpoolId, now: float) -> list[Heard]:
    """What receipts have said of a message, in the order in which they came; runs on the thread of the state file."""
    rows = connection.execute(
        "SELECT number, noted, event FROM receipt WHERE spool_id = ? ORDER BY number LIMIT ?", (spool_id, _RECEIPTS)
    ).fetchall()
    heard: list[Heard] = []
    for number, noted, packed in rows:
        try:
            event = decode_event(packed)
        except ValueError:
            continue  # the desk has said so
        match = find(connection, event, now - noted)
        if match is not None and match.spool_id != spool_id:
            match = None
        if not _is_of_a_part(event, match) or _is_told_by(connection, match, number):
            heard.append(Heard(_table_of(event, match), event.state, noted))
    return heard


def _table_of(event: ReceiptEvent, match: Match | None) -> str | None:
    """The route table that had handed the message over."""
    if event.channel == MAIL:
        table = event.facts.get(TABLE)
        return table if isinstance(table, str) else None
    way = match.facts.way if match is not None else None
    return way[0] if way is not None else None


def _is_of_a_part(event: ReceiptEvent, match: Match | None) -> bool:
    """Whether it ends one part of an SMS among others, which may not be the end of the whole."""
    if not event.state.is_final:
        return False
    return (match is not None and match.parts > 1) or (event.part is not None and (event.parts or 1) > 1)


def _is_told_by(connection: sqlite3.Connection, match: Match | None, number: int) -> bool:
    """Whether it is the receipt with which the whole was told."""
    if match is None:
        return False
    found = connection.execute("SELECT told_by FROM handover WHERE number = ?", (match.leader,)).fetchone()
    return found is not None and found[0] == number


def _note(
    connection: sqlite3.Connection, worker: int, now: float, coming: Sequence[SpoolId], going: Sequence[SpoolId]
) -> None:
    connection.executemany("DELETE FROM awaited WHERE spool_id = ?", [(one,) for one in going])
    connection.executemany(
        """INSERT OR REPLACE INTO awaited (spool_id, worker, noted, has_news)
        VALUES (?1, ?2, ?3, EXISTS (SELECT 1 FROM receipt WHERE spool_id = ?1))""",
        [(one, worker, now) for one in coming],
    )


def _marked(connection: sqlite3.Connection, worker: int) -> list[SpoolId]:
    rows = connection.execute("SELECT spool_id FROM awaited WHERE worker = ? AND has_news LIMIT ?", (worker, _NEWS))
    return [SpoolId(spool_id) for (spool_id,) in rows]


def _unmark(connection: sqlite3.Connection, spool_ids: Sequence[SpoolId]) -> None:
    connection.executemany("UPDATE awaited SET has_news = 0 WHERE spool_id = ?", [(one,) for one in spool_ids])
