"""What would become of a message that is in the queue, at its next attempt.

The message is read from the spool of the worker that has it and followed from
where it is; no handler of reception runs again. Nothing is sent or changed: what
`throttle_insert_ready_queue` does, it does to a copy.

Public: `explain_queued`. What can go wrong: what the store raises, and see `queue.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kumotwist.admin.explanation import CourseShown, MessageShown, QueuedShown, Told, of_the_way
from kumotwist.admin.handlers import held_by, run_throttle
from kumotwist.config.queue import Protocol
from kumotwist.core.course import Course
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Channel, MessageStore, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.units import format_duration
from kumotwist.core.way import Way
from kumotwist.lua.policy import Policy
from kumotwist.queue.explain import explain_way
from kumotwist.queue.present import Present


async def explain_queued(
    spool_id: SpoolId,
    store: MessageStore,
    policies: tuple[Policy, QueuePolicy],
    channel_for: Callable[[Protocol], Channel],
    now: float,
    present: Present,
) -> Told | None:
    """The explanation, from `present`; None when the store has no such message.

    `policies` is the policy, and the same as the queue asks it.
    """
    message = (await store.load((spool_id,)))[0]
    if message is None:
        return None
    if message.body is None:
        await store.load_body(message)  # a class function may look at it
    recipients = [one.email for one in message.recipients]
    copy, throttle = await run_throttle(message, policies, now)
    way = await explain_way(copy, policies[1], channel_for, present, now)
    way.holds[:0] = held_by(throttle, copy, now)
    shown = MessageShown(message.sender.email, recipients, message.meta, message.size)
    return Told(of_the_way(policies[0], throttle), shown, way, _queued(message, present.way_of(message), now))


def _queued(message: Message, way: Way | None, now: float) -> QueuedShown:
    on_its_way, kept = f"{way.table}/{way.route}" if way is not None else "", message.kept
    waits_on = [f"{kept.table}/{route}" for route in kept.routes] if kept is not None and not on_its_way else []
    return QueuedShown(
        message.id.hex(),
        message.created,
        message.attempts,
        message.due,
        on_its_way,
        _next(message, on_its_way, waits_on, now),
        _course(message.course) if message.course is not None else None,
        waits_on,
    )


def _course(course: Course) -> CourseShown:
    return CourseShown(
        course.table,
        course.at,
        course.since,
        course.deadline,
        course.until or None,
        course.is_handed_over,
        course.failure.reason if course.failure is not None else None,
    )


def _next(message: Message, on_its_way: str, waits_on: Sequence[str], now: float) -> str:
    """What comes next, in words."""
    course = message.course
    if on_its_way:
        return f"it is on its way by {on_its_way}; this is what it would find if it had to be tried again"
    if course is not None and course.failure is not None:
        return f"it has failed on route table {course.at} ({course.failure.reason}), and the next stage takes over"
    if course is not None and course.is_handed_over:
        left = format_duration(max((course.deadline or now) - now, 0.0))
        return f"it has been handed over; unless a receipt says {course.until}, the next stage takes over in {left}"
    room = f"; it waits for room on {' or '.join(waits_on)}" if waits_on else ""
    if message.due > now:
        return f"its attempt number {message.attempts + 1} is due in {format_duration(message.due - now)}{room}"
    return f"its attempt number {message.attempts + 1} is due, or under way{room}"
