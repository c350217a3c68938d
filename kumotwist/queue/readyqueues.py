"""All ready queues of a worker: found by route, made when first needed, refreshed, and forgotten when idle.

The route of a scheduled queue is kept for a minute, so most messages find
their ready queue without asking anybody.

Public: `ReadyQueues`. What can go wrong: `ResolveError` from the site's name,
`PolicyError` from pools, sources and paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import Protocol
from kumotwist.config.routes import RouteEntry
from kumotwist.core.interfaces import Channel, QueuePolicy
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.counters import Totals
from kumotwist.queue.ready import Bodies, ReadyQueue
from kumotwist.queue.route import Route, Routes
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.sources import UNSPECIFIED_POOL, Pools, RoundRobin

log: Final = Logger()

#: Seconds for which a site's name and a pool's sources are taken for unchanged. Ours: pools
#: are kept as long, and a mail exchanger that changed is noticed within a minute.
_ROUTE_TTL: Final = 60.0
#: Seconds after which an empty, idle ready queue is forgotten (KumoMTA).
_REAP_AFTER: Final = 600.0
#: Ready queues looked at each second for reaping and refreshing: a tenth, and this many at least.
_SLICE: Final = 200

_Key = tuple[str, Protocol]


class ReadyQueues:
    """All ready queues of this worker."""

    def __init__(
        self,
        policy: QueuePolicy,
        pools: Pools,
        channel_for: Callable[[Protocol], Channel],
        clock: Clock,
        tasks: Tasks,
        bodies: Bodies,
        serve: Callable[[ReadyQueue], None],
        path_changed: Callable[[ReadyQueue], None],
    ) -> None:
        """`serve` gets a dispatcher for a ready queue; `path_changed` hears of a new path."""
        self._policy = policy
        self._pools = pools
        self._channel_for = channel_for
        self._clock = clock
        self._tasks = tasks
        self._bodies = bodies
        self._serve = serve
        self._path_changed = path_changed
        #: The routes that lead here.
        self.routes = Routes()
        self._by_key: dict[_Key, ReadyQueue] = {}
        self._making: SingleFlight[_Key, ReadyQueue] = SingleFlight(tasks.spawn, "ready queue")
        self._to_look_at: Iterator[ReadyQueue] = iter(())
        #: Totals of forgotten ready queues, by protocol: a counter never goes back.
        self.gone: dict[str, Totals] = {}

    def __iter__(self) -> Iterator[ReadyQueue]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def at_work(self, name: str, protocol: Protocol) -> ReadyQueue | None:
        """The ready queue of that name as it is, for those who only look; None when there is none."""
        return self._by_key.get((name, protocol))

    async def route_of(self, queue: ScheduledQueue, table: str = "", entry: RouteEntry | None = None) -> Route:
        """The route, kept or made anew: the queue's own, or that of an `entry` of the route table of that name.

        Raises ResolveError, PolicyError.
        """
        key = (table, entry.name) if entry is not None else None
        old, config = self.routes.find(queue, key), queue.config
        protocol, pool_name = (
            (config.protocol, config.egress_pool) if entry is None else (entry.protocol, entry.egress_pool)
        )
        if old is not None and self._clock.seconds() < old.until and old.leads(protocol, pool_name):
            return old
        channel = self._channel_for(protocol)
        if channel.delivers_at_once:
            pool, site = UNSPECIFIED_POOL, queue.name.delivery_domain
        else:
            pool = await self._pools.get(pool_name)
            site = await channel.site_name(queue.name.delivery_domain)
        robin = old.robin if old is not None and old.wanted_pool == pool_name else RoundRobin()
        route = Route(protocol, pool_name, channel, site, pool, robin, self._clock.seconds() + _ROUTE_TTL)
        if key is not None:
            self.routes.keep(queue, route, key)
        elif queue.config is config:
            self.routes.keep(queue, route)
        return route

    async def ready_at(self, queue: ScheduledQueue, route: Route, position: int) -> ReadyQueue:
        """The ready queue of the source at `position`, made if need be. Raises PolicyError."""
        ready = route.ready[position]
        if ready is None:
            source = route.pool.sources[position]
            key = (f"{source.name}->{route.site}@{route.channel.protocol_name}", route.protocol)
            ready = self._by_key.get(key)
            if ready is None:
                ready = await self._making.run(key, lambda: self._make(queue, route, position, key))
            ready.source = source
            ready.used_at = self._clock.seconds()
            route.ready[position] = ready
        return ready

    def tick(self, now: float) -> None:
        """Once a second: look at some, forget the idle, ask for the paths that have become old."""
        most = max(_SLICE, len(self._by_key) // 10)
        looked_at = 0
        for looked_at, ready in enumerate(self._to_look_at, 1):
            self._look_at(ready, now)
            if looked_at == most:
                break
        if looked_at < most:
            self._to_look_at = iter(list(self._by_key.values()))

    def _look_at(self, ready: ReadyQueue, now: float) -> None:
        if not ready.messages and not ready.dispatchers and now - ready.used_at >= _REAP_AFTER:
            self._by_key.pop((ready.name, ready.protocol), None)
            self.gone.setdefault(ready.channel.protocol_name, Totals()).add(ready.totals)
        elif (now >= ready.stale_at or ready.epoch != self._policy.epoch) and not ready.is_refreshing:
            ready.is_refreshing = True
            self._tasks.spawn(f"refresh of {ready.name}", self._refresh(ready))

    async def _make(self, queue: ScheduledQueue, route: Route, position: int, key: _Key) -> ReadyQueue:
        ready = ReadyQueue(
            name=key[0],
            protocol=key[1],
            channel=route.channel,
            source=route.pool.sources[position],
            site=route.site,
            pool_name=route.pool.name,
            queue_name=queue.name,
            bodies=self._bodies,
            serve=self._serve,
        )
        epoch = self._policy.epoch
        ready.set_path(await self._path_of(ready), self._clock.seconds(), epoch)
        self._by_key[key] = ready
        return ready

    async def _path_of(self, ready: ReadyQueue) -> PathConfig:
        if ready.channel.delivers_at_once:
            return PathConfig()
        return await self._policy.egress_path(ready.queue_name.delivery_domain, ready.source.name, ready.site)

    async def _refresh(self, ready: ReadyQueue) -> None:
        """Ask for the path again; an error keeps the old one until the next time."""
        epoch = self._policy.epoch
        try:
            path = await self._path_of(ready)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue} keeps its old path: {error}", queue=ready.name, error=error)
            path = ready.path
        finally:
            ready.is_refreshing = False
        old = ready.path
        ready.set_path(path, self._clock.seconds(), epoch)
        if path != old:
            self._path_changed(ready)
