"""The withdrawal: messages are taken out of their ready queues again, since they would leave by a way that is no more.

What lost its way, or its room, goes back to its scheduled queue at once and
chooses anew; it is charged nothing. A way may be lost until the message is on
the wire: a dispatcher that still connects, or waits for a rate, gives it up.

Public: `Withdrawal`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import define

from kumotwist.net.tasks import Tasks
from kumotwist.queue import reasons as why
from kumotwist.queue.ready import Item, ReadyQueue
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.routing import Routing
from kumotwist.queue.scheduled import ScheduledQueue


@define(eq=False)
class Withdrawal:
    """Hears what has changed, and takes out what that concerns."""

    ready_queues: ReadyQueues
    routing: Routing
    requeuer: Requeuer
    tasks: Tasks

    def way_changed(self, queue: ScheduledQueue, is_protocol_new: bool) -> None:
        """A scheduled queue leads elsewhere now."""
        route = self.ready_queues.routes.forget(queue)
        if route is not None and is_protocol_new:
            for ready in [one for one in route.ready if one is not None]:
                self._put_back(ready.take_of(queue), why.PROTOCOL_CHANGED)

    def routes_ended(self, table: str, names: Collection[str]) -> None:
        """These routes of a table are no more, or lead elsewhere now."""

        def is_on_one(item: Item) -> bool:
            traveller = self.routing.traveller(item[0])
            return traveller is not None and traveller.way.table == table and traveller.way.route in names

        self._put_back(self.take(is_on_one), why.PROTOCOL_CHANGED)

    def path_changed(self, ready: ReadyQueue) -> None:
        """A ready queue may have less room now."""
        self._put_back(ready.take_excess(ready.max_ready), why.MAX_READY_WAS_REDUCED)

    def take(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take those messages out of all ready queues, and out of the hands of who connects; they are the caller's."""
        return [item for ready in self.ready_queues for item in ready.withdraw(wanted)]

    def _put_back(self, items: list[Item], reason: str) -> None:
        # Each by itself: one that fails or waits takes no other with it, since nobody else holds them any more.
        for message, queue in items:
            self.tasks.spawn("return to the scheduled queue", self.requeuer.hold(queue, message, (reason,), 0.0))
