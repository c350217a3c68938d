"""The message store on RocksDB: durable when `save` returns, many messages to a sync.

Group commit: changes are gathered while a commit runs on the store's own
thread, and go together into the next one, which one sync of the log covers.
All who wait for a commit are told in one call on the reactor thread. Removals
and `save_meta_later` ride with the next commit, or cause one soon.

Reading (`Finder`) happens on the reactor thread: rocksdict holds the interpreter lock
while it reads, so a thread would gain nothing and cost two switches.

Over 400 lines: writing, the commit under way and what failed are one state.

Public: `RocksStore`. What can go wrong: a commit that fails. From then on
nothing is written any more, every waiter is refused (`SpoolFull` when the
disk is full, else `SpoolUnhealthy`), and the log says so; what was
acknowledged before is on disk. After a full disk `tend` opens the files
anew, which writes out what the log holds. After any other failure only a new
process may: nobody knows what the kernel kept of a failed sync.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from rocksdict import WriteBatch
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.core.errors import ConfigError, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Room
from kumotwist.core.message import Message
from kumotwist.core.stats import Histogram, Sample
from kumotwist.net.clock import DelayedCall
from kumotwist.net.threads import ReactorClock, SerialThread
from kumotwist.spool import codec, tuning
from kumotwist.spool.database import Database
from kumotwist.spool.finder import Finder
from kumotwist.spool.quarantine import set_aside
from kumotwist.spool.reclaim import Reclaimer
from kumotwist.spool.shards import Claims, shard_path

log: Final = Logger()

#: Seconds that a removal may wait for company. A crash within them may deliver the message twice.
_LINGER: Final = 0.02
#: Seconds between two tries to write again after a full disk.
_REVIVAL_PAUSE: Final = 5.0
#: Octets that must be free for one beside the log's own size: tables, a manifest, the first commits.
_REVIVAL_ROOM: Final = 4 * 1024 * 1024
#: Octets of tables that one compaction copies, at most, while the old ones still stand. RocksDB's own bound is above
#: 1 GiB; a spool that has so much in tables is on a disk whose reserve of a tenth is larger.
_COMPACTION_ROOM: Final = 256 * 1024 * 1024
_REFUSED: Final = "the spool is not accepting writes"
#: How RocksDB's errors tell that there is no room (strerror of ENOSPC and EDQUOT).
_FULL: Final = ("No space left on device", "Disk quota exceeded")


@frozen
class _Unlimited:
    """A disk that nobody watches."""

    def take(self, octets: int) -> None:
        """Always."""

    def written(self, octets: int) -> None:
        """Nothing is counted."""

    def may_write(self, _octets: int) -> bool:
        """Always."""
        return True


_UNLIMITED: Final = _Unlimited()

_Work = Sequence[tuple[Database, Sequence[WriteBatch]]]


@define(eq=False)
class RocksStore:
    """The shards of one worker; the first of them takes the new messages."""

    directory: Path
    _reactor: ReactorClock
    _claims: Claims
    _databases: list[Database]
    _thread: SerialThread
    _room: Room
    _is_open: bool = field(default=True, init=False)
    _failure: SpoolFull | SpoolUnhealthy | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _is_committing: bool = field(default=False, init=False)
    _soon: DelayedCall | None = field(default=None, init=False)
    _linger: DelayedCall | None = field(default=None, init=False)
    _latency: Histogram = field(factory=Histogram, init=False)
    _is_listed: bool = field(default=False, init=False)
    _revive_from: float = field(default=0.0, init=False)
    _reclaimer: Reclaimer = field(init=False)
    _finder: Finder = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reclaimer = Reclaimer(self._databases, self._reactor)
        self._finder = Finder(self.directory, self._databases, self._spoiled)

    @classmethod
    def open(
        cls, directory: str | Path, shards: Sequence[int], reactor: ReactorClock, room: Room = _UNLIMITED
    ) -> RocksStore:
        """Claim `shards` of the spool in `directory` and open those that hold anything, and the first.

        `room` says whether changes that can wait may be written; admission asks it for new messages.
        Blocks while logs are replayed. Raises ConfigError: held by another
        process, not writable, not a spool of ours.
        """
        claims = Claims(Path(directory))
        claims.take(shards)
        memory = tuning.Memory()
        databases: list[Database] = []
        try:
            for shard in shards:
                path = shard_path(claims.directory, shard)
                if not databases or path.exists():
                    databases.append(Database.open(path, memory))
        except Exception as error:  # rocksdict raises bare Exceptions
            for database in databases:
                database.close()
            claims.release()
            raise ConfigError(f"cannot open the spool {directory}: {error}") from error
        return cls(claims.directory, reactor, claims, databases, SerialThread("spool", reactor), room)

    @property
    def is_healthy(self) -> bool:
        """False after a failed write, and after `close`."""
        return self._failure is None and self._is_open

    async def save(self, messages: Sequence[Message]) -> None:
        """Write what is dirty of all `messages`, and return when it is on disk.

        When cancelled the messages may or may not be kept; `remove` settles it.
        """
        self._refuse()
        dirty = [message for message in messages if not message.is_spooled]
        if not dirty:
            return
        started = time.monotonic()
        records = [codec.encode(message) for message in dirty]
        for message, record in zip(dirty, records, strict=True):
            self._put(message, record)
        saved: Deferred[None] = Deferred()
        self._waiting.append(saved)
        self._commit_soon()
        try:
            await saved
        except (SpoolFull, SpoolUnhealthy):
            for message in dirty:
                message.is_meta_dirty = message.is_body_dirty = True
            raise
        self._latency.observe(time.monotonic() - started)

    async def save_meta_later(self, message: Message) -> None:
        """Note the envelope and state; on disk with the next commit. Lost silently when unhealthy for good."""
        if self.is_healthy:
            record = codec.encode(message)
            if message.is_body_dirty or self._room.may_write(len(record)):
                self._put(message, record)
                self._commit_later()
            else:
                self._finder.database_of(message).note(message.id, record)
        elif self._may_revive:
            self._finder.database_of(message).note(message.id, codec.encode(message))

    def remove(self, spool_id: SpoolId) -> None:
        """Forget a message; on disk with the next commit. Unknown ids are ignored."""
        if not self.is_healthy:
            if self._may_revive:
                for database in self._databases:
                    database.note(spool_id, None)
            return
        first, *others = self._databases
        first.delete(spool_id)
        for database in others:
            if database.may_have(spool_id):
                database.delete(spool_id)
        self._commit_later()

    def set_aside(self, message: Message, why: str) -> str | None:
        """Keep a copy of a message that is given up as files under `given-up`; the place. It is not removed here."""
        self._check_open()
        body = self._finder.database_of(message).body(message.id)
        place = set_aside(self.directory, message.id, codec.encode(message), body, why, "given-up")
        return str(place) if place is not None else None

    async def load(self, spool_ids: Sequence[SpoolId]) -> Sequence[Message | None]:
        """The messages with their bodies, None where there is none; unreadable ones are set aside.

        Raises SpoolUnhealthy after `close`.
        """
        self._check_open()
        return [self._finder.load(spool_id) for spool_id in spool_ids]

    async def load_body(self, message: Message) -> bytes:
        """The body, also put back into `message`.

        Raises SpoolCorrupt when it is gone, SpoolUnhealthy after `close`.
        """
        self._check_open()
        message.body = body = self._finder.body(message.id)
        return body

    async def enumerate(self) -> AsyncIterator[Sequence[Message]]:
        """All messages that were there at start, in batches, without bodies; may be used once."""
        for database in self._databases:
            records = database.records_at_start()
            while self._is_open and (batch := self._finder.read_batch(database, records)):
                yield batch
                await self._turn()
        self._is_listed = True

    def owed(self) -> int:
        """Octets that RocksDB will want on the disk beside what is there: write buffers become tables before
        their log goes, and tables are copied before the old ones go.
        """
        return sum([one.buffer_size() + min(one.sst_size(), _COMPACTION_ROOM) for one in self._databases])

    def make_room(self) -> None:
        """Give space back to the disk, soon."""
        if self.is_healthy:
            self._reclaimer.start()

    def tend(self) -> None:
        """Write what had to wait for room, and take mail again after a full disk; to be called every few seconds.

        Blocks while logs are replayed. Raises SpoolUnhealthy when the files
        cannot even be opened: then nothing can be read, and the process should end.
        """
        if self.is_healthy:
            for database in self._databases:
                for spool_id, record in database.held():
                    if record is not None and not self._room.may_write(len(record)):
                        break
                    self._write_held(database, spool_id, record)
        else:
            self._revive()

    def _write_held(self, database: Database, spool_id: SpoolId, record: bytes | None) -> None:
        if record is None:
            database.delete(spool_id)
        else:
            database.put_record(spool_id, record)
        self._commit_later()

    def _revive(self) -> None:
        if not self._may_revive or self._is_committing or self._reclaimer.is_busy or not self._is_listed:
            return
        now = self._reactor.seconds()
        if now < self._revive_from or not self._has_room_to_revive():
            return
        self._revive_from = now + _REVIVAL_PAUSE
        try:
            for database in self._databases:
                database.reopen()
        except Exception as error:  # rocksdict raises bare Exceptions
            self._is_open = False
            raise SpoolUnhealthy(f"cannot open the spool {self.directory} again: {error}") from error
        work = [(database, database.take()) for database in self._databases]
        self._is_committing = True
        self._thread.submit(partial(_commit_all, work), self._revived)

    def _revived(self, error: BaseException | None) -> None:
        if error is not None:
            self._committed([], error)
            return
        self._failure = None
        log.warn("the spool {directory} accepts writes again", directory=str(self.directory))
        self._committed([], None)

    @property
    def _may_revive(self) -> bool:
        return self._is_open and isinstance(self._failure, SpoolFull)

    def _has_room_to_revive(self) -> bool:
        needed = sum([database.log_size() for database in self._databases]) + _REVIVAL_ROOM
        stat = os.statvfs(self.directory)
        return stat.f_bavail * stat.f_frsize >= needed

    async def close(self) -> None:
        """Write and sync everything and let go of the files."""
        if not self._is_open:
            return
        if self.is_healthy:
            for database in self._databases:
                for spool_id, record in database.held():
                    self._write_held(database, spool_id, record)
        while self._failure is None and (self._is_committing or self._has_pending):
            last: Deferred[None] = Deferred()
            self._waiting.append(last)
            self._commit_soon()
            try:
                await last
            except (SpoolFull, SpoolUnhealthy):
                pass  # said in the log
        self._is_open = False
        for call in (self._soon, self._linger):
            if call is not None and call.active():
                call.cancel()
        await self._reclaimer.close()
        await self._thread.close()
        for database in self._databases:
            database.close()
        self._claims.release()

    def samples(self) -> Iterable[Sample]:
        """How long saves take, and what the write buffers hold."""
        buffers = [database.number("rocksdb.cur-size-all-mem-tables") for database in self._databases]
        path = (("path", str(self.directory)),)
        return (
            Sample("message_save_latency", self._latency),
            Sample("rocks_spool_mem_table_total", float(sum(buffers)), path),
            Sample("rocks_spool_load_shed_active", float(not self.is_healthy), path),
        )

    @property
    def _has_pending(self) -> bool:
        return any(database.has_pending for database in self._databases)

    def _refuse(self) -> None:
        if self._failure is not None:
            raise self._failure.__class__(str(self._failure))
        self._check_open()

    def _check_open(self) -> None:
        if not self._is_open:
            raise SpoolUnhealthy("the spool is closed")

    def _put(self, message: Message, record: bytes) -> None:
        database = self._finder.database_of(message)
        if message.is_body_dirty:
            if message.body is None:
                raise ValueError(f"message {message.id.hex()} has no body to save")
            database.put(message.id, record, message.body)
        else:
            database.put_record(message.id, record)
        message.is_meta_dirty = message.is_body_dirty = False

    def _spoiled(self, database: Database, spool_id: SpoolId) -> None:
        if self.is_healthy:
            database.delete(spool_id)
            self._commit_later()

    def _turn(self) -> Deferred[None]:
        """Fires in the next turn of the reactor."""
        turned: Deferred[None] = Deferred()
        self._reactor.callLater(0, _fire, turned)
        return turned

    def _commit_soon(self) -> None:
        """After all that is ready in this turn of the reactor, so that it shares the commit."""
        if not self._is_committing and self._soon is None:
            self._soon = self._reactor.callLater(0, self._commit)

    def _commit_later(self) -> None:
        if not self._is_committing and self._soon is None and self._linger is None:
            self._linger = self._reactor.callLater(_LINGER, self._commit)

    def _commit(self) -> None:
        self._soon = None
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
        if self._is_committing or self._failure is not None:
            return
        work = [(database, database.take()) for database in self._databases if database.has_pending]
        waiting, self._waiting = self._waiting, []
        self._is_committing = True
        self._thread.submit(partial(_commit_all, work), partial(self._committed, waiting))

    def _committed(self, waiting: list[Deferred[None]], error: BaseException | None) -> None:
        self._is_committing = False
        if error is not None:
            self._break_down(error, waiting)
            return
        for database in self._databases:
            database.committed()
        # First, so that the disk works while the waiters do.
        if self._waiting:
            self._commit()
        elif self._has_pending:
            self._commit_later()
        for saved in waiting:
            _fire(saved)

    def _break_down(self, error: BaseException, waiting: list[Deferred[None]]) -> None:
        is_full = any(text in str(error) for text in _FULL)
        self._failure = SpoolFull("the disk of the spool is full") if is_full else SpoolUnhealthy(_REFUSED)
        log.critical(
            "cannot write the spool {directory}: {error}; no mail is accepted until {remedy}",
            directory=str(self.directory),
            error=str(error),
            remedy="the disk has room again" if is_full else "a restart",
        )
        waiting, self._waiting = [*waiting, *self._waiting], []
        for saved in waiting:
            if not saved.called:
                saved.errback(self._failure.__class__(str(self._failure)))


def _fire(waiter: Deferred[None]) -> None:
    """Unless it was cancelled meanwhile."""
    if not waiter.called:
        waiter.callback(None)


def _commit_all(work: _Work) -> None:
    for database, batches in work:
        database.commit(batches)
