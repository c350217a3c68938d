"""The clearance of a message that is due: whether it may go on at all.

In this order: the spool must be sound, the schedule of one that was called to
its place with a budget and the queue's own rate must allow it, and policy may
hold the message up (`throttle_insert_ready_queue`). Where it goes is not asked
here.

Public: `Clearance`. What can go wrong: an error in `throttle_insert_ready_queue` is raised to the caller.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from kumotwist.core.interfaces import Limits, MessageStore, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.response import internal
from kumotwist.core.schedule import format_rfc3339
from kumotwist.core.units import format_duration
from kumotwist.queue import reasons as why
from kumotwist.queue.counters import Counters
from kumotwist.queue.present import message_rate_key
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.routes.line import Lines
from kumotwist.queue.scheduled import ScheduledQueue

#: Seconds to wait while the spool is unhealthy. Ours: a restart mends it, or an operator who makes room.
_UNHEALTHY_DELAY: Final = 60.0


@define(eq=False)
class Clearance:
    """Lets due messages go on, or has `requeuer` put them back."""

    store: MessageStore
    policy: QueuePolicy
    limits: Limits
    requeuer: Requeuer
    counters: Counters
    lines: Lines

    async def admit(self, queue: ScheduledQueue, message: Message, reason: str, now: float) -> bool:
        """Whether the message may go on to a ready queue; if not, it has been put back.

        Raises what `throttle_insert_ready_queue` raises.
        """
        if not self.store.is_healthy:
            response = internal(451, "4.3.2 the spool is unhealthy and delivery cannot safely proceed")
            await self.requeuer.postpone(queue, message, response, (reason, why.SPOOL_UNHEALTHY), _UNHEALTHY_DELAY)
            return False
        if message.id in self.lines and message.schedule is not None and message.schedule.next_allowed(now) > now:
            # Its place came at an hour at which it may not go.
            await self.requeuer.hold(queue, message, (reason, why.SCHEDULED_FOR_LATER), 0.0, is_news=False)
            return False
        if queue.config.max_message_rate is not None and not await self._pass_rate(queue, message, reason):
            return False
        await self.policy.throttle_insert_ready_queue(message)
        if message.due <= now:
            return True
        name = queue.name.text
        self.counters.throttled_by_event[name] += 1
        text = (
            f"4.4.4 {name} throttle_insert_ready_queue event throttled message rate, due={format_rfc3339(message.due)}"
        )
        await self.requeuer.postpone(queue, message, internal(451, text), (reason, why.THROTTLED_BY_EVENT))
        return False

    async def _pass_rate(self, queue: ScheduledQueue, message: Message, reason: str) -> bool:
        rate, name = queue.config.max_message_rate, queue.name.text
        wait = await self.limits.throttle(message_rate_key(name), rate) if rate is not None else 0.0
        if wait == 0:
            return True
        self.counters.throttled_by_rate[name] += 1
        response = internal(451, f"4.4.4 {name} throttled message rate, delay={format_duration(wait)}")
        await self.requeuer.postpone(queue, message, response, (reason, why.MESSAGE_RATE_THROTTLE), wait)
        return False
