"""Scheduled queues: one per tenant, campaign, domain and routing domain, made when first used.

A scheduled queue is small, because there may be very many: a name, a shared
configuration, and a count of what waits for it on the wheel. Its configuration
is asked for again when it is used and has become old or the policy was loaded
anew; until the answer is there, and when there is none, the old one holds.

Public: `ScheduledQueue`, `ScheduledQueues`, `name_of`. What can go wrong: `PolicyError`
from `get_queue_config`, `get_egress_pool` or `get_egress_source`, kept for a
minute and raised to everybody who wants that queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.egress import UNSPECIFIED
from kumotwist.config.option import Duration
from kumotwist.config.queue import NullProtocol, QueueConfig
from kumotwist.core import queuename
from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.queuename import QueueName
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.answers import Answers
from kumotwist.queue.sources import Pools

log: Final = Logger()

#: The queue that swallows what policy moves into it; no event is called for it (KumoMTA).
NULL_QUEUE: Final = "null"
NULL_CONFIG: Final = QueueConfig(protocol=NullProtocol(), retry_interval=Duration(10.0))
#: Failed names remembered. Ours: names come from clients, a minute's worth must not fill memory.
_MAX_FAILURES: Final = 16384
#: Queues looked at per second for reaping. Ours: about a millisecond's work.
_REAP_SLICE: Final = 2000


def name_of(message: Message) -> str:
    """The name of the scheduled queue that `message` belongs to. Raises PolicyError when its meta names none."""
    try:
        return message.queue_name()
    except ValueError as error:
        raise PolicyError(str(error)) from error


class ScheduledQueue:
    """One scheduled queue. `waiting` counts its messages on the wheel."""

    __slots__ = ("__weakref__", "config", "epoch", "name", "stale_at", "used_at", "waiting")

    def __init__(self, name: QueueName, config: QueueConfig, now: float, epoch: int) -> None:
        self.name = name
        self.config = config
        self.epoch = epoch
        self.stale_at = _stale_at(config, now)
        self.used_at = now
        self.waiting = 0

    @property
    def pool_name(self) -> str:
        """The egress pool as records name it."""
        return self.config.egress_pool or UNSPECIFIED


class ScheduledQueues:
    """All scheduled queues of this worker, by name."""

    def __init__(
        self,
        policy: QueuePolicy,
        pools: Pools,
        clock: Clock,
        tasks: Tasks,
        way_changed: Callable[[ScheduledQueue, bool], None],
    ) -> None:
        """`way_changed` hears of a queue whose messages now leave another way, and whether by another protocol."""
        self._policy = policy
        self._pools = pools
        self._clock = clock
        self._way_changed = way_changed
        self._by_name: dict[str, ScheduledQueue] = {}
        self._refreshing: SingleFlight[str, None] = SingleFlight(tasks.spawn, "refresh of a queue")
        self._configs: Answers[QueueConfig] = Answers(
            self._ask, lambda _: 0.0, _MAX_FAILURES, policy, clock, SingleFlight(tasks.spawn, "queue config")
        )
        #: Equal configurations are one object: 20,000 queues mostly have a handful.
        self._shared: dict[QueueConfig, QueueConfig] = {}
        self._to_reap: Iterator[ScheduledQueue] = iter(())

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[ScheduledQueue]:
        return iter(self._by_name.values())

    def find(self, name: str, now: float) -> ScheduledQueue | None:
        """The queue if it is there and its configuration is fresh."""
        queue = self._by_name.get(name)
        if queue is None or now >= queue.stale_at or queue.epoch != self._policy.epoch:
            return None
        queue.used_at = now
        return queue

    async def resolve(self, name: str) -> ScheduledQueue:
        """The queue, made or refreshed as needed. Raises PolicyError."""
        queue = self._by_name.get(name)
        if queue is None:
            config = await self._configs.get(name)
            now = self._clock.seconds()
            queue = self._by_name.get(name) or ScheduledQueue(queuename.parse(name), config, now, self._policy.epoch)
            self._by_name[name] = queue
        elif self.find(name, self._clock.seconds()) is None:
            await self._refreshing.run(name, lambda: self._refresh(queue))
        queue.used_at = self._clock.seconds()
        return queue

    def adopt(self, queue: ScheduledQueue) -> ScheduledQueue:
        """The queue of that name that is in the books: `queue` again if it was reaped meanwhile."""
        return self._by_name.setdefault(queue.name.text, queue)

    def reap(self, now: float) -> list[str]:
        """Look at some of the queues and remove those that are empty and have long been idle; their names."""
        reaped: list[str] = []
        looked_at = 0
        for looked_at, queue in enumerate(self._to_reap, 1):
            if not queue.waiting and now - queue.used_at >= queue.config.reap_interval:
                self._by_name.pop(queue.name.text, None)
                reaped.append(queue.name.text)
            if looked_at == _REAP_SLICE:
                break
        if looked_at < _REAP_SLICE:
            self._to_reap = iter(list(self._by_name.values()))
            self._forget_configs(queue.config for queue in self)
        return reaped

    async def _ask(self, name: str) -> QueueConfig:
        """The configuration, once every source that it may use is known to exist."""
        if name == NULL_QUEUE:
            return NULL_CONFIG
        config = await self._policy.queue_config(queuename.parse(name))
        await self._pools.get(config.egress_pool)
        return self._share(config)

    async def _refresh(self, queue: ScheduledQueue) -> None:
        epoch = self._policy.epoch
        try:
            config = await self._ask(queue.name.text)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue} keeps its old configuration: {error}", queue=queue.name.text, error=error)
            config = queue.config
        old, queue.config = queue.config, config
        queue.epoch = epoch
        queue.stale_at = _stale_at(config, self._clock.seconds())
        if config.protocol != old.protocol or config.egress_pool != old.egress_pool:
            self._way_changed(queue, config.protocol != old.protocol)

    def _share(self, config: QueueConfig) -> QueueConfig:
        try:
            return self._shared.setdefault(config, config)
        except TypeError:
            # An option that cannot be hashed (a list in shrink_policy, say): this queue has it for itself.
            return config

    def _forget_configs(self, used: Iterable[QueueConfig]) -> None:
        if len(self._shared) > 1:
            alive = {id(config): config for config in used}
            self._shared = {config: config for config in self._shared if id(config) in alive}


def _stale_at(config: QueueConfig, now: float) -> float:
    return now + config.refresh_interval if config.refresh_strategy == "Ttl" else float("inf")
