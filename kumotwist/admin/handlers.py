"""Handlers of policy that an explanation runs: those that see the whole message, and the one before a ready queue.

They really run, on a message that is nobody else's; what they changed is told.

Public: `Handler`, `run_handler`, `run_split`, `run_throttle`, `held_by`, `several`, and the names of the events
`EVENTS`, `SPLIT`, `THROTTLE`. Nothing is raised: a handler that fails says so in its `problem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Final

import msgspec
from attrs import evolve
from twisted.internet.defer import CancelledError

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo, ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.schedule import format_rfc3339
from kumotwist.lua.policy import Policy
from kumotwist.proto.mime.headers import all_headers

#: The event that sees a whole message, by the way it came in.
EVENTS: Final = {"smtp": "smtp_server_message_received", "http": "http_message_generated"}
#: What makes messages of the recipients of one that came by SMTP, and what may hold one up before a ready queue.
SPLIT: Final = "smtp_server_split_transaction"
THROTTLE: Final = "throttle_insert_ready_queue"
#: Messages of one transaction that are named. Ours: a line.
_NAMED: Final = 5


class Handler(msgspec.Struct):
    """A handler that ran, and what it changed: names of meta keys and headers with their values before and after."""

    event: str
    source: str
    changes: list[str] = []
    rejected: str = ""
    problem: str = ""


async def run_handler(message: Message, policy: Policy, intake: str) -> list[Handler]:
    """Run the handler that would see `message` and tell what it changed; nothing when policy has none."""
    event = EVENTS[intake]
    if not policy.handles(event):
        return []
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
    return [handler]


async def run_split(
    message: Message, policy: Policy, each: Sequence[Sequence[EnvelopeAddress]]
) -> tuple[Handler, Sequence[Sequence[EnvelopeAddress]]]:
    """Ask policy, which must have the handler, how the recipients become messages; `each` where it leaves that open."""
    handler = Handler(SPLIT, policy.program.source_of(SPLIT))
    groups: Sequence[Sequence[EnvelopeAddress]] | None = None
    try:
        groups = await policy.smtp_server_split_transaction(message, ConnectionMeta())
    except CancelledError:
        raise
    except Rejection as rejection:
        handler.rejected = str(rejection)
    except PolicyError as error:
        handler.problem = str(error)
    left = each if groups is None else [group for group in groups if group]
    if not left:
        handler.problem = "it leaves the message without recipients"
    return handler, left


async def run_throttle(
    message: Message, policies: tuple[Policy, QueuePolicy], now: float
) -> tuple[Message, Handler | None]:
    """A copy of `message` as `throttle_insert_ready_queue` leaves it once it is due, and what that did, if it is there.

    `policies` is the policy, and the same as the queue asks it.
    """
    policy, of_the_queue = policies
    copy = evolve(message, meta=deepcopy(message.meta), due=min(message.due, now))
    if not policy.handles(THROTTLE):
        return copy, None
    before, handler = _facts(copy), Handler(THROTTLE, policy.program.source_of(THROTTLE))
    try:
        await of_the_queue.throttle_insert_ready_queue(copy)
    except CancelledError:
        raise
    except (PolicyError, Rejection) as error:
        handler.problem = str(error)
    handler.changes = list(_changes(before, _facts(copy)))
    if copy.due > now:
        handler.changes.append(f"due set to {format_rfc3339(copy.due)}")
    return copy, handler


def held_by(throttle: Handler | None, message: Message, now: float) -> Iterator[str]:
    """Whether `throttle` holds up `message`, which it has seen, in words."""
    if throttle is not None and throttle.problem:
        yield f"{THROTTLE} fails; it is run again in a minute"
    elif throttle is not None and message.due > now:
        yield f"{THROTTLE} holds it until {format_rfc3339(message.due)}"


def several(groups: Sequence[Sequence[EnvelopeAddress]], intake: str) -> str:
    """That the recipients are messages of their own, the first of which is followed."""
    first = ", ".join(one.email for one in groups[0])
    domains = dict.fromkeys(one.domain.lower() for group in groups for one in group)
    own = [one for one in domains if one != groups[0][0].domain.lower()]
    more = f" and {len(own) - _NAMED} more domains" if len(own) > _NAMED else ""
    others = f"; what goes to {', '.join(own[:_NAMED])}{more} has queues and a way of its own" if own else ""
    if intake == "http" or any(len(group) > 1 for group in groups):
        how = f"it becomes {len(groups)} messages"
    else:
        how = f"it becomes {len(groups)} messages, or one for each domain where the listener says BatchByDomain"
    return f"{how}; this is the way of the one to {first}{others}"


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
