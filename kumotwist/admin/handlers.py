"""Handlers of policy as an explanation tells of them, and the one before a ready queue.

It really runs, on a copy of the message; those of reception are run by `admin.reception`.

Public: `Handler`, `facts_of`, `changes_of`, `run_throttle`, `held_by`, `several`, and `THROTTLE`, the name of the
event. Nothing is raised: a handler that fails says so in its `problem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Final

import msgspec
from attrs import evolve
from twisted.internet.defer import CancelledError

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.schedule import format_rfc3339
from kumotwist.lua.policy import Policy
from kumotwist.proto.mime.headers import all_headers

#: The event of what may hold a message up before a ready queue.
THROTTLE: Final = "throttle_insert_ready_queue"
#: Messages of one transaction that are named. Ours: a line.
_NAMED: Final = 5


class Handler(msgspec.Struct):
    """A handler that ran, and what it changed: names of meta keys and headers with their values before and after.

    `about` is the recipient that `smtp_server_rcpt_to` was asked about; what it refuses concerns no other.
    """

    event: str
    source: str
    changes: list[str] = []
    rejected: str = ""
    problem: str = ""
    about: str = ""


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
    before, handler = facts_of(copy), Handler(THROTTLE, policy.program.source_of(THROTTLE))
    try:
        await of_the_queue.throttle_insert_ready_queue(copy)
    except CancelledError:
        raise
    except (PolicyError, Rejection) as error:
        handler.problem = str(error)
    handler.changes = list(changes_of(before, facts_of(copy)))
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


def facts_of(message: Message) -> dict[str, str]:
    """What a handler may change, by what it is called."""
    found = {f"meta {name}": repr(value) for name, value in message.meta.items()}
    for name, value in all_headers(message.body or b""):
        label = f"header {name}"
        found[label] = f"{found[label]}, {value}" if label in found else value
    found["sender"] = message.sender.email
    found["recipients"] = ", ".join(one.email for one in message.recipients)
    return found


def changes_of(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What of `facts_of` is there now, is gone, or is another."""
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None:
            yield f"{name} set to {new}"
        elif new is None:
            yield f"{name} removed, was {old}"
        elif old != new:
            yield f"{name} changed from {old} to {new}"
