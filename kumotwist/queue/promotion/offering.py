"""Offering: which source of a route takes a message.

The sources are asked in turn by their weights. One takes the message when it
does not rest, its selection rates allow one more, and its ready queue has room.

Public: `Offering`, `Refusal`. What can go wrong: PolicyError for a source's path.
"""

from __future__ import annotations

from attrs import define, frozen

from kumotwist.core.interfaces import Limits
from kumotwist.core.message import Message
from kumotwist.net.clock import Clock
from kumotwist.queue.ready import ReadyQueue
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.rest import Rest
from kumotwist.queue.route import Route
from kumotwist.queue.scheduled import ScheduledQueue


@frozen
class Refusal:
    """Why no source took a message; `rest` is over first of those that some have."""

    is_any_full: bool
    is_any_held_up: bool
    rest: Rest | None


@define(eq=False)
class Offering:
    """Offers messages to the ready queues of a route."""

    ready_queues: ReadyQueues
    limits: Limits
    clock: Clock

    async def offer(self, queue: ScheduledQueue, route: Route, message: Message) -> Refusal | None:
        """Put the message into the first ready queue that takes it; why there was none. Raises PolicyError."""
        left = list(range(len(route.pool.sources)))
        is_any_full = is_any_held_up = False
        rested: list[Rest] = []
        while left:
            position = left[route.robin.pick([route.pool.weights[one] for one in left])]
            ready = await self.ready_queues.ready_at(queue, route, position)
            if (rest := ready.rest(self.clock.seconds())) is not None:
                rested.append(rest)
            elif len(ready) < ready.max_ready and not await self._may_select(ready):
                is_any_held_up = True
            elif ready.put(message, queue, self.clock.seconds()):
                return None
            else:
                ready.totals.full += 1
                is_any_full = True
            left.remove(position)
        return Refusal(is_any_full, is_any_held_up, min(rested, key=lambda rest: rest.until, default=None))

    async def _may_select(self, ready: ReadyQueue) -> bool:
        for key, rate in ready.selection_rates:
            if await self.limits.throttle(key, rate) > 0:
                return False
        return True
