"""The desk where receipts arrive, find their message and become records.

A receipt is first put on disk; only then does whoever sent it hear that it was
taken. From there on it is a row that is due: some worker claims it for a
minute, looks for its message, writes the record and marks it as done. So a
receipt that overtakes its response, comes in on another worker than the
message went out on, or is interrupted by a crash, goes the same way as any
other: what was claimed and not done is due again. A record may in that case be
written twice; none is lost.

A receipt whose message is not known waits (`park`), is looked at now and then,
and in the end is written without a message's facts.

Public: `ReceiptDesk` (the `ReceiptSink` of `core.interfaces`). What can go
wrong: StateUnavailable and Overload from `receive`; later trouble with the
state file is told in the diagnostic log and tried again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.config.receipts import ReceiptsConfig
from kumotwist.core.errors import KumotwistError, Overload
from kumotwist.core.ids import SpoolId
from kumotwist.core.json import Json
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record
from kumotwist.core.stats import Sample
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.records.receipts.handovers import Handovers
from kumotwist.records.receipts.matching import Match, Verdict, find, judge
from kumotwist.records.receipts.story import heard_of, story_of
from kumotwist.records.receipts.tables import add_events, decode_event, finish, is_first, note_news, prune, waiting
from kumotwist.records.receipts.telling import record_of

log: Final = Logger()

#: Receipts that are claimed at once: their records are written in some ten milliseconds.
CLAIMED_AT_ONCE: Final = 200
#: Seconds that a claim holds: far longer than writing takes, short enough that a crash is made good soon.
LEASE: Final = 60.0
#: Seconds between two looks for what is due, among it what another worker left behind.
LOOK_INTERVAL: Final = 2.0
#: Seconds before a parked receipt is looked at again; doubled each time.
FIRST_PAUSE: Final = 5.0
#: Seconds between two rounds of forgetting.
PRUNE_INTERVAL: Final = 30.0


@frozen
class _Claimed:
    """A receipt to be written now."""

    number: int
    event: ReceiptEvent
    match: Match | None


@define(eq=False)
class ReceiptDesk:
    """Takes receipts and notes hand-overs, for one worker."""

    _file: SqliteFile
    _config: ReceiptsConfig
    _clock: Clock
    _record: Callable[[Record], Awaitable[None]]
    handovers: Handovers = field(init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    _working: Deferred[None] | None = field(default=None, init=False)
    _is_closing: bool = field(default=False, init=False)
    _is_poked: bool = field(default=False, init=False)
    _next_look: DelayedCall | None = field(default=None, init=False)
    _next_prune: float = field(default=0.0, init=False)
    _received: int = field(default=0, init=False)
    _repeated: int = field(default=0, init=False)
    _parked: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.handovers = Handovers(self._file, self._clock, self._poke)

    def start(self) -> None:
        """Begin to look after what is due; the recorder can take records."""
        self._look()

    async def receive(self, events: Sequence[ReceiptEvent]) -> None:
        """Note `events`; see `ReceiptSink`."""
        await self.receive_once(events, "", 0.0)

    async def receive_once(self, events: Sequence[ReceiptEvent], token: str, until: float) -> bool:
        """As `receive`; False, and nothing is noted, when `token` was shown before and its time `until` is not over.

        What could not be noted has not been shown. An empty token is no token.
        """
        # What they refer to may be handed over a moment ago.
        self.handovers.flush()
        now, most = self._clock.seconds(), self._config.max_parked

        def work(connection: sqlite3.Connection) -> int | None:
            if connection.execute("SELECT 1 FROM receipt WHERE due IS NOT NULL LIMIT 1 OFFSET ?", (most,)).fetchone():
                raise Overload(f"{most} receipts wait already")
            if token and not is_first(connection, token, until):
                return None
            return add_events(connection, events, now)

        added = await self._file.write(work)
        if added is None:
            return False
        self._received += added
        self._repeated += len(events) - added
        if added:
            self._poke()
        return True

    async def close(self) -> None:
        """Write what is at hand; what is left is due for another worker or after the next start."""
        self._is_closing = True
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        await self.idle()
        await self.handovers.close()
        await self._tasks.close()

    async def story_of(self, spool_id: SpoolId) -> tuple[list[Json], list[Json]]:
        """The hand-overs of a message and its receipts. Raises StateUnavailable, Overload."""
        self.handovers.flush()
        return await self._file.read(partial(story_of, spool_id=spool_id))

    async def heard_of(self, spool_ids: Sequence[SpoolId]) -> Collection[SpoolId]:
        """Those of these messages whose fate is known. Raises StateUnavailable, Overload."""
        return await self._file.read(partial(heard_of, spool_ids=spool_ids))

    async def idle(self) -> None:
        """Return when the records of all receipts are written that are due now."""
        while self._working is not None:
            ended: Deferred[None] = Deferred()
            self._working.addCallback(ended.callback)
            await ended

    def samples(self) -> Iterable[Sample]:
        """What came in, what was known already, what waits for its message."""
        yield Sample("total_receipts_received", self._received)
        yield Sample("total_receipts_repeated", self._repeated)
        yield Sample("receipts_waiting", self._parked)
        yield from self.handovers.samples()

    # -- work ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._next_look = self._clock.callLater(LOOK_INTERVAL, self._look)
        self._poke()

    def _poke(self) -> None:
        """There may be something due."""
        self._is_poked = True
        if self._working is None and not self._is_closing:
            self._working = self._tasks.spawn("receipts", self._work())
            if self._working.called:
                self._working = None

    async def _work(self) -> None:
        try:
            while self._is_poked and not self._is_closing:
                self._is_poked = False
                await self._write_due()
                if self._clock.seconds() >= self._next_prune:
                    await self._prune()
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("receipts wait: {error}", error=error)
        finally:
            self._working = None

    async def _write_due(self) -> None:
        done: list[int] = []
        while True:
            now = self._clock.seconds()
            if not done and not await self._file.read(partial(_is_any_due, now=now)):
                return
            claimed = await self._file.write(partial(self._claim, now=now, done=tuple(done)))
            done = []
            if not claimed and self._is_closing:
                return
            for one in claimed:
                await self._record(record_of(one.event, one.match, now))
                done.append(one.number)

    def _claim(self, connection: sqlite3.Connection, now: float, done: Sequence[int]) -> list[_Claimed]:
        """On the file's thread: finish `done`, and claim what is due and ready to be written."""
        finish(connection, done)
        due = connection.execute(
            "SELECT number, noted, event FROM receipt WHERE due <= ? ORDER BY due LIMIT ?", (now, CLAIMED_AT_ONCE)
        ).fetchall()
        claimed: list[_Claimed] = []
        for number, noted, packed in due:
            try:
                event = decode_event(packed)
            except ValueError as error:
                # One that cannot be read must not hold up all behind it.
                finish(connection, (number,))
                log.critical("receipt {number} of the ledger cannot be read: {error}", number=number, error=error)
                continue
            age = now - noted
            match = find(connection, event, age)
            note_news(connection, match.spool_id if match is not None else event.spool_id)
            if match is None and age < self._config.park:
                again = min(noted + self._config.park, now + max(FIRST_PAUSE, age))
                connection.execute("UPDATE receipt SET due = ? WHERE number = ?", (again, number))
                continue
            spool_id = match.spool_id if match is not None else event.spool_id
            is_told = match is None or judge(connection, match, event, number) is Verdict.WRITE
            connection.execute(
                "UPDATE receipt SET due = ?, spool_id = ? WHERE number = ?",
                (now + LEASE if is_told else None, spool_id, number),
            )
            if is_told:
                claimed.append(_Claimed(number, event, match))
        return claimed

    async def _prune(self) -> None:
        now, config = self._clock.seconds(), self._config
        self._next_prune = now + PRUNE_INTERVAL
        while await self._file.write(partial(prune, now=now, keep=config.keep, max_rows=config.keep_rows)):
            pass
        self._parked = await self._file.read(waiting)


def _is_any_due(connection: sqlite3.Connection, now: float) -> bool:
    return connection.execute("SELECT 1 FROM receipt WHERE due <= ? LIMIT 1", (now,)).fetchone() is not None
