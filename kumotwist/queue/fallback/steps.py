"""Steps of a message on its fallback: it begins, moves on to the next stage, or does that and stays as well.

Each is on disk before anybody acts on it, or the message is as it was. A message
of several recipients is split on its first step, since each may go another way.

Public: `Steps`. What can go wrong: what the store raises, where a step cannot be taken without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, evolve
from twisted.logger import Logger

from kumotwist.config.routes import FallbackStage, RouteTableConfig
from kumotwist.core.course import Course
from kumotwist.core.errors import KumotwistError
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import Message
from kumotwist.core.records import RecordType
from kumotwist.net.clock import Clock
from kumotwist.queue.fallback import rules
from kumotwist.queue.fallback.splitting import double, split
from kumotwist.queue.ledger import Ledger
from kumotwist.queue.retry import expiry_of_wait
from kumotwist.queue.scheduled import ScheduledQueue

log: Final = Logger()


@define(eq=False)
class Steps:
    """Has messages take steps; `park` has them taken up when they are due."""

    store: MessageStore
    ledger: Ledger
    clock: Clock
    park: Callable[[ScheduledQueue, Message], None]

    async def begin(self, queue: ScheduledQueue, message: Message, config: RouteTableConfig) -> None:
        """The turn of `message` on a table with a fallback has come; of several recipients it keeps the first.

        Raises what the store raises.
        """
        if len(message.recipients) > 1:
            await self.part(queue, message, config)
        else:
            message.set_course(rules.begun(config, self.clock.seconds()))
            await self.store.save_meta_later(message)

    async def part(self, queue: ScheduledQueue, message: Message, config: RouteTableConfig) -> None:
        """Have each recipient go on by itself on that table; the first keeps the message.

        Raises what the store raises.
        """
        course = rules.begun(config, self.clock.seconds())
        others = await split(self.store, message, course)
        for one in (message, *others):
            await self.ledger.tell(queue, one, course.at, rules.SPLIT, f"from {message.id.hex()}")
        for one in others:
            self.park(queue, one)
        if not config.fallback:
            message.set_course(None)

    async def move_on(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage
    ) -> None:
        """To the next stage, due now or as soon as the message's schedule allows."""
        self._put_on(message, config, course, stage)
        expired = expiry_of_wait(queue.config, message)
        if expired is not None:
            await self.ledger.end(RecordType.EXPIRATION, queue, message, expired)
        else:
            await self.rest(queue, message)

    async def fork(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage
    ) -> None:
        """To the next stage, while a double of the message stays on this one.

        The message is on disk before its double: a crash in between costs the
        rest of the tries on this stage, where the other order could double them.
        """
        there = await double(self.store, message, rules.released(course))
        before = message.due, message.attempts
        there.due = self.clock.seconds()
        self._put_on(message, config, evolve(course, beside=(*course.beside, there.id)), stage)
        try:
            await self.store.save((message,))
        except KumotwistError:
            # Not cancelled: then it may be done, and the process ends.
            message.due, message.attempts = before
            message.set_course(course)
            raise
        self.park(queue, message)
        try:
            await self.store.save((there,))
        except KumotwistError as error:
            log.error(
                "{id} is not tried by {stage} any more: {error}", id=message.id.hex(), stage=course.at, error=error
            )
            return
        self.park(queue, there)

    async def rest(self, queue: ScheduledQueue, message: Message) -> None:
        """Have the message wait until it is due, where it stands on its course; raises nothing."""
        try:
            if message.is_meta_dirty:
                await self.store.save_meta_later(message)
        except KumotwistError as error:
            log.error("the state of {id} is not saved: {error}", id=message.id.hex(), error=error)
        self.park(queue, message)

    def _put_on(self, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage) -> None:
        now = self.clock.seconds()
        message.due = message.schedule.next_allowed(now) if message.schedule is not None else now
        message.set_course(rules.on_stage(config, course, stage, message.due))
        message.attempts = 0
