"""One shard: a RocksDB database with the messages of one worker.

Four column families: the record of a message (`default`), its body (`body`),
the pieces of a large body (`pieces`) and how many pieces it has (`large`). A
body is one value up to `PIECE`; a longer one goes ahead in pieces of that
size, since rocksdict holds the interpreter lock while it writes, and 20 MiB
at once would stop the reactor for a tenth of a second. A message exists when
its record does. The pieces stand before the record in the write-ahead log, so
recovery never finds a record whose pieces are missing.

Changes are gathered in write batches (`put`, `put_record`, `delete`), taken by
the owner (`take`) and written and synced on its commit thread (`commit`).
After a write that failed the owner only notes what becomes of messages
(`note`), and `reopen` takes it all up again from what is on disk.
The write is made without sync and the log is synced afterwards, because only
the latter releases the interpreter lock.

Public: `Database`, `PIECE`. What can go wrong: everything that RocksDB can
raise out of `commit`; the owner then stops using it for writes.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from attrs import define, field
from rocksdict import RdictIter, WriteBatch
from twisted.logger import Logger

from kumotwist.core.ids import SpoolId
from kumotwist.spool import tuning

log: Final = Logger()

#: Octets of a body in one value. 1 MiB is written in about 5 ms, a tolerable pause of the reactor.
PIECE: Final = 1024 * 1024
#: Octets gathered in one write batch before the next is begun, for the same reason.
_BATCH_SIZE: Final = PIECE
#: Ids are skipped by their first two octets where a table is damaged.
_LAST_PREFIX: Final = 0xFFFF
#: Seconds to wait when RocksDB asks writers to stop or slow down; a flush takes some tens of milliseconds.
_STALL_PAUSE: Final = 0.005


@define(eq=False)
class Database:
    """The database in one shard directory; all runs on the reactor thread but `commit`, `flush` and `compact`."""

    path: Path
    _memory: tuning.Memory
    _tables: tuning.Tables
    _pending: list[WriteBatch] = field(factory=list, init=False)
    #: Records (None: deleted) that RocksDB does not show yet: not taken, and taken but not committed.
    _unwritten: dict[SpoolId, bytes | None] = field(factory=dict, init=False)
    _writing: dict[SpoolId, bytes | None] = field(factory=dict, init=False)
    #: What has become of messages while nothing could be written.
    _held: dict[SpoolId, bytes | None] = field(factory=dict, init=False)
    _large: dict[bytes, int] = field(factory=dict, init=False)
    _at_start: Generator[tuple[bytes, bytes]] | None = field(default=None, init=False)

    @classmethod
    def open(cls, path: Path, memory: tuning.Memory) -> Database:
        """Open or create the database in `path`, and recover what its log holds.

        RocksDB's errors come as they are.
        """
        database = cls(path, memory, tuning.open_tables(path, memory))
        database._drop_orphans()
        # Made now, so that it shows what is there now and nothing that comes later.
        iterator = database._tables.records.iter()
        iterator.seek_to_first()
        database._at_start = database._read(iterator)
        return database

    @property
    def has_pending(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._pending)

    def put(self, spool_id: SpoolId, record: bytes, body: bytes) -> None:
        """Add or replace a message."""
        count = -(-len(body) // PIECE) if len(body) > PIECE else 0
        if count and self.record(spool_id) is None:
            # Ahead of the record and on their own: unseen until the record is there.
            for number in range(count):
                self._put_piece(self._new_batch(), spool_id, number, count, body)
            batch = self._new_batch()
        else:
            batch = self._batch()
            self._replace_pieces(batch, spool_id, count, body)
        if count:
            self._large[spool_id] = count
            batch.delete(spool_id, self._tables.bodies_handle)
        else:
            batch.put(spool_id, body, self._tables.bodies_handle)
        batch.put(spool_id, record)
        self._unwritten[spool_id] = record
        self._held.pop(spool_id, None)

    def put_record(self, spool_id: SpoolId, record: bytes) -> None:
        """Replace the record of a message."""
        self._batch().put(spool_id, record)
        self._unwritten[spool_id] = record
        self._held.pop(spool_id, None)

    def delete(self, spool_id: SpoolId) -> None:
        """Forget a message; nothing happens when it is not there."""
        batch = self._batch()
        batch.delete(spool_id)
        self._unwritten[spool_id] = None
        self._held.pop(spool_id, None)
        if spool_id in self._large:
            self._delete_pieces(batch, spool_id)
        else:
            batch.delete(spool_id, self._tables.bodies_handle)

    def take(self) -> Sequence[WriteBatch]:
        """What is pending, now the caller's to `commit`; one lot at a time."""
        pending, self._pending = self._pending, []
        self._writing, self._unwritten = self._unwritten, {}
        return pending

    def commit(self, batches: Sequence[WriteBatch]) -> None:
        """Write `batches` in order and return when they are on disk. Runs on the commit thread."""
        for batch in batches:
            self._wait_for_room()
            self._tables.records.write(batch)
        self._tables.records.flush_wal(True)

    def note(self, spool_id: SpoolId, record: bytes | None) -> None:
        """Hold back what a message has become while nothing can be written; None: it is gone."""
        self._held[spool_id] = record

    def held(self) -> Sequence[tuple[SpoolId, bytes | None]]:
        """What is held back, oldest first; `put_record` and `delete` take it up."""
        return list(self._held.items())

    def reopen(self) -> None:
        """Open the files anew after a failed write; what is known and not written is pending again.

        Raises what RocksDB raises; then nothing can be read any more.
        """
        known = {**self._writing, **self._unwritten, **self._held}
        self.close()
        self._tables = tuning.open_tables(self.path, self._memory)
        self._pending, self._writing, self._unwritten, self._held = [], {}, {}, {}
        self._large.clear()
        self._drop_orphans()
        for spool_id, record in known.items():
            # Without a record on disk the message was never acknowledged.
            if record is None:
                self.delete(spool_id)
            elif self._tables.records.get(spool_id) is not None:
                self.put_record(spool_id, record)

    def log_size(self) -> int:
        """Octets in the files of the write-ahead log."""
        return sum([file.stat().st_size for file in self.path.glob("*.log")])

    def flush(self) -> None:
        """Write the buffers to tables, so that the log before them can go. May run on any thread."""
        for table in self._tables.all:
            table.flush()

    def compact(self) -> None:
        """Drop what was deleted from the tables. May run on any thread."""
        for table in self._tables.all:
            table.compact_range(None, None)

    def buffer_size(self) -> int:
        """Octets that are in the log and in memory, and not in tables yet."""
        return self.number("rocksdb.cur-size-all-mem-tables")

    def sst_size(self) -> int:
        """Octets in table files, which compaction copies; blob files are not among them."""
        return self.number("rocksdb.total-sst-files-size")

    def committed(self) -> None:
        """What was taken last is on disk."""
        self._writing = {}

    def may_have(self, spool_id: SpoolId) -> bool:
        """False when the message is surely not here."""
        return bool(self._tables.records.key_may_exist(spool_id))

    def record(self, spool_id: SpoolId) -> bytes | None:
        """The record of a message, if it is here."""
        for fresh in (self._held, self._unwritten, self._writing):
            if spool_id in fresh:
                return fresh[spool_id]
        found: bytes | None = self._tables.records.get(spool_id)
        return found

    def body(self, spool_id: SpoolId) -> bytes | None:
        """The body of a message, if it is here and whole."""
        count = self._large.get(spool_id)
        if count is None:
            found: bytes | None = self._tables.bodies.get(spool_id)
            return found
        pieces: list[bytes] = []
        for number in range(count):
            piece: bytes | None = self._tables.pieces.get(_piece_key(spool_id, number))
            if piece is None:
                return None
            pieces.append(piece)
        return b"".join(pieces)

    def records_at_start(self) -> Iterator[tuple[bytes, bytes]]:
        """The records that were here when it was opened, once; ends early when closed.

        What a damaged file hides is skipped and named in the log.
        """
        return self._at_start or iter(())

    def close(self) -> None:
        """Let go of the files; everything taken has been committed."""
        if self._at_start is not None:
            # RocksDB stays open while an iterator lives.
            self._at_start.close()
            self._at_start = None
        self._tables.close()
        # And while a handle of a column family does.
        del self._tables

    def number(self, name: str) -> int:
        """One of RocksDB's integer properties, over the column families that hold much."""
        tables = (self._tables.records, self._tables.bodies, self._tables.pieces)
        return sum([table.property_int_value(name) or 0 for table in tables])

    def _wait_for_room(self) -> None:
        """Wait here while RocksDB flushes: inside its write the interpreter lock would be held."""
        records = self._tables.records
        while records.property_int_value("rocksdb.is-write-stopped"):
            time.sleep(_STALL_PAUSE)
        if records.property_int_value("rocksdb.actual-delayed-write-rate"):
            time.sleep(_STALL_PAUSE)

    def _batch(self) -> WriteBatch:
        if not self._pending or self._pending[-1].size_in_bytes() > _BATCH_SIZE:
            return self._new_batch()
        return self._pending[-1]

    def _new_batch(self) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        self._pending.append(batch)
        return batch

    def _put_piece(self, batch: WriteBatch, spool_id: SpoolId, number: int, count: int, body: bytes) -> None:
        if number == 0:
            batch.put(spool_id, count.to_bytes(2, "big"), self._tables.large_handle)
        piece = body[number * PIECE : (number + 1) * PIECE]
        batch.put(_piece_key(spool_id, number), piece, self._tables.pieces_handle)

    def _replace_pieces(self, batch: WriteBatch, spool_id: SpoolId, count: int, body: bytes) -> None:
        """In one batch, however large: half a replacement must never be seen."""
        if spool_id in self._large:
            self._delete_pieces(batch, spool_id)
        for number in range(count):
            self._put_piece(batch, spool_id, number, count, body)

    def _delete_pieces(self, batch: WriteBatch, spool_id: SpoolId) -> None:
        for number in range(self._large.pop(spool_id)):
            batch.delete(_piece_key(spool_id, number), self._tables.pieces_handle)
        batch.delete(spool_id, self._tables.large_handle)

    def _drop_orphans(self) -> None:
        """Forget pieces whose message was never acknowledged."""
        entries = cast("Iterable[tuple[bytes, bytes]]", self._tables.large.items())
        self._large.update((spool_id, int.from_bytes(count, "big")) for spool_id, count in entries)
        for spool_id in [one for one in self._large if self._tables.records.get(one) is None]:
            self.delete(SpoolId(spool_id))

    def _read(self, start: RdictIter) -> Generator[tuple[bytes, bytes]]:
        iterator: RdictIter | None = start
        while iterator is not None:
            last = b""
            while iterator.valid():
                last = iterator.key()
                yield last, iterator.value()
                iterator.next()
            iterator = self._past_damage(iterator, last)

    def _past_damage(self, iterator: RdictIter, last: bytes) -> RdictIter | None:
        """The iterator moved on to the next ids, or None at the end."""
        try:
            iterator.status()
        except Exception as error:
            prefix = int.from_bytes(last[:2].ljust(2, b"\0"), "big") + 1
            log.critical(
                "spool {path} is damaged: messages with ids from {last} on, before {prefix:04x}, may be lost: {error}",
                path=str(self.path),
                last=last.hex(),
                prefix=prefix,
                error=str(error),
            )
            if prefix > _LAST_PREFIX:
                return None
            iterator.seek(prefix.to_bytes(2, "big"))
            return iterator
        return None


def _piece_key(spool_id: bytes, number: int) -> bytes:
    return spool_id + number.to_bytes(2, "big")
