"""Log hooks: a record becomes a message of its own (`kumo.configure_log_hook`).

Policy decides with `should_enqueue_log_record` and names the queue; from then
on it is a message like any other, so webhooks get the queue, retries and
durability that mail has. Records about such messages never reach a hook.

Public: `LogHook`. What can go wrong: policy fails, or the message is refused
(overload, unhealthy spool). The record is then not delivered to the hook,
which the diagnostic log says; the original message is not affected.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from attrs import define, field
from minijinja import TemplateError
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.config.records import LogHookConfig
from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import RecordPolicy
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType
from kumotwist.core.stats import Histogram, Sample
from kumotwist.net.tasks import Tasks
from kumotwist.records import dispositions
from kumotwist.records.dispositions import JsonRecord
from kumotwist.records.fields import LoadBody, Selection
from kumotwist.records.routing import Route, routes

log: Final = Logger()

#: The reception protocol of the messages made here (KumoMTA's name).
LOG_RECORD: Final = "LogRecord"


@define(eq=False)
class LogHook:
    """One `configure_log_hook` call."""

    config: LogHookConfig
    _policy: RecordPolicy
    _inject: Callable[[Message], Awaitable[None]]
    _load_body: LoadBody
    _new_id: Callable[[], SpoolId]
    _tasks: Tasks
    _routes: dict[RecordType, Route] = field(init=False)
    _headers: Selection = field(init=False)
    _meta: Selection = field(init=False)
    _in_flight: int = field(default=0, init=False)
    _room: list[Deferred[None]] = field(factory=list, init=False)
    _backlog: int = field(default=0, init=False)
    _latency: Histogram = field(factory=Histogram, init=False)

    def __attrs_post_init__(self) -> None:
        """Read `per_record`. Raises ConfigError."""
        self._routes = routes(self.config.per_record, f"log hook {self.config.name}")
        self._headers, self._meta = Selection(self.config.headers), Selection(self.config.meta)

    def wants(self, kind: RecordType) -> bool:
        """Whether records of this type are of interest here."""
        return kind in self._routes

    async def record(self, record: Record, built: JsonRecord) -> None:
        """Make a message of the record when policy wants one; `built` is ours to change until this returns.

        Returns when the message is stored, or at once with `deferred_spool`.
        """
        started = time.monotonic()
        try:
            message = await self._message(record, built)
        except (TemplateError, ValueError) as error:
            log.error("hook {hook} cannot use a record: {error}", hook=self.config.name, error=str(error))
            return
        if self._in_flight >= self.config.back_pressure:
            self._backlog += 1
            room: Deferred[None] = Deferred()
            self._room.append(room)
            await room
        self._in_flight += 1
        if self.config.deferred_spool:
            self._tasks.spawn(f"log hook {self.config.name}", self._offer(message))
        else:
            await self._offer(message)
        self._latency.observe(time.monotonic() - started)

    def samples(self) -> Iterable[Sample]:
        """Back pressure and latency."""
        labels = (("logger", f"hook-{self.config.name}"),)
        return (
            Sample("log_submit_full", self._backlog, labels),
            Sample("log_hook_backlog_count", self._backlog, (("logger", self.config.name),)),
            Sample("log_submit_latency", self._latency, labels),
        )

    async def _message(self, record: Record, built: JsonRecord) -> Message:
        original = record.message
        meta = self._meta.of_meta(original.meta if original is not None else record.meta)
        built.meta = meta
        built.headers = (
            await self._headers.of_message(original, self._load_body) if self._headers and original is not None else {}
        )
        body = self._routes[record.type].line(built)
        return Message(
            self._new_id(),
            parse_address(record.sender),
            _recipients(record),
            {**meta, "log_record": dispositions.to_object(built), "reception_protocol": LOG_RECORD},
            body,
        )

    async def _offer(self, message: Message) -> None:
        try:
            if await self._policy.should_enqueue_log_record(message, self.config.name):
                await self._inject(message)
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("hook {hook} missed a record: {error}", hook=self.config.name, error=str(error))
        finally:
            self._in_flight -= 1
            self._make_room()

    def _make_room(self) -> None:
        while self._room and self._in_flight < self.config.back_pressure:
            room = self._room.pop(0)
            if not room.called:
                room.callback(None)
                return


def _recipients(record: Record) -> tuple[EnvelopeAddress, ...]:
    if not record.recipients:
        raise ValueError("it has no recipient")
    return tuple([parse_address(one) for one in record.recipients])
