"""Events of the queue: `core.interfaces.QueuePolicy`, less the epoch."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.egress import UNSPECIFIED, PathConfig, PoolConfig, PoolEntry, SourceConfig
from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.errors import PolicyError, Rejection, UnknownTable
from kumotwist.core.message import Message
from kumotwist.core.queuename import QueueName
from kumotwist.egress.protocols import queue_config, route_table
from kumotwist.lua.hooks.base import Hooks, returned
from kumotwist.lua.lib.timevalue import TimeDelta

log = Logger()

_DEFAULT_QUEUE = QueueConfig()
_DEFAULT_PATH = PathConfig()
_UNSPECIFIED_POOL = PoolConfig(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))
_UNSPECIFIED_SOURCE = SourceConfig(name=UNSPECIFIED)


class QueueHooks(Hooks):
    """What the queue manager asks."""

    async def queue_config(self, name: QueueName) -> QueueConfig:
        """`get_queue_config`; the defaults when no handler has an opinion."""
        program = self.program
        if not program.handles("get_queue_config"):
            return _DEFAULT_QUEUE
        arguments = (name.domain, name.tenant, name.campaign, name.routing_domain)
        results = await program.run("get_queue_config", *arguments)
        if not results:
            return _DEFAULT_QUEUE
        return returned(QueueConfig, results[0], "get_queue_config", program, queue_config)

    async def route_table(self, name: str) -> RouteTableConfig:
        """`get_route_table`; there is no table by default."""
        program = self.program
        results = await program.run_required("get_route_table", name)
        value = results[0] if results else None
        if value is None:
            raise UnknownTable(f"{program.source_of('get_route_table')}: get_route_table knows no table '{name}'")
        table = returned(RouteTableConfig, value, "get_route_table", program, route_table)
        if table.name != name:
            # What is learned is kept by name.
            where = program.source_of("get_route_table")
            raise PolicyError(f"{where}: get_route_table was asked for '{name}' and returned the table '{table.name}'")
        return table

    async def egress_pool(self, name: str) -> PoolConfig:
        """`get_egress_pool`; `unspecified` is built in."""
        if name == UNSPECIFIED:
            return _UNSPECIFIED_POOL
        program = self.program
        results = await program.run_required("get_egress_pool", name)
        return returned(PoolConfig, results[0] if results else None, "get_egress_pool", program)

    async def egress_source(self, name: str) -> SourceConfig:
        """`get_egress_source`; `unspecified` is built in."""
        if name == UNSPECIFIED:
            return _UNSPECIFIED_SOURCE
        program = self.program
        results = await program.run_required("get_egress_source", name)
        return returned(SourceConfig, results[0] if results else None, "get_egress_source", program)

    async def egress_path(self, domain: str, source: str, site: str) -> PathConfig:
        """`get_egress_path_config`; the defaults when there is no handler or it returned nil."""
        value = await self.ask("get_egress_path_config", domain, source, site)
        return _DEFAULT_PATH if value is None else returned(PathConfig, value, "get_egress_path_config", self.program)

    async def throttle_insert_ready_queue(self, message: Message) -> None:
        """May move `message.due` into the future."""
        await self.notify("throttle_insert_ready_queue", message)

    async def requeue_message(
        self, message: Message, response: str, reasons: Sequence[str], increment_attempts: bool, delay: float | None
    ) -> None:
        """May edit the message. Raises Rejection to have it bounced."""
        if self.handles("requeue_message"):
            span = None if delay is None else TimeDelta.from_seconds(delay)
            await self.notify("requeue_message", message, response, list(reasons), increment_attempts, span)

    async def rewrite_delivery_status(self, response: str, name: QueueName) -> int | None:
        """A new code for a peer's refusal, or None to keep it; errors are logged and keep it."""
        event = "smtp_client_rewrite_delivery_status"
        if not self.handles(event):
            return None
        arguments = (response, name.domain, name.tenant, name.campaign, name.delivery_domain)
        try:
            code = await self.ask(event, *arguments)
        except CancelledError:
            raise
        except (PolicyError, Rejection):
            return None
        if code is None or (isinstance(code, int) and not isinstance(code, bool) and 200 <= code <= 599):
            return code
        log.error("{where} must return an SMTP code or nil, got {code}", where=self.program.source_of(event), code=code)
        return None

    async def spool_message_enumerated(self, message: Message) -> None:
        """A message found at start."""
        await self.notify("spool_message_enumerated", message)
