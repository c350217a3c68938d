"""What is at work now, for those who only look, and what of it would hold a message up.

Looking takes nothing: no event of a rate, no place in a queue. Ready queues and
their connections are those of this worker; rates are the whole machine's.

Public: `Present`, `NOTHING`, `message_rate_key`, `holds_of_schedule`, `holds_of_queue`,
`holds_of_ready`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from attrs import frozen

from kumotwist.config.queue import Protocol
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.interfaces import Limits
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule, format_rfc3339
from kumotwist.core.units import Throttle, format_duration
from kumotwist.core.way import Way
from kumotwist.queue.classes import Classed, classed_alone
from kumotwist.queue.ready import ReadyQueue
from kumotwist.queue.routes.budget import Budgets
from kumotwist.queue.routes.table import RouteTable


async def _no_table(_name: str) -> RouteTable | None:
    return None


@frozen(eq=False)
class Present:
    """The queue's parts by name; `limits`, `budgets` and what `table` gives are None where nothing is at work.

    `table` is the one at work, with all that workers have learned about it,
    or raises PolicyError; `ready` is None for a queue that nobody uses.
    `classed` tells a message's class; by itself it looks nothing up.
    `way_of` is the way by a table that a message is on now, None for any that waits.
    """

    table: Callable[[str], Awaitable[RouteTable | None]] = _no_table
    ready: Callable[[str, Protocol], ReadyQueue | None] = lambda *_: None
    limits: Limits | None = None
    budgets: Budgets | None = None
    classed: Callable[[RouteTableConfig, Message], Awaitable[Classed]] = classed_alone
    way_of: Callable[[Message], Way | None] = lambda _: None


#: A policy on its own.
NOTHING: Final = Present()


def message_rate_key(queue_name: str) -> str:
    """Under what name a scheduled queue's own rate is counted."""
    return f"schedq-{queue_name}-message-rate"


def holds_of_schedule(schedule: Schedule | None, now: float) -> Iterator[str]:
    """Until when a message's schedule lets nobody attempt it, in words."""
    if schedule is not None and (allowed := schedule.next_allowed(now)) > now:
        yield f"its schedule (set_scheduling) allows no attempt before {format_rfc3339(allowed)}"


async def holds_of_queue(queue_name: str, rate: Throttle | None, limits: Limits | None) -> list[str]:
    """What would keep a message in its scheduled queue, in words."""
    rates = ((message_rate_key(queue_name), rate),) if rate is not None else ()
    return [hold async for hold in _used_up(rates, limits)]


async def holds_of_ready(ready: ReadyQueue | None, limits: Limits | None, now: float) -> list[str]:
    """What would keep a message out of a ready queue, or waiting in it, in words."""
    if ready is None:
        return []
    found = []
    if (rest := ready.rest(now)) is not None:
        found.append(f"its source rests for {format_duration(rest.left(now))}: {rest.said}")
    if len(ready) >= ready.max_ready:
        found.append(f"it is full: {len(ready)} of {ready.max_ready}")
    elif ready.messages:
        found.append(f"{len(ready)} are ahead in it")
    if 0 < ready.path.connection_limit.limit <= ready.connected:
        found.append(f"all {ready.connected} connections are in use")
    found.extend([hold async for hold in _used_up((*ready.selection_rates, *ready.rates), limits)])
    return found


async def _used_up(rates: tuple[tuple[str, Throttle], ...], limits: Limits | None) -> AsyncIterator[str]:
    for key, rate in rates if limits is not None else ():
        until_full = await limits.until_full(key, rate)  # type: ignore[union-attr] # looked at above
        if rate.left(until_full) == 0:
            yield f"the rate of {rate} is used up for {rate.wait(until_full):.1f} s"
