"""The uptake: a parked message that is due goes on its way again.

Its queue may have been forgotten meanwhile and is made anew; what is on a
fallback is decided first. From there on it is like a message that came in.

Public: `Uptake`. What can go wrong: a queue that cannot be made, a fallback or
an event that fails; it is said in the log, and the message waits uncharged.
"""

from __future__ import annotations

from typing import Final

from attrs import define
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.message import Message
from kumotwist.net.clock import Clock
from kumotwist.queue import reasons as why
from kumotwist.queue.answers import FAILURE_TTL
from kumotwist.queue.fallback.stages import Stages
from kumotwist.queue.promotion.clearance import Clearance
from kumotwist.queue.promotion.promoter import Promoter
from kumotwist.queue.scheduled import ScheduledQueue, ScheduledQueues, name_of
from kumotwist.queue.waiting import Waiting

log: Final = Logger()


@define(eq=False)
class Uptake:
    """Takes up what `waiting` gives out, and has it wait there again when that fails."""

    queues: ScheduledQueues
    waiting: Waiting
    stages: Stages
    clearance: Clearance
    promoter: Promoter
    clock: Clock

    async def take_up(self, queue: ScheduledQueue, message: Message) -> None:
        """Have a message that was parked and is due go on; raises nothing."""
        now = self.clock.seconds()
        current = await self._queue_of(message, queue, now)
        if current is None or (message.course is not None and not await self._goes_on(current, message)):
            return
        try:
            is_admitted = await self.clearance.admit(current, message, why.DUE_TIME_WAS_REACHED, now)
        except CancelledError:
            raise
        except Exception as error:
            log.error("throttle_insert_ready_queue failed for {queue}: {error}", queue=current.name.text, error=error)
            self.waiting.put_off(current, message, FAILURE_TTL)
            return
        if is_admitted and not self.promoter.place(current, message, now):
            await self.promoter.search(current, message, why.DUE_TIME_WAS_REACHED)

    async def _queue_of(self, message: Message, parked_in: ScheduledQueue, now: float) -> ScheduledQueue | None:
        """The queue that the message belongs to; None when that cannot be made, and the message waits."""
        try:
            name = name_of(message)
            return self.queues.find(name, now) or await self.queues.resolve(name)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue} cannot be made; its message waits: {error}", queue=parked_in.name.text, error=error)
            self.waiting.put_off(parked_in, message, FAILURE_TTL)
            return None

    async def _goes_on(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether a message on a fallback is to be attempted now."""
        try:
            return await self.stages.take_up(queue, message)
        except CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, KumotwistError):
                log.failure("the fallback of {id} failed", id=message.id.hex())
            log.error("{id} waits, for its fallback failed: {error}", id=message.id.hex(), error=error)
            self.waiting.put_off(queue, message, FAILURE_TTL)
            return False
