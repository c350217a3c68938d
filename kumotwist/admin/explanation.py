"""What a policy would do with a message, step by step: the handlers that run, and the way that follows.

Public: `explain`, `of_the_way`, and `Told` with its parts. What can go wrong is told, see `queue.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kumotwist.admin.handlers import THROTTLE, Handler, held_by, run_throttle, several
from kumotwist.admin.reception import Session, generate, receive
from kumotwist.config.queue import Protocol
from kumotwist.core.interfaces import Channel
from kumotwist.core.message import Message
from kumotwist.core.schedule import format_rfc3339
from kumotwist.lua.policy import Policy
from kumotwist.queue.explain import explain_way
from kumotwist.queue.present import NOTHING, Present
from kumotwist.queue.scheduled import NULL_QUEUE
from kumotwist.queue.shown import Explanation


class MessageShown(msgspec.Struct):
    """The message as the handlers left it; `octets` are those of headers and body."""

    sender: str
    recipients: list[str]
    meta: dict[str, Any]
    octets: int


class CourseShown(msgspec.Struct):
    """Where a message is on a fallback: it began with `table` and is on that of `stage`, since then (Unix seconds).

    With a stage ahead that takes over at `deadline`, unless `until_state` has been reached; else both are null.
    `failure` is why `stage` has ended badly.
    """

    table: str
    stage: str
    since: float
    deadline: float | None
    until_state: str | None
    is_handed_over: bool
    failure: str | None


class QueuedShown(msgspec.Struct):
    """A message in the queue, with times in Unix seconds: when it was taken in, and when its next attempt is due.

    `attempts` are those that have ended, on its stage if it has a `course`. `on_its_way` names table and route when
    it is being attempted by a table, `waits_for_room_on` those by which it goes once there is room. `next` says what
    comes next.
    """

    id: str
    created: float
    attempts: int
    due: float
    on_its_way: str
    next: str
    course: CourseShown | None
    waits_for_room_on: list[str] = []


class Told(msgspec.Struct):
    """Everything there is to tell; `way` is null when the message would not be taken in, or thrown away.

    `refused` says what the SMTP listener itself would not take, and why: a recipient, or the message; and that queue
    `null` throws it away.
    `queued` is there for a message that is in the queue, whose `way` is that of its next attempt.
    """

    handlers: list[Handler]
    message: MessageShown
    way: Explanation | None = None
    queued: QueuedShown | None = None
    refused: list[str] = []


async def explain(
    message: Message,
    policy: Policy,
    channel_for: Callable[[Protocol], Channel],
    now: float,
    session: Session | None = None,
    present: Present = NOTHING,
) -> Told:
    """Run the handlers that would see `message`, then follow its way; it is changed by that, and nothing else is.

    It comes by the SMTP `session`, without one by HTTP. Of several recipients the way of the first is followed.
    """
    message.due, asked = now, message.recipients
    got = await (receive(message, policy, session) if session is not None else generate(message, policy))
    groups = got.groups or [message.recipients or asked]
    recipients = [*(message.recipients or asked), *[one for group in groups[1:] for one in group]]
    shown = MessageShown(message.sender.email, [one.email for one in recipients], message.meta, message.size)
    told = Told(got.handlers, shown, refused=got.refused)
    if not got.is_taken_in:
        return told
    if _is_thrown_away(message):
        noted = "recorded as received, " if session is not None else ""
        told.refused.append(f"queue null: it is taken in, {noted}and thrown away; nothing is sent")
        return told
    copy, throttle = await run_throttle(message, (policy, policy), now)
    told.way = await explain_way(copy, policy, channel_for, present, now)
    told.way.holds[:0] = [*_later(message, now), *held_by(throttle, copy, now)]
    if len(groups) > 1:
        told.way.warnings.insert(0, several(groups, "smtp" if session is not None else "http"))
    told.handlers.extend(of_the_way(policy, throttle))
    return told


def _is_thrown_away(message: Message) -> bool:
    try:
        return message.queue_name() == NULL_QUEUE
    except ValueError:
        return False  # the way tells what is wrong with it


def of_the_way(policy: Policy, throttle: Handler | None) -> list[Handler]:
    """The handlers that say where a message goes, as far as policy has them, with what `throttle` did."""
    events = ("get_queue_config", THROTTLE, "get_route_table", "get_egress_pool", "get_egress_path_config")
    found = [Handler(event, policy.program.source_of(event)) for event in events if policy.handles(event)]
    return [throttle if throttle is not None and one.event == THROTTLE else one for one in found]


def _later(message: Message, now: float) -> Iterator[str]:
    """What reception has put off beside its schedule."""
    if message.due > now and (message.schedule is None or message.due > message.schedule.next_allowed(now)):
        yield f"it is not due before {format_rfc3339(message.due)}"
