"""Local logs: records as lines in compressed segments (`kumo.configure_local_logs`).

Public: `LocalLog`. What can go wrong: a filter event or a template that fails
costs the record, which the diagnostic log says; trouble with the disk is that
of `records.blocks`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import define, field
from minijinja import TemplateError
from twisted.logger import Logger

from kumotwist.config.records import LocalLogConfig
from kumotwist.core.address import parse_address
from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import RecordPolicy
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType
from kumotwist.core.stats import Histogram, Sample
from kumotwist.net.threads import ReactorClock
from kumotwist.records.blocks import BlockWriter, Key
from kumotwist.records.dispositions import JsonRecord
from kumotwist.records.fields import LoadBody, Selection
from kumotwist.records.routing import Route, routes
from kumotwist.records.segments import SegmentOptions, SegmentWriter

log: Final = Logger()


def _stand_in(record: Record) -> Message | None:
    """A receipt's message as far as it is still known, for a filter to look at; None without any message."""
    if record.message_id is None:
        return None
    try:
        recipients = tuple([parse_address(one) for one in record.recipients])
        return Message(record.message_id, parse_address(record.sender), recipients, dict(record.meta), b"")
    except ValueError:
        return None


@define(eq=False)
class LocalLog:
    """One `configure_local_logs` call."""

    config: LocalLogConfig
    _policy: RecordPolicy
    _load_body: LoadBody
    _reactor: ReactorClock
    _routes: dict[RecordType, tuple[Route, Key]] = field(init=False)
    _lines: BlockWriter = field(init=False)
    _headers: Selection = field(init=False)
    _meta: Selection = field(init=False)
    _latency: Histogram = field(factory=Histogram, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the directories and mark what an earlier process left there. Raises ConfigError."""
        config = self.config
        self._headers, self._meta = Selection(config.headers), Selection(config.meta)
        table = routes(config.per_record, f"local logs in {config.log_dir}")
        self._routes = {kind: (route, self._key(route)) for kind, route in table.items()}
        options = SegmentOptions(
            max_size=config.max_file_size, duration=config.max_segment_duration, level=config.compression_level
        )
        writers: dict[Key, SegmentWriter] = {}
        for route, key in self._routes.values():
            header = (route.options.segment_header or "").encode()
            if key not in writers or header:
                writers[key] = SegmentWriter(Path(key[0]), key[1], options, header)
        self._lines = BlockWriter(self.name, config.back_pressure, writers, self._reactor)

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
        built.headers = (
            await self._headers.of_message(message, self._load_body) if self._headers and message is not None else {}
        )
        route, key = self._routes[record.type]
        try:
            line = route.line(built)
        except TemplateError as error:
            self._lines.lost += 1
            log.error("a record of {name} was lost: {error}", name=self.name, error=str(error))
            return
        await self._lines.add(key, line)
        self._latency.observe(time.monotonic() - started)

    async def close(self) -> None:
        """Write what waits, finish the segments and mark them as done."""
        await self._lines.close()

    def samples(self) -> Iterable[Sample]:
        """Back pressure, loss and latency."""
        labels = (("logger", self.name),)
        return (
            Sample("log_submit_full", self._lines.full, labels),
            Sample("log_records_lost", self._lines.lost, labels),
            Sample("log_submit_latency", self._latency, labels),
        )

    def _key(self, route: Route) -> Key:
        return route.options.log_dir or self.config.log_dir, route.options.suffix or ""

    async def _passes(self, event: str, record: Record) -> bool:
        message = record.message or _stand_in(record)
        if message is None:
            return True
        try:
            return await self._policy.filter_record(event, message)
        except PolicyError as error:
            log.error("{event} failed, the record is not logged: {error}", event=event, error=str(error))
            return False
