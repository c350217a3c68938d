"""Delivery without a ready queue, for channels that have nothing to wait for (maildir, null).

Public: `Direct`. What can go wrong: any error out of a channel makes a transient failure.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import CancelledError

from kumotwist.core.interfaces import MessageStore, OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.response import internal
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.route import Route
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.settle import Settler


@define(eq=False)
class Direct:
    """Delivers messages one by one, as they come."""

    store: MessageStore
    ready_queues: ReadyQueues
    settler: Settler
    #: Deliveries that are under way.
    delivering: int = field(default=0, init=False)

    async def deliver(self, queue: ScheduledQueue, route: Route, message: Message) -> None:
        """Attempt and settle the message."""
        ready = await self.ready_queues.ready_at(queue, route, 0)
        session = route.channel.open(
            OpenRequest(queue_name=queue.name, site=route.site, source=ready.source, path=ready.path)
        )
        self.delivering += 1
        try:
            if message.body is None:
                await self.store.load_body(message)
            await session.connect()
            outcomes = (await session.deliver((message,)))[0]
        except CancelledError:
            raise
        except Exception as error:
            failed = Outcome(Verdict.TRANSIENT, internal(400, f"error in deliver_message: {error}"))
            outcomes = (failed,) * len(message.recipients)
        finally:
            self.delivering -= 1
            await session.close()
        await self.settler.settle(ready, (message, queue), outcomes)
