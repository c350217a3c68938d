"""The stages of a fallback at work: a message with a course is taken up, and an attempt of it has ended.

Such a message is taken up here before anything else is done with it
(`take_up`): `rules.decide` says what comes next, from the table's present
options and all that was heard of it, and `steps` does it. A stage that ended
badly is marked on the message and taken up like that too, so that there is one
place for the decision and a crash at any point finds its way back to it.

Public: `Stages`. What can go wrong: a table that cannot be made, or a ledger
that cannot be read; the message then waits, uncharged, and is taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, evolve
from twisted.logger import Logger

from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.course import MAX_TEXT, Course, Failure
from kumotwist.core.errors import KumotwistError, PolicyError
from kumotwist.core.interfaces import MessageStore, ReceiptWatch
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.receipt import Heard
from kumotwist.core.records import RecordType
from kumotwist.core.response import internal
from kumotwist.net.clock import Clock
from kumotwist.queue.answers import FAILURE_TTL
from kumotwist.queue.fallback import rules
from kumotwist.queue.fallback.hearing import Hearing
from kumotwist.queue.fallback.rules import Decision, Step
from kumotwist.queue.fallback.splitting import stands_back
from kumotwist.queue.fallback.steps import Steps
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.routetables import RouteTables
from kumotwist.queue.routing import table_name_of
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.waiting import Waiting

log: Final = Logger()

#: Seconds before the ledger is asked again when it could not be read. Ours: a lock or a full disk passes.
_ASK_AGAIN: Final = 5.0


@define(eq=False)
class Stages:
    """Looks after the messages of this worker that have a course."""

    store: MessageStore
    tables: RouteTables
    watch: ReceiptWatch
    hearing: Hearing
    steps: Steps
    waiting: Waiting
    ledger: Ledger
    clock: Clock

    # -- a message is taken up --------------------------------------------------------------------

    async def take_up(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether a message with a course is to be attempted now; if not, it has ended or waits."""
        course, now = message.course, self.clock.seconds()
        if course is None:
            return True
        if await stands_back(self.store, message):
            self.store.remove(message.id)
            return False
        if course.is_released:
            return self._goes_when_due(queue, message, now)
        try:
            config, began = await self._chain(queue, message, course)
        except PolicyError as error:
            return await self._without_table(queue, message, course, error)
        heard = await self._heard(queue, message, course)
        if heard is None:
            return False
        present = rules.renewed(config, began, now)
        if present is None or not config.fallback:
            return await self._off_the_chain(queue, message, course)
        if present.stage not in (course.stage, *course.passed, None):
            text = f"policy has {present.at} in the place of {course.at}"
            await self.ledger.tell(queue, message, present.at, rules.RENAMED, text)
        if present != course:
            message.set_course(present)
        now = self.clock.seconds()
        return await self._act(queue, message, config, present, rules.decide(config, present, heard, now))

    async def _chain(self, queue: ScheduledQueue, message: Message, course: Course) -> tuple[RouteTableConfig, Course]:
        """The table that a message began with, or the queue's present one when policy has that no longer.

        With it the course, on that table. Raises PolicyError.
        """
        try:
            return (await self.tables.get(course.table)).config, course
        except PolicyError:
            own = table_name_of(message, queue.config)
            if own is None or own == course.table:
                raise
        return (await self.tables.get(own)).config, evolve(course, table=own)

    async def _heard(self, queue: ScheduledQueue, message: Message, course: Course) -> Sequence[Heard] | None:
        """What was heard of the message; None when that cannot be read, and the message waits."""
        try:
            return await self.hearing.heard(message.id, course)
        except KumotwistError as error:
            log.error("what receipts say of {id} cannot be read: {error}", id=message.id.hex(), error=error)
            self.waiting.put_off(queue, message, _ASK_AGAIN)
            return None

    async def _act(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, decided: Decision
    ) -> bool:
        """Do what was decided; whether the message is to be attempted now."""
        now = self.clock.seconds()
        if decided.step is Step.GO:
            return self._goes_when_due(queue, message, now)
        if decided.step is Step.WAIT:
            message.due = course.deadline or now
            await self.steps.rest(queue, message)
        elif decided.step is Step.NEXT and decided.stage is not None:
            await self.ledger.tell(queue, message, decided.stage.route_table, decided.reason, decided.evidence)
            is_beside = decided.stage.alongside and decided.reason == rules.NOT_HANDED_OVER
            go = self.steps.fork if is_beside else self.steps.move_on
            await go(queue, message, config, course, decided.stage)
        elif decided.step is Step.LOST:
            response = internal(550, f"5.0.0 {decided.reason}: {decided.evidence}")
            await self.ledger.end(RecordType.BOUNCE, queue, message, response)
        else:
            if decided.reason:
                await self.ledger.tell(queue, message, "", decided.reason, decided.evidence)
            self.ledger.forget(message)
        return False

    def _goes_when_due(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        if message.due <= now:
            return True
        self.steps.park(queue, message)
        return False

    async def _without_table(self, queue: ScheduledQueue, message: Message, course: Course, error: PolicyError) -> bool:
        """The table that the message began with cannot be made, nor another one that its queue has by now."""
        own, is_at_the_start = table_name_of(message, queue.config), course.stage is None
        if own is None or (own != course.table and is_at_the_start and not course.is_handed_over):
            return await self._off_the_chain(queue, message, course)
        if is_at_the_start and not course.is_handed_over:
            return True  # the attempt fails, and says why
        log.error(
            "{id} waits, for its route table {table} cannot be made: {error}",
            id=message.id.hex(),
            table=course.table,
            error=error,
        )
        self.waiting.put_off(queue, message, FAILURE_TTL)
        return False

    async def _off_the_chain(self, queue: ScheduledQueue, message: Message, course: Course) -> bool:
        """Policy has no such fallback any more: what was handed over is done, the rest goes on as any message."""
        text = f"policy has no {course.at} in a fallback of {course.table} any more"
        if course.is_in_other_hands:
            await self.ledger.tell(queue, message, "", rules.GONE, f"{text}; it was handed over before")
            self.ledger.forget(message)
            return False
        if course.origin is None or course.deadline is not None:  # else it was split, and is on no fallback
            log.info("{id} begins anew: {text}", id=message.id.hex(), text=text)
        message.set_course(None)
        self.watch.forget(message.id)
        return True

    # -- an attempt has ended ---------------------------------------------------------------------

    async def settled(self, queue: ScheduledQueue, message: Message, leg: Leg, outcome: Outcome) -> bool:
        """Whether an attempt that has ended for good is not the end of the message, since a stage lies ahead."""
        course = message.course
        if course is not None and course.is_released and outcome.verdict is Verdict.DELIVERED:
            self.hearing.note_beside(message.id, course)
        if course is None or course.deadline is None:
            return False
        if outcome.verdict is Verdict.PERMANENT:
            # A failure of the attempt, not of the message: the next stage may deliver it.
            await self.ledger.note(RecordType.TRANSIENT_FAILURE, queue, message, outcome.response, leg, outcome)
            return await self.failed(queue, message, rules.REFUSED, outcome.response.to_line())
        if course.until == "handed_over":
            return False
        await self.ledger.note(RecordType.DELIVERY, queue, message, outcome.response, leg, outcome)
        message.set_course(evolve(course, is_handed_over=True))
        message.attempts += 1
        message.due = course.deadline
        self.watch.expect(message.id)
        await self.steps.rest(queue, message)
        return True

    async def failed(self, queue: ScheduledQueue, message: Message, reason: str, text: str) -> bool:
        """The stage has ended badly: on to the next one at once. False when there is none."""
        course = message.course
        if course is None or course.deadline is None:
            return False
        message.set_course(evolve(course, failure=Failure(reason, text[:MAX_TEXT])))
        message.due = self.clock.seconds()
        await self.steps.rest(queue, message)
        return True
