"""Ready queues: messages that are due, by where they go, whom from, and over what.

A ready queue `source->site@protocol` is shared by all scheduled queues that
lead there. It is bounded (`max_ready`); dispatchers empty it, as many as its
length calls for and its path allows. Bodies stay in memory for as long as all
ready queues together stay within a budget; beyond it the dispatcher reads them
from the spool again.

Public: `ReadyQueue`, `Serving`, `Item`, `Bodies`, `connections_wanted`, `MAX_BODIES`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from math import ceil, exp
from typing import Final, TypeAlias
from typing import Protocol as Shape

from attrs import define

from kumotwist.config.egress import PathConfig, SourceConfig
from kumotwist.config.queue import Protocol
from kumotwist.core.interfaces import Channel
from kumotwist.core.message import Message
from kumotwist.core.queuename import QueueName
from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.counters import Totals
from kumotwist.queue.rest import Rest
from kumotwist.queue.scheduled import ScheduledQueue

#: A message in a ready queue, and the scheduled queue that it came from and returns to.
Item: TypeAlias = tuple[Message, ScheduledQueue]

#: Octets of bodies in all ready queues of a worker. Ours: some hundred thousand
#: ordinary messages on their way, a small share of any mail machine's memory.
MAX_BODIES: Final = 64 * 1024 * 1024
#: How fast the number of connections grows with the length of the queue (KumoMTA).
_GROWTH: Final = 0.023


def connections_wanted(limit: int, length: int) -> int:
    """How many connections a queue of that length calls for: more and more slowly, up to `limit`."""
    return min(length, limit, ceil(limit * (1 - exp(-_GROWTH * length))))


@define(eq=False)
class Bodies:
    """The octets that ready queues hold in memory."""

    limit: int = MAX_BODIES
    used: int = 0

    def hold(self, message: Message) -> None:
        """Count the body in, or let it go if there is no room and the spool has it."""
        body = message.body
        if body is None:
            return
        if self.used + len(body) > self.limit and not message.is_body_dirty:
            message.body = None
        else:
            self.used += len(body)

    def let_go(self, message: Message) -> None:
        """Count the body out again."""
        if message.body is not None:
            self.used -= len(message.body)


class Serving(Shape):
    """A dispatcher, as the queue that it empties sees it."""

    #: When to end its wait for a message, in Unix seconds.
    ends_at: float

    @property
    def is_connected(self) -> bool:
        """Whether its connection is open."""
        ...

    @property
    def in_hand(self) -> int:
        """How many messages it has taken and not settled."""
        ...

    def withdraw(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take those out of its hand that are not on the wire."""
        ...

    def awaken(self, has_message: bool) -> None:
        """End its wait for a message: there is one, or it should not wait any longer."""
        ...


