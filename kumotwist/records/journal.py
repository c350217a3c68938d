"""Local logs: records as lines in compressed segments (`kumo.configure_local_logs`).

A record is turned into its line at once and waits in a block with others;
blocks are compressed and written on a thread, four times a second or when
they are large. So nothing on the way of a message waits for the disk, unless
`back_pressure` records wait already.

Public: `LocalLog`. What can go wrong: a disk that refuses. The records of
that block are lost and counted in the diagnostic log; the next block is tried
on a new segment. The gate refuses mail long before, when the disk gets full.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field
from minijinja import TemplateError
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.config.records import LocalLogConfig
from kumotwist.core.errors import ConfigError, PolicyError, SpoolCorrupt, SpoolUnhealthy
from kumotwist.core.interfaces import RecordPolicy
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType
from kumotwist.core.stats import Histogram, Sample
from kumotwist.net.clock import DelayedCall
from kumotwist.net.threads import ReactorClock, SerialThread
from kumotwist.records.dispositions import JsonRecord
from kumotwist.records.fields import Selection
from kumotwist.records.routing import Route, routes
from kumotwist.records.segments import SegmentOptions, SegmentWriter, mark_leftovers

log: Final = Logger()

#: Seconds that a record may wait for company before it is written.
_LINGER: Final = 0.25
#: Octets that are written without waiting any longer: some hundred records, 2 ms of compression.
_BLOCK: Final = 256 * 1024

_Key = tuple[str, str]


@define(eq=False)
class LocalLog:
    """One `configure_local_logs` call."""

    config: LocalLogConfig
    _policy: RecordPolicy
    _load_body: Callable[[Message], Awaitable[bytes]]
    _reactor: ReactorClock
    _thread: SerialThread = field(init=False)
    _routes: dict[RecordType, tuple[Route, _Key]] = field(init=False)
    _writers: dict[_Key, SegmentWriter] = field(init=False)
    _headers: Selection = field(init=False)
    _meta: Selection = field(init=False)
    _blocks: dict[_Key, list[bytes]] = field(factory=dict, init=False)
    _block_size: int = field(default=0, init=False)
    #: Records in blocks and with the thread.
    _waiting: int = field(default=0, init=False)
    _linger: DelayedCall | None = field(default=None, init=False)
    _expiry: DelayedCall | None = field(default=None, init=False)
    _room: list[Deferred[None]] = field(factory=list, init=False)
    _is_failing: bool = field(default=False, init=False)
    _full: int = field(default=0, init=False)
    _latency: Histogram = field(factory=Histogram, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the directories and mark what an earlier process left there. Raises ConfigError."""
        self._thread = SerialThread("local log", self._reactor)
        self._headers, self._meta = Selection(self.config.headers), Selection(self.config.meta)
        table = routes(self.config.per_record, f"local logs in {self.config.log_dir}")
        self._routes = {kind: (route, self._key(route)) for kind, route in table.items()}
        options = SegmentOptions(
            max_size=self.config.max_file_size,
            duration=self.config.max_segment_duration,
            level=self.config.compression_level,
        )
        self._writers = {}
        for route, key in self._routes.values():
            header = (route.options.segment_header or "").encode()
            if key not in self._writers or header:
                self._writers[key] = SegmentWriter(Path(key[0]), key[1], options, header)
        _prepare({key[0] for key in self._writers})

    @property
    def name(self) -> str:
        """The `logger` label in metrics."""
        return self.config.name or f"dir-{self.config.log_dir}"

    def wants(self, kind: RecordType) -> bool:
        """Whether records of this type are logged here."""
        return kind in self._routes

    async def record(self, record: Record, built: JsonRecord) -> None:
        """Log one record; `built` is ours to change until this returns."""
        started = time.monotonic()
        if self.config.filter_event is not None and not await self._passes(self.config.filter_event, record):
            return
        message = record.message
        built.meta = self._meta.of_meta(message.meta if message is not None else record.meta)
        built.headers = await self._headers_of(message) if self._headers and message is not None else {}
        route, key = self._routes[record.type]
        try:
            line = route.line(built)
        except TemplateError as error:
            log.error("a record of {name} was lost: {error}", name=self.name, error=str(error))
            return
        self._add(key, line)
        if self._waiting >= self.config.back_pressure:
            await self._wait_for_room()
        self._latency.observe(time.monotonic() - started)

    async def close(self) -> None:
        """Write what waits, finish the segments and mark them as done."""
        self._flush()
        for writer in self._writers.values():
            self._thread.submit(writer.close, self._finished)
        await self._thread.close()
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()

    def samples(self) -> Iterable[Sample]:
        """Back pressure and latency."""
        labels = (("logger", self.name),)
        return (Sample("log_submit_full", self._full, labels), Sample("log_submit_latency", self._latency, labels))

    def _key(self, route: Route) -> _Key:
        return route.options.log_dir or self.config.log_dir, route.options.suffix or ""

    async def _passes(self, event: str, record: Record) -> bool:
        if record.message is None:
            return True
        try:
            return await self._policy.filter_record(event, record.message)
        except PolicyError as error:
            log.error("{event} failed, the record is not logged: {error}", event=event, error=str(error))
            return False

    async def _headers_of(self, message: Message) -> JsonObject:
        body = message.body
        if body is None:
            try:
                body = await self._load_body(message)
            except (SpoolCorrupt, SpoolUnhealthy):
                return {}
            message.body = None
        return self._headers.of_headers(body)

    def _add(self, key: _Key, line: bytes) -> None:
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = []
        block.append(line)
        self._waiting += 1
        self._block_size += len(line)
        if self._block_size >= _BLOCK:
            self._flush()
        elif self._linger is None:
            self._linger = self._reactor.callLater(_LINGER, self._flush)

    def _flush(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
        blocks, self._blocks, self._block_size = self._blocks, {}, 0
        now = self._reactor.seconds()
        for key, lines in blocks.items():
            write = partial(self._writers[key].write, lines, now)
            self._thread.submit(write, partial(self._written, len(lines)))

    def _written(self, count: int, error: BaseException | None) -> None:
        self._waiting -= count
        if error is not None:
            log.critical("{name}: {count} records were lost: {error}", name=self.name, count=count, error=str(error))
        elif self._is_failing:
            log.info("{name} is written again", name=self.name)
        self._is_failing = error is not None
        if self._room and self._waiting < self.config.back_pressure:
            room, self._room = self._room, []
            for one in room:
                if not one.called:
                    one.callback(None)
        self._plan_expiry()

    async def _wait_for_room(self) -> None:
        self._full += 1
        self._flush()
        room: Deferred[None] = Deferred()
        self._room.append(room)
        await room

    def _plan_expiry(self) -> None:
        """Segments end at their time also when no record comes any more."""
        deadlines = [writer.deadline for writer in self._writers.values() if writer.deadline is not None]
        if deadlines and (self._expiry is None or not self._expiry.active()):
            delay = max(0.0, min(deadlines) - self._reactor.seconds())
            self._expiry = self._reactor.callLater(delay, self._expire)

    def _expire(self) -> None:
        now = self._reactor.seconds()
        for writer in self._writers.values():
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
