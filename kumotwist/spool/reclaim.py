"""Gives space back to a disk that runs short: what RocksDB would do later is done now.

A flush writes what the log holds into tables, without what was deleted
meanwhile, and the log's files go. A compaction then drops the tables' deleted
bodies. Both run on a thread of their own, beside commits, which both allow.

Public: `Reclaimer`. What can go wrong: a disk too full for even that; it is
said in the log, and the next call tries again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.net.threads import ReactorClock, SerialThread
from kumotwist.spool.database import Database

log: Final = Logger()

#: Seconds between two compactions: one must not follow the other while nothing is delivered.
_COMPACTION_PAUSE: Final = 20.0
#: Octets in tables up to which all are compacted at once, a second of work; beyond, RocksDB's own choice is better.
_COMPACTION_SIZE: Final = 256 * 1024 * 1024
#: Seconds between two flushes: each makes a table file of its own.
_FLUSH_PAUSE: Final = 1.0
#: Octets in write buffers from which a flush gives anything back.
_FLUSH_SIZE: Final = 1024 * 1024


@define(eq=False)
class Reclaimer:
    """Does it for the databases of one store, once at a time."""

    databases: Sequence[Database]
    reactor: ReactorClock
    is_busy: bool = field(default=False, init=False)
    _flush_from: float = field(default=0.0, init=False)
    _compact_from: float = field(default=0.0, init=False)
    _thread: SerialThread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = SerialThread("spool-reclaim", self.reactor)

    def start(self) -> None:
        """Give back what can be given back, in the background; nothing when that is under way, or was just now."""
        now = self.reactor.seconds()
        if self.is_busy or now < self._flush_from:
            return
        self.is_busy = True
        self._flush_from = now + _FLUSH_PAUSE
        compact = now >= self._compact_from
        if compact:
            self._compact_from = now + _COMPACTION_PAUSE
        self._thread.submit(partial(_reclaim, list(self.databases), compact), self._done)

    async def close(self) -> None:
        """Return when nothing is under way."""
        await self._thread.close()

    def _done(self, error: BaseException | None) -> None:
        self.is_busy = False
        if error is not None:
            log.warn("the spool cannot give space back: {error}", error=str(error))


def _reclaim(databases: Sequence[Database], compact: bool) -> None:
    for database in databases:
        if database.buffer_size() >= _FLUSH_SIZE:
            database.flush()
        size = database.sst_size()
        if compact and size <= min(_COMPACTION_SIZE, _free(database.path)):
            database.compact()


def _free(path: Path) -> int:
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize
