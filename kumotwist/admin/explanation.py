"""What a policy would do with a message, step by step: the handlers that run, and the way that follows.

Public: `explain`, `run_handler`, `of_the_way`, `EVENTS`, and `Told` with its parts. What can go wrong is told, see
`queue.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError

from kumotwist.config.queue import Protocol
from kumotwist.core.connection import AuthInfo, ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.interfaces import Channel
from kumotwist.core.message import Message
from kumotwist.lua.policy import Policy
from kumotwist.proto.mime.headers import all_headers
from kumotwist.queue.explain import explain_way
from kumotwist.queue.present import NOTHING, Present
from kumotwist.queue.shown import Explanation

#: The event that sees a whole message, by the way it came in.
EVENTS: Final = {"smtp": "smtp_server_message_received", "http": "http_message_generated"}


class Handler(msgspec.Struct):
    """A handler that ran, and what it changed: names of meta keys and headers with their values before and after."""

    event: str
    source: str
    changes: list[str] = []
    rejected: str = ""
    problem: str = ""


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
    it is being attempted by a table. `next` says what comes next.
    """

    id: str
    created: float
    attempts: int
    due: float
    on_its_way: str
    next: str
    course: CourseShown | None


class Told(msgspec.Struct):
    """Everything there is to tell; `way` is null when the message would not be taken in.

    `queued` is there for a message that is in the queue, whose `way` is that of its next attempt.
    """

    handlers: list[Handler]
    message: MessageShown
    way: Explanation | None = None
    queued: QueuedShown | None = None


async def explain(
    message: Message,
    policy: Policy,
    channel_for: Callable[[Protocol], Channel],
    now: float,
    intake: str = "smtp",
    present: Present = NOTHING,
) -> Told:
    """Run the handlers that would see `message`, then follow its way; it is changed by that, and nothing else is."""
    handler = await run_handler(message, policy, intake)
    recipients = [one.email for one in message.recipients]
    shown = MessageShown(message.sender.email, recipients, message.meta, message.size)
    told = Told([handler] if handler is not None else [], shown)
    if handler is None or (not handler.rejected and not handler.problem):
        told.way = await explain_way(message, policy, channel_for, present, now)
        told.handlers.extend(of_the_way(policy))
    return told


def of_the_way(policy: Policy) -> list[Handler]:
    """The handlers that say where a message goes, as far as policy has them."""
    events = ("get_queue_config", "get_route_table", "get_egress_pool", "get_egress_path_config")
    return [Handler(event, policy.program.source_of(event)) for event in events if policy.handles(event)]


async def run_handler(message: Message, policy: Policy, intake: str) -> Handler | None:
    """Run the handler that would see `message` and tell what it changed; None when policy has none."""
    event = EVENTS[intake]
    if not policy.handles(event):
        return None
    before = _facts(message)
    handler = Handler(event, policy.program.source_of(event))
    try:
        if intake == "smtp":
            await policy.smtp_server_message_received(message, ConnectionMeta())
        else:
            await policy.http_message_generated(message, AuthInfo())
    except CancelledError:
        raise
    except Rejection as rejection:
        handler.rejected = str(rejection)
    except PolicyError as error:
        handler.problem = str(error)
    handler.changes = list(_changes(before, _facts(message)))
    return handler


def _facts(message: Message) -> dict[str, str]:
    """What a handler may change, by what it is called."""
    found = {f"meta {name}": repr(value) for name, value in message.meta.items()}
    for name, value in all_headers(message.body or b""):
        label = f"header {name}"
        found[label] = f"{found[label]}, {value}" if label in found else value
    found["sender"] = message.sender.email
    found["recipients"] = ", ".join(one.email for one in message.recipients)
    return found


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None:
            yield f"{name} set to {new}"
        elif new is None:
            yield f"{name} removed, was {old}"
        elif old != new:
            yield f"{name} changed from {old} to {new}"
