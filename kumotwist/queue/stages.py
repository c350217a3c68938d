"""The stages of a fallback at work: messages that begin, wait for a receipt, move on and end.

A message with a course is taken up here before anything else is done with it
(`take_up`): `fallback.decide` says what comes next, from the table's present
options and all that receipts have said, and it is done. A stage that ended
badly is marked on the message and taken up like that too, so that there is one
place for the decision and a crash at any point finds its way back to it.

Public: `Stages`. What can go wrong: a table that cannot be made, or a ledger
that cannot be read; the message then waits, uncharged, and is taken up again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.routes import FallbackStage, RouteTableConfig
from kumotwist.core.course import MAX_TEXT, Course, Failure
from kumotwist.core.errors import KumotwistError, PolicyError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore, ReceiptWatch
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.receipt import Heard, ReceiptState
from kumotwist.core.records import RecordType
from kumotwist.core.response import internal
from kumotwist.net.clock import Clock
from kumotwist.net.tasks import Tasks
from kumotwist.queue import fallback
from kumotwist.queue.answers import FAILURE_TTL
from kumotwist.queue.fallback import Step
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.ready import Item
from kumotwist.queue.retry import expiry_of_wait
from kumotwist.queue.routetables import RouteTables
from kumotwist.queue.routing import Routing, table_name_of
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.splitting import double, split, stands_back
from kumotwist.queue.waiting import Waiting

log: Final = Logger()

#: Seconds before the ledger is asked again when it could not be read. Ours: a lock or a full disk passes.
_ASK_AGAIN: Final = 5.0
#: Messages that were handed over beside another stage, remembered. Ours: a few MB; that one hears of it when it is next
#: tried.
_MAX_BESIDE: Final = 10_000


@define(eq=False)
class Stages:
    """Looks after all messages of this worker that have a course.

    `waiting` has those that wait, and `take_ready` takes those that it is asked for out of the ready queues.
    """

    tables: RouteTables
    routing: Routing
    store: MessageStore
    ledger: Ledger
    watch: ReceiptWatch
    waiting: Waiting
    clock: Clock
    tasks: Tasks
    park: Callable[[ScheduledQueue, Message], None]
    take_ready: Callable[[Callable[[Item], bool]], list[Item]]
    #: On their way by a table, with a stage ahead or behind.
    _under_way: dict[SpoolId, Message] = field(factory=dict, init=False)
    _is_asking: bool = field(default=False, init=False)
    #: What was handed over by a stage beside which the next one had begun; a restart forgets it.
    _handed_beside: OrderedDict[SpoolId, Heard] = field(factory=OrderedDict, init=False)

    # -- on the way of a message ------------------------------------------------------------------

    async def begin(self, queue: ScheduledQueue, message: Message, config: RouteTableConfig) -> None:
        """The turn of `message` on a table with a fallback has come; of several recipients it keeps the first.

        Raises what the store raises.
        """
        if len(message.recipients) > 1:
            await self.part(queue, message, config)
        else:
            message.set_course(fallback.begun(config, self.clock.seconds()))
            await self.store.save_meta_later(message)

    async def part(self, queue: ScheduledQueue, message: Message, config: RouteTableConfig) -> None:
        """Have each recipient go on by itself on that table; the first keeps the message.

        Raises what the store raises.
        """
        course = fallback.begun(config, self.clock.seconds())
        others = await split(self.store, message, course)
        for one in (message, *others):
            await self.ledger.tell(queue, one, course.at, fallback.SPLIT, f"from {message.id.hex()}")
        for one in others:
            self.park(queue, one)
        if not config.fallback:
            message.set_course(None)

    def set_out(self, message: Message) -> None:
        """A message with a course has been set out; it may have to be withdrawn."""
        self._under_way[message.id] = message

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
        except CancelledError:
            raise
        except PolicyError as error:
            return await self._without_table(queue, message, course, error)
        try:
            heard = await self._heard(message, course)
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("what receipts say of {id} cannot be read: {error}", id=message.id.hex(), error=error)
            self.waiting.put_off(queue, message, _ASK_AGAIN)
            return False
        present = fallback.renewed(config, began, now)
        if present is None or not config.fallback:
            return await self._off_the_chain(queue, message, course)
        if present.stage not in (course.stage, *course.passed, None):
            text = f"policy has {present.at} in the place of {course.at}"
            await self.ledger.tell(queue, message, present.at, fallback.RENAMED, text)
        if present != course:
            message.set_course(present)
        return await self._act(queue, message, config, present, heard)

    async def settled(self, queue: ScheduledQueue, message: Message, leg: Leg, outcome: Outcome) -> bool:
        """Whether an attempt that has ended for good is not the end of the message, since a stage lies ahead."""
        course = message.course
        if course is not None and course.is_released and outcome.verdict is Verdict.DELIVERED:
            self._note_beside(message.id, course)
        if course is None or course.deadline is None:
            return False
        if outcome.verdict is Verdict.PERMANENT:
            # A failure of the attempt, not of the message: the next stage may deliver it.
            await self.ledger.note(RecordType.TRANSIENT_FAILURE, queue, message, outcome.response, leg, outcome)
            return await self.failed(queue, message, fallback.REFUSED, outcome.response.to_line())
        if course.until == "handed_over":
            return False
        await self.ledger.note(RecordType.DELIVERY, queue, message, outcome.response, leg, outcome)
        message.set_course(evolve(course, is_handed_over=True))
        message.attempts += 1
        message.due = course.deadline
        self.watch.expect(message.id)
        await self._save_and_park(queue, message)
        return True

    async def failed(self, queue: ScheduledQueue, message: Message, reason: str, text: str) -> bool:
        """The stage has ended badly: on to the next one at once. False when there is none."""
        course = message.course
        if course is None or course.deadline is None:
            return False
        message.set_course(evolve(course, failure=Failure(reason, text[:MAX_TEXT])))
        message.due = self.clock.seconds()
        await self._save_and_park(queue, message)
        return True

    # -- once a second ----------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Withdraw what is not handed over at its deadline; ask for news of receipts."""
        late: set[SpoolId] = set()
        for spool_id, message in list(self._under_way.items()):
            course = message.course
            if course is None or self.routing.traveller(message) is None:
                del self._under_way[spool_id]
            elif course.deadline is not None and course.deadline <= now:
                late.add(spool_id)
        if late:
            self._withdraw(late)
        if not self._is_asking and (self._under_way or self.waiting.has_courses):
            self._is_asking = True
            self.tasks.spawn("news of receipts", self._ask())

    async def _ask(self) -> None:
        try:
            news = await self.watch.news()
        finally:
            self._is_asking = False
        elsewhere = {spool_id for spool_id in news if not self.waiting.look_at(spool_id)}
        self._withdraw(elsewhere & self._under_way.keys())

    def _withdraw(self, wanted: Iterable[SpoolId]) -> None:
        """Take messages out of their ready queues, to be taken up; what is on the wire first hears its outcome."""
        if wanted:
            for message, queue in self.take_ready(lambda item: item[0].id in wanted):
                message.due = self.clock.seconds()
                self.park(queue, message)

    # -- steps ------------------------------------------------------------------------------------

    async def _heard(self, message: Message, course: Course) -> Iterable[Heard]:
        """Nothing can be heard of what has not been handed over by anything."""
        if course.stage is None and not course.is_handed_over:
            return ()
        # After a start nobody knows that we wait.
        self.watch.expect(message.id)
        said = [heard for one in (message.id, *course.beside) for heard in await self.watch.heard(one)]
        return said + [self._handed_beside[one] for one in course.beside if one in self._handed_beside]

    def _note_beside(self, spool_id: SpoolId, course: Course) -> None:
        """The stage before has handed over after all: that may be enough for what goes on beside it."""
        self._handed_beside[spool_id] = Heard(course.at, ReceiptState.ACCEPTED, self.clock.seconds())
        if len(self._handed_beside) > _MAX_BESIDE:
            self._handed_beside.popitem(last=False)

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

    def _goes_when_due(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        if message.due <= now:
            return True
        self.park(queue, message)
        return False

    async def _act(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, heard: Iterable[Heard]
    ) -> bool:
        now = self.clock.seconds()
        decided = fallback.decide(config, course, tuple(heard), now)
        if decided.step is Step.GO:
            return self._goes_when_due(queue, message, now)
        if decided.step is Step.WAIT:
            message.due = course.deadline or now
            if message.is_meta_dirty:
                await self._save_and_park(queue, message)
            else:
                self.park(queue, message)
        elif decided.step is Step.NEXT and decided.stage is not None:
            await self.ledger.tell(queue, message, decided.stage.route_table, decided.reason, decided.evidence)
            is_beside = decided.stage.alongside and decided.reason == fallback.NOT_HANDED_OVER
            await (self._fork if is_beside else self._move)(queue, message, config, course, decided.stage)
        elif decided.step is Step.LOST:
            response = internal(550, f"5.0.0 {decided.reason}: {decided.evidence}")
            await self.ledger.end(RecordType.BOUNCE, queue, message, response)
        else:
            if decided.reason:
                await self.ledger.tell(queue, message, "", decided.reason, decided.evidence)
            self.ledger.forget(message)
        return False

    async def _move(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage
    ) -> None:
        """To the next stage, due now or as soon as the message's schedule allows."""
        self._put_on(message, config, course, stage)
        expired = expiry_of_wait(queue.config, message)
        if expired is not None:
            await self.ledger.end(RecordType.EXPIRATION, queue, message, expired)
        else:
            await self._save_and_park(queue, message)

    async def _fork(
        self, queue: ScheduledQueue, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage
    ) -> None:
        """To the next stage, while a double of the message stays on this one.

        The message is on disk before its double: a crash in between costs the
        rest of the tries on this stage, where the other order could double them.
        """
        there = await double(self.store, message, fallback.released(course))
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

    def _put_on(self, message: Message, config: RouteTableConfig, course: Course, stage: FallbackStage) -> None:
        now = self.clock.seconds()
        message.due = message.schedule.next_allowed(now) if message.schedule is not None else now
        message.set_course(fallback.on_stage(config, course, stage, message.due))
        message.attempts = 0

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
            await self.ledger.tell(queue, message, "", fallback.GONE, f"{text}; it was handed over before")
            self.ledger.forget(message)
            return False
        if course.origin is None or course.deadline is not None:  # else it was split, and is on no fallback
            log.info("{id} begins anew: {text}", id=message.id.hex(), text=text)
        message.set_course(None)
        self.watch.forget(message.id)
        return True

    async def _save_and_park(self, queue: ScheduledQueue, message: Message) -> None:
        try:
            await self.store.save_meta_later(message)
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("the state of {id} is not saved: {error}", id=message.id.hex(), error=error)
        self.park(queue, message)
