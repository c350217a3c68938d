"""Routes: from a scheduled queue to the ready queues that may take its messages.

A route is the channel of the queue's protocol, the site that serves its
domain, and a ready queue for each source of its pool, made when that source's
turn comes. A queue has one of its own, and one by each entry of a route table
that its messages went by.

Public: `Route`, `Routes`.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from kumotwist.config.queue import Protocol
from kumotwist.core.interfaces import Channel
from kumotwist.queue.ready import ReadyQueue
from kumotwist.queue.rest import Rest
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.sources import Pool, RoundRobin

#: Routes by entries of tables that are remembered for a queue. Ours: more than its tables have together; names change
#: with the policy.
_MAX_BY_ENTRY: Final = 128


class Route:
    """Where the messages of one scheduled queue go for now."""

    __slots__ = ("channel", "pool", "protocol", "ready", "robin", "site", "until", "wanted_pool")

    def __init__(
        self,
        protocol: Protocol,
        wanted_pool: str | None,
        channel: Channel,
        site: str,
        pool: Pool,
        robin: RoundRobin,
        until: float,
    ) -> None:
        """`wanted_pool` is the egress pool's name as the queue or entry has it."""
        self.protocol = protocol
        self.wanted_pool = wanted_pool
        self.channel = channel
        self.site = site
        self.pool = pool
        self.robin = robin
        self.until = until
        #: By position of the source in the pool.
        self.ready: list[ReadyQueue | None] = [None] * len(pool.sources)

    def leads(self, protocol: Protocol, pool_name: str | None) -> bool:
        """Whether it is the way by that protocol from that pool still, and no policy has meant otherwise since."""
        return (self.protocol is protocol or self.protocol == protocol) and self.wanted_pool == pool_name

    def rest(self, now: float) -> Rest | None:
        """Of all its sources, when none is at work: the rest that is over first."""
        rests = [ready.rest(now) if ready is not None else None for ready in self.ready]
        found = [rest for rest in rests if rest is not None]
        return min(found, key=lambda rest: rest.until) if found and len(found) == len(rests) else None

    @property
    def sole(self) -> ReadyQueue | None:
        """The ready queue, when there is no choice and nothing to ask first."""
        if len(self.ready) != 1 or self.channel.delivers_at_once:
            return None
        ready = self.ready[0]
        return ready if ready is not None and not ready.selection_rates else None


class Routes:
    """The routes that are known, each for as long as there is its scheduled queue."""

    def __init__(self) -> None:
        self._own: WeakKeyDictionary[ScheduledQueue, Route] = WeakKeyDictionary()
        #: By the names of a route table and of an entry of it.
        self._by_entry: WeakKeyDictionary[ScheduledQueue, dict[tuple[str, str], Route]] = WeakKeyDictionary()

    def find(self, queue: ScheduledQueue, entry: tuple[str, str] | None = None) -> Route | None:
        """The queue's own route, or that by an entry of a table, both named; None when it was never used."""
        if entry is None:
            return self._own.get(queue)
        by_entry = self._by_entry.get(queue)
        return by_entry.get(entry) if by_entry is not None else None

    def keep(self, queue: ScheduledQueue, route: Route, entry: tuple[str, str] | None = None) -> None:
        """Remember the route in place of the one before."""
        if entry is None:
            self._own[queue] = route
            return
        by_entry = self._by_entry.get(queue)
        if by_entry is None or len(by_entry) >= _MAX_BY_ENTRY:
            by_entry = self._by_entry[queue] = {}
        by_entry[entry] = route

    def forget(self, queue: ScheduledQueue) -> Route | None:
        """Take the queue's own route away, if it has one."""
        return self._own.pop(queue, None)