class ReadyQueue:
    """One ready queue, its path, its dispatchers and its numbers."""

    __slots__ = (
        "_bodies", "_rest", "_serve", "channel", "dispatchers", "epoch", "failures", "idle", "is_refreshing", "limits",
        "messages", "name", "path", "pool_name", "protocol", "queue_name", "rates", "selection_rates", "site", "source",
        "stale_at", "totals", "used_at",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        protocol: Protocol,
        channel: Channel,
        source: SourceConfig,
        site: str,
        pool_name: str,
        queue_name: QueueName,
        bodies: Bodies,
        serve: Callable[[ReadyQueue], None],
    ) -> None:
        """`pool_name` and `queue_name` are of some scheduled queue that leads here; `serve` gets a dispatcher."""
        self.name = name
        self.protocol = protocol
        self.channel = channel
        self.source = source
        self.site = site
        self.pool_name = pool_name
        self.queue_name = queue_name
        self._bodies = bodies
        self._serve = serve
        self.messages: deque[Item] = deque()
        #: All dispatchers, as whoever starts them keeps them, and of them those that wait for a message, longest first.
        self.dispatchers: Collection[Serving] = ()
        self.idle: list[Serving] = []
        #: Connection failures in a row.
        self.failures = 0
        self.totals = Totals()
        self.used_at = self.stale_at = 0.0
        self._rest: Rest | None = None
        self.epoch = 0
        self.is_refreshing = False
        self.set_path(PathConfig(), 0.0, 0)

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return sum(dispatcher.is_connected for dispatcher in self.dispatchers)

    @property
    def in_hand(self) -> int:
        """How many messages are on the wire."""
        return sum(dispatcher.in_hand for dispatcher in self.dispatchers)

    @property
    def max_ready(self) -> int:
        """How many messages it takes."""
        return self.path.max_ready

    @property
    def wanted(self) -> int:
        """How many dispatchers should be at work now."""
        return connections_wanted(self.path.connection_limit.limit, len(self.messages))

    def set_path(self, path: PathConfig, now: float, epoch: int) -> None:
        """Follow `path` from now on."""
        self.path = path
        self.epoch = epoch
        self.stale_at = now + path.refresh_interval if path.refresh_strategy == "Ttl" else float("inf")
        self.rates = _slowest_first(
            f"kumomta.max_message_rate.{self.name}", path.max_message_rate, dict(path.additional_message_rate_throttles)
        )
        self.selection_rates = _slowest_first(
            f"kumomta.source_selection_rate.{self.name}",
            path.source_selection_rate,
            dict(path.additional_source_selection_rates),
        )
        limits: dict[str, Limit] = {
            f"kumomta.connection_limit.{self.name}": path.connection_limit,
            **path.additional_connection_limits,
        }
        self.limits = tuple(sorted(limits.items(), key=lambda named: named[1].limit))

    def put(self, message: Message, queue: ScheduledQueue, now: float) -> bool:
        """Take `message` over and have it served; False when there is no room, or its source rests."""
        if len(self.messages) >= self.path.max_ready or self.rest(now) is not None:
            return False
        message.max_age = queue.config.max_age
        self._bodies.hold(message)
        self.messages.append((message, queue))
        self.used_at = now
        self._serve(self)
        return True

    def rest(self, now: float) -> Rest | None:
        """The rest that its source has now, if any."""
        rest = self._rest
        return rest if rest is not None and rest.left(now) else None

    def begin_rest(self, seconds: float, said: str, now: float) -> None:
        """Its source has to rest for so long, or as long as it does already if that is longer."""
        present = self.rest(now)
        if present is None or present.until < now + seconds:
            self._rest = Rest(now, now + seconds, said)

    def put_back(self, items: list[Item]) -> None:
        """Return what was taken and not attempted, at the head and in its order."""
        for item in reversed(items):
            self._bodies.hold(item[0])
            self.messages.appendleft(item)

    def take(self) -> Item:
        """The next message. Raises IndexError when there is none."""
        item = self.messages.popleft()
        self._bodies.let_go(item[0])
        return item

    def take_excess(self, keep: int) -> list[Item]:
        """All but the first `keep`, in their order."""
        excess: list[Item] = []
        while len(self.messages) > keep:
            excess.append(self.messages.pop())
            self._bodies.let_go(excess[-1][0])
        excess.reverse()
        return excess

    def take_of(self, queue: ScheduledQueue) -> list[Item]:
        """All that came from `queue`, in their order."""
        return self.take_where(lambda item: item[1] is queue)

    def withdraw(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """All that are `wanted` and not on the wire, those included that a dispatcher has taken already."""
        in_hand = [item for dispatcher in self.dispatchers for item in dispatcher.withdraw(wanted)]
        return [*in_hand, *self.take_where(wanted)] if self.messages else in_hand

    def take_where(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """All that are `wanted`, in their order."""
        taken = [item for item in self.messages if wanted(item)]
        if taken:
            self.messages = deque(item for item in self.messages if not wanted(item))
            for message, _ in taken:
                self._bodies.let_go(message)
        return taken


def _slowest_first(
    key: str, rate: Throttle | None, additional: dict[str, Throttle]
) -> tuple[tuple[str, Throttle], ...]:
    """Rates by key, the smallest first, so that what it holds up does not use up the others."""
    rates = {key: rate, **additional} if rate is not None else additional
    return tuple(sorted(rates.items(), key=lambda named: named[1].limit / named[1].period))
