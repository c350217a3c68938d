"""After a start: what the spool holds is queued again, in the background, while new mail is accepted.

Public: `Recovery`. What can go wrong: a message whose queue cannot be made waits uncharged and is tried again; one
that its process ended with waits longer each time, and bounces when that has happened too often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.queue import QueueConfig
from kumotwist.core import queuename
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.records import RecordType
from kumotwist.core.response import internal
from kumotwist.core.suspect import Suspect
from kumotwist.net.clock import Clock, sleep
from kumotwist.queue import reasons as why
from kumotwist.queue.answers import FAILURE_TTL
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.retry import expiry_of_wait
from kumotwist.queue.scheduled import ScheduledQueue, ScheduledQueues, name_of
from kumotwist.queue.waiting import Waiting

log: Final = Logger()


@define(eq=False)
class Recovery:
    """Takes over what a former process has left; `suspects` are the messages that one ended with, by id."""

    store: MessageStore
    policy: QueuePolicy
    queues: ScheduledQueues
    requeuer: Requeuer
    waiting: Waiting
    ledger: Ledger
    clock: Clock
    suspects: Mapping[SpoolId, Suspect]
    _is_stopping: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Queue everything that was in the spool at the start; ends when all of it is."""
        count = 0
        async for messages in self.store.enumerate():
            for message in messages:
                if self._is_stopping:
                    return
                await self._take_over(message)
            count += len(messages)
            await sleep(self.clock, 0)
        if count:
            log.info("{count} messages taken up from the spool", count=count)

    def stop(self) -> None:
        """Take over nothing more; what is left stays in the spool."""
        self._is_stopping = True

    async def _take_over(self, message: Message) -> None:
        suspect = self.suspects.get(message.id)
        if suspect is not None and suspect.is_given_up:
            await self._give_up(message, suspect)
            return
        try:
            await self.policy.spool_message_enumerated(message)
        except CancelledError:
            raise
        except Exception as error:
            log.error("spool_message_enumerated for {id} failed: {error}", id=message.id.hex(), error=error)
        try:
            queue = await self.queues.resolve(name_of(message))
        except CancelledError:
            raise
        except Exception as error:
            log.error("the queue of {id} cannot be made; it waits: {error}", id=message.id.hex(), error=error)
            self.waiting.put_off(self._limbo(""), message, FAILURE_TTL)
            return
        message.due = max(message.due, self.clock.seconds())
        await self._queue(queue, message, suspect)

    async def _queue(self, queue: ScheduledQueue, message: Message, suspect: Suspect | None) -> None:
        """Have it wait until it is due, unless it has expired; what is on a fallback is decided when it is taken up."""
        expired = expiry_of_wait(queue.config, message) if message.course is None else None
        if expired is not None:
            leg = Leg("localhost", queue.pool_name, None)
            await self.ledger.end(RecordType.EXPIRATION, queue, message, expired, leg)
            return
        is_handed_over = message.course is not None and message.course.is_handed_over
        if suspect is not None and suspect.is_fresh and not is_handed_over:
            await self.requeuer.hold(queue, message, (why.ENUMERATED, why.PROCESS_ENDED), suspect.delay)
        elif message.is_meta_dirty:
            await self.requeuer.wait(queue, message, (why.ENUMERATED,))
        else:
            self.waiting.park(queue, message)
        if message.course is not None:
            # There may have been receipts.
            self.waiting.look_at(message.id)

    async def _give_up(self, message: Message, suspect: Suspect) -> None:
        """End a message that takes its process down; policy is not asked again, and a copy is kept."""
        try:
            name = name_of(message)
        except PolicyError:
            name = ""
        place = self.store.set_aside(message, suspect.account)
        kept = f"; a copy is in {place}" if place is not None else ""
        response = internal(554, f"5.3.0 {suspect.account}{kept}")
        await self.ledger.end(RecordType.BOUNCE, self._limbo(name), message, response)

    def _limbo(self, name: str) -> ScheduledQueue:
        """A queue that is in no book, for a message whose own cannot be had."""
        return ScheduledQueue(queuename.parse(name), QueueConfig(), self.clock.seconds(), self.policy.epoch)
