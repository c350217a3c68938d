"""Lines on their way into segments: gathered into blocks, written on a thread.

A line waits in a block with others; blocks are compressed and written off
the reactor thread, four times a second or when they are large. So nothing on
the way of a message waits for the disk, unless `limit` lines wait already.

Public: `BlockWriter`. What can go wrong: a disk that refuses. The lines of
that block are lost, which the diagnostic log says and `lost` counts; the next block is tried
on a new segment. The gate refuses mail long before, when the disk gets full.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.core.errors import ConfigError
from kumotwist.net.clock import DelayedCall
from kumotwist.net.threads import ReactorClock, SerialThread
from kumotwist.records.segments import SegmentWriter, mark_leftovers

log: Final = Logger()

#: Seconds that a line may wait for company before it is written.
_LINGER: Final = 0.25
#: Octets that are written without waiting any longer: some hundred records, 2 ms of compression.
_BLOCK: Final = 256 * 1024

#: Directory and suffix of the segments that a line goes to.
Key = tuple[str, str]


@define(eq=False)
class BlockWriter:
    """The lines of one log; `writers` are used on the thread only."""

    name: str
    limit: int
    writers: Mapping[Key, SegmentWriter]
    reactor: ReactorClock
    #: How often a line had to wait for room.
    full: int = field(default=0, init=False)
    #: Lines that were lost.
    lost: int = field(default=0, init=False)
    _thread: SerialThread = field(init=False)
    _blocks: dict[Key, list[bytes]] = field(factory=dict, init=False)
    _block_size: int = field(default=0, init=False)
    #: Lines in blocks and with the thread.
    _waiting: int = field(default=0, init=False)
    _linger: DelayedCall | None = field(default=None, init=False)
    _expiry: DelayedCall | None = field(default=None, init=False)
    _room: list[Deferred[None]] = field(factory=list, init=False)
    _is_failing: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the directories and mark what an earlier process left there. Raises ConfigError."""
        self._thread = SerialThread(self.name, self.reactor)
        _prepare({key[0] for key in self.writers})

    async def add(self, key: Key, line: bytes) -> None:
        """Take one line; waits only while `limit` lines wait."""
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = []
        block.append(line)
        self._waiting += 1
        self._block_size += len(line)
        if self._block_size >= _BLOCK:
            self._flush()
        elif self._linger is None:
            self._linger = self.reactor.callLater(_LINGER, self._flush)
        if self._waiting >= self.limit:
            await self._wait_for_room()

    async def close(self) -> None:
        """Write what waits, finish the segments and mark them as done."""
        self._flush()
        for writer in self.writers.values():
            self._thread.submit(writer.close, self._finished)
        await self._thread.close()
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()

    def _flush(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
        blocks, self._blocks, self._block_size = self._blocks, {}, 0
        now = self.reactor.seconds()
        for key, lines in blocks.items():
            write = partial(self.writers[key].write, lines, now)
            self._thread.submit(write, partial(self._written, len(lines)))

    def _written(self, count: int, error: BaseException | None) -> None:
        self._waiting -= count
        if error is not None:
            self.lost += count
            log.critical("{name}: {count} records were lost: {error}", name=self.name, count=count, error=str(error))
        elif self._is_failing:
            log.info("{name} is written again", name=self.name)
        self._is_failing = error is not None
        if self._room and self._waiting < self.limit:
            room, self._room = self._room, []
            for one in room:
                if not one.called:
                    one.callback(None)
        self._plan_expiry()

    async def _wait_for_room(self) -> None:
        self.full += 1
        self._flush()
        room: Deferred[None] = Deferred()
        self._room.append(room)
        await room

    def _plan_expiry(self) -> None:
        """Segments end at their time also when no record comes any more."""
        deadlines = [writer.deadline for writer in self.writers.values() if writer.deadline is not None]
        if deadlines and (self._expiry is None or not self._expiry.active()):
            delay = max(0.0, min(deadlines) - self.reactor.seconds())
            self._expiry = self.reactor.callLater(delay, self._expire)

    def _expire(self) -> None:
        now = self.reactor.seconds()
        for writer in self.writers.values():
            self._thread.submit(partial(writer.expire, now), self._expired)

    def _expired(self, error: BaseException | None) -> None:
        self._finished(error)
        self._plan_expiry()

    def _finished(self, error: BaseException | None) -> None:
        if error is not None:
            log.critical("{name}: a segment is incomplete: {error}", name=self.name, error=str(error))


def _prepare(directories: Iterable[str]) -> None:
    for directory in directories:
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            mark_leftovers(Path(directory))
        except OSError as error:
            raise ConfigError(f"cannot use log directory {directory}: {error.strerror}") from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ConfigError(f"cannot use log directory {directory}: it may not be written to")
