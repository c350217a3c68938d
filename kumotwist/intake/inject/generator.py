"""Deferred generation: a request for many messages that waits in the queue.

An injection with `deferred_generation` is itself saved as a message in
`generator.kumomta.internal`; "delivering" that message makes the messages it
asks for. It gets the queue's retries and durability that way.

Public: `GeneratorChannel` (the `Channel` for `GeneratorProtocol`),
`InternalQueues` (the `QueuePolicy` that answers for the queue before any
event). What can go wrong: a crash after the messages were saved and before the
request was removed makes them a second time, as with any delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.egress import PathConfig, PoolConfig, SourceConfig
from kumotwist.config.option import Duration
from kumotwist.config.queue import GeneratorProtocol, QueueConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import Overload, SpoolFull, SpoolUnhealthy
from kumotwist.core.interfaces import OpenRequest, QueuePolicy
from kumotwist.core.json import Json
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.queuename import QueueName
from kumotwist.core.response import Response, internal
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.inject.injection import GENERATOR_QUEUE, Injection, InjectResult
from kumotwist.intake.inject.request import decode

#: KumoMTA's retry interval of the queue, and its name for this way of delivery.
RETRY_INTERVAL: Final = 10.0
PROTOCOL_NAME: Final = "HttpInjectionGenerator"

_CONFIG: Final = QueueConfig(protocol=GeneratorProtocol(), retry_interval=Duration(RETRY_INTERVAL))
_PEER: Final = Peer("", "127.0.0.1", PROTOCOL_NAME)


class GeneratorChannel:
    """The way out of the generator queue: back in."""

    protocol_name = PROTOCOL_NAME
    delivers_at_once = False

    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    async def site_name(self, domain: str) -> str:
        """The queue's own name."""
        return domain

    def open(self, request: OpenRequest) -> GeneratorSession:  # noqa: ARG002
        """A session; there is nothing to connect to."""
        return GeneratorSession(self._injection)


@define(eq=False)
class GeneratorSession:
    """Makes the messages of one request after the other."""

    injection: Injection
    max_batch: int = field(default=1, init=False)
    min_batch: int = field(default=1, init=False)
    batch_latency: float = field(default=0.0, init=False)
    is_connected: bool = field(default=False, init=False)

    async def connect(self) -> None:
        """Always succeeds."""
        self.is_connected = True

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Make the messages that each request asks for."""
        return [[await self._generate(message)] for message in batch]

    async def close(self) -> None:
        """Nothing to let go of."""
        self.is_connected = False

    async def _generate(self, message: Message) -> Outcome:
        via, hostname = message.meta.get("received_via"), message.meta.get("hostname")
        origin = Origin(
            _auth_info(message),
            via if isinstance(via, str) else None,
            hostname if isinstance(hostname, str) else None,
        )
        try:
            result = await self.injection.inject(decode(message.body or b""), origin)
        except RequestProblem as problem:
            return Outcome(Verdict.PERMANENT, internal(500, str(problem)), Scope.MESSAGE, _PEER)
        except (Overload, SpoolUnhealthy, SpoolFull) as error:
            return Outcome(Verdict.TRANSIENT, internal(451, f"4.3.2 {error}"), Scope.MESSAGE, _PEER)
        return Outcome(Verdict.DELIVERED, Response(250, _told(result)), Scope.MESSAGE, _PEER)


def _told(result: InjectResult) -> str:
    if not result.fail_count:
        return f"ok: {result.success_count} generated"
    return f"ok: {result.success_count} generated, {result.fail_count} failed: {result.errors[0]}"


def _auth_info(message: Message) -> AuthInfo:
    """Who asked, from the meta that the request was saved with."""
    stored = message.meta.get("auth_info")
    peer = message.meta.get("received_from")
    address = peer if isinstance(peer, str) else None
    if not isinstance(stored, dict):
        return AuthInfo(address)
    identities = tuple(
        Identity(str(one.get("identity")), str(one.get("context")))
        for one in _list(stored.get("identities"))
        if isinstance(one, dict)
    )
    return AuthInfo(address, identities, tuple(str(group) for group in _list(stored.get("groups"))))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


@define(eq=False)
class InternalQueues:
    """Policy, but for the generator queue, which no event is asked about (semantics a.2)."""

    policy: QueuePolicy

    @property
    def epoch(self) -> int:
        """Policy's."""
        return self.policy.epoch

    async def queue_config(self, name: QueueName) -> QueueConfig:
        """Ours for the generator queue, policy's for all others."""
        return _CONFIG if name.text == GENERATOR_QUEUE else await self.policy.queue_config(name)

    async def egress_pool(self, name: str) -> PoolConfig:
        """Policy's."""
        return await self.policy.egress_pool(name)

    async def egress_source(self, name: str) -> SourceConfig:
        """Policy's."""
        return await self.policy.egress_source(name)

    async def egress_path(self, domain: str, source: str, site: str) -> PathConfig:
        """Policy's: how many requests are generated at once is for the operator to say."""
        return await self.policy.egress_path(domain, source, site)

    async def route_table(self, name: str) -> RouteTableConfig:
        """Policy's."""
        return await self.policy.route_table(name)

    async def throttle_insert_ready_queue(self, message: Message) -> None:
        """Policy's."""
        await self.policy.throttle_insert_ready_queue(message)

    async def requeue_message(
        self, message: Message, response: str, reasons: Sequence[str], increment_attempts: bool, delay: float | None
    ) -> None:
        """Policy's."""
        await self.policy.requeue_message(message, response, reasons, increment_attempts, delay)

    async def rewrite_delivery_status(self, response: str, name: QueueName) -> int | None:
        """Policy's."""
        return await self.policy.rewrite_delivery_status(response, name)

    async def spool_message_enumerated(self, message: Message) -> None:
        """Policy's."""
        await self.policy.spool_message_enumerated(message)
