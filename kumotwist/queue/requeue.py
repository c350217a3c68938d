"""Putting a message back: charged an attempt, or merely held up.

Policy's `requeue_message` sees the message first and may send it elsewhere or
end it. Then the retry arithmetic says when it is due or that it is too old,
and it is parked: its changed metadata goes to the spool, a Delayed record
tells why it waits, and only its id and due time stay in memory.

Public: `Requeuer`. What can go wrong: an error in `requeue_message` is logged
and the message goes back to the queue that it came from; a spool that cannot
take the changes is logged, and the message waits with what memory knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attrs import define
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError, Rejection
from kumotwist.core.interfaces import MessageStore, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response
from kumotwist.core.schedule import format_rfc3339
from kumotwist.core.units import format_duration
from kumotwist.net.clock import Clock
from kumotwist.queue import reasons as why
from kumotwist.queue.fallback.rules import EXPIRED
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.retry import MAX_RANDOM_DELAY, expiry_of_retry, expiry_of_wait, last_chance, retry_delay
from kumotwist.queue.scheduled import ScheduledQueue, ScheduledQueues

log: Final = Logger()

#: Attempts up to which a message that policy moves is tried in its new queue at once. Ours: more routes
#: than anybody chains; beyond it a policy that moves messages to and fro must not keep us spinning.
_MOVES_AT_ONCE: Final = 8


@define(eq=False)
class Requeuer:
    """Decides where and when a message waits next; `park` takes it in, `chance` is random in [0, 1)."""

    queues: ScheduledQueues
    policy: QueuePolicy
    store: MessageStore
    ledger: Ledger
    clock: Clock
    park: Callable[[ScheduledQueue, Message], None]
    chance: Callable[[], float]
    #: Has a message go on by the next stage of its fallback, if there is one: with the reason and the evidence.
    failed: Callable[[ScheduledQueue, Message, str, str], Awaitable[bool]]

    async def retry(
        self,
        queue: ScheduledQueue,
        message: Message,
        response: Response,
        reasons: Sequence[str],
        at_least: float = 0.0,
    ) -> None:
        """Charge an attempt and try again after the backoff, not before `at_least` seconds; or expire."""
        if not await self._ask_policy(queue, message, response, reasons, True, None):
            return
        queue = await self._current(queue)
        now = self.clock.seconds()
        delay = retry_delay(queue.config, message.attempts, self.chance(), at_least)
        expired = expiry_of_retry(queue.config, message, delay, now)
        message.attempts += 1
        if expired is not None:
            await self._expire(queue, message, expired, Leg("", queue.pool_name, None))
            return
        _set_due(message, now + delay)
        await self.wait(queue, message, reasons)

    async def postpone(
        self,
        queue: ScheduledQueue,
        message: Message,
        response: Response,
        reasons: Sequence[str],
        delay: float | None = None,
    ) -> None:
        """Hold the message up for `delay` seconds (None: up to a minute) without charging an attempt."""
        if await self._ask_policy(queue, message, response, reasons, False, delay):
            await self.hold(await self._current(queue), message, reasons, delay)

    async def hold(
        self,
        queue: ScheduledQueue,
        message: Message,
        reasons: Sequence[str],
        delay: float | None = None,
        *,
        is_news: bool = True,
    ) -> None:
        """The same without asking policy; what was told before makes no record."""
        if delay is None:
            delay = self.chance() * MAX_RANDOM_DELAY
        now = self.clock.seconds()
        _set_due(message, max(message.due, now) + delay)
        if why.SOURCE_RESTS in reasons or why.BUDGET_USED_UP in reasons:
            # Not the message's fault: a long rest does not cut its life short. At its end another route may be open.
            last = last_chance(queue.config, message)
            if now < last < message.due:
                _set_due(message, last)
        await self._wait_or_expire(queue, message, reasons, is_news=is_news)

    async def wait(
        self, queue: ScheduledQueue, message: Message, reasons: Sequence[str], *, is_news: bool = True
    ) -> None:
        """Let the message wait until it is due; the spool gets what has changed."""
        if is_news and why.LOGGED_TRANSIENT_FAILURE not in reasons and tuple(reasons) != (why.ENUMERATED,):
            await self.ledger.note(RecordType.DELAYED, queue, message, self._delayed(message, reasons))
        try:
            if message.is_body_dirty:
                await self.store.save((message,))
            else:
                await self.store.save_meta_later(message)
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("the state of {id} is not saved: {error}", id=message.id.hex(), error=error)
        self.park(self.queues.adopt(queue), message)

    async def _ask_policy(
        self,
        queue: ScheduledQueue,
        message: Message,
        response: Response,
        reasons: Sequence[str],
        charged: bool,
        delay: float | None,
    ) -> bool:
        """Call `requeue_message`; False when that settled where the message goes."""
        before = _name_of(message, queue)
        try:
            await self.policy.requeue_message(message, response.to_line(), reasons, charged, delay)
        except CancelledError:
            raise
        except Rejection as refusal:
            await self.ledger.end(RecordType.BOUNCE, queue, message, Response(refusal.code, refusal.text))
            return False
        except Exception as error:
            log.error("requeue_message for {id} failed: {error}", id=message.id.hex(), error=error)
            return True
        after = _name_of(message, queue)
        return after == before or not await self._move(after, message, reasons)

    async def _move(self, name: str, message: Message, reasons: Sequence[str]) -> bool:
        """Into the queue of that name, due now, charged an attempt; False when there is no such queue."""
        try:
            queue = await self.queues.resolve(name)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue}, where requeue_message sent a message, fails: {error}", queue=name, error=error)
            return False
        # Where policy sends it, it begins anew.
        message.course = None
        message.attempts += 1
        wait = 0.0 if message.attempts <= _MOVES_AT_ONCE else MAX_RANDOM_DELAY
        _set_due(message, self.clock.seconds() + wait)
        await self._wait_or_expire(queue, message, reasons)
        return True

    async def _wait_or_expire(
        self, queue: ScheduledQueue, message: Message, reasons: Sequence[str], *, is_news: bool = True
    ) -> None:
        expired = expiry_of_wait(queue.config, message)
        if expired is None:
            await self.wait(queue, message, reasons, is_news=is_news)
        else:
            await self._expire(queue, message, expired, Leg("localhost", queue.pool_name, None))

    async def _expire(self, queue: ScheduledQueue, message: Message, expired: Response, leg: Leg) -> None:
        """The end of the message, or of the stage that it is on."""
        if message.course is None or not await self.failed(queue, message, EXPIRED, expired.to_line()):
            await self.ledger.end(RecordType.EXPIRATION, queue, message, expired, leg)

    async def _current(self, queue: ScheduledQueue) -> ScheduledQueue:
        """The queue with a fresh configuration, or as it is when policy has none."""
        name = queue.name.text
        current = self.queues.find(name, self.clock.seconds())
        if current is not None:
            return current
        try:
            return await self.queues.resolve(name)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue} keeps its old configuration: {error}", queue=name, error=error)
            return self.queues.adopt(queue)

    def _delayed(self, message: Message, reasons: Sequence[str]) -> Response:
        due_in = format_duration(max(message.due - self.clock.seconds(), 0.0))
        context = ", ".join(reasons)
        return Response(400, f"Context: {context}. Next due in {due_in} at {format_rfc3339(message.due)}")


def _set_due(message: Message, due: float) -> None:
    """Make the message due, within what its schedule allows, and no later than the next stage of its fallback."""
    message.due = message.schedule.next_allowed(due) if message.schedule is not None else due
    if message.course is not None and message.course.deadline is not None:
        message.due = min(message.due, message.course.deadline)


def _name_of(message: Message, queue: ScheduledQueue) -> str:
    """The queue that the message belongs to by its metadata; where it was when those are not in order."""
    try:
        return message.queue_name()
    except ValueError:
        return queue.name.text
