"""Why a message would go the way it would: every decision between intake and the wire, without taking it.

Asks policy what the queue would ask and looks at what is known, but places,
counts and learns nothing. Used by `kumotwist explain` on a policy alone, and by
the HTTP API on a running daemon, where shares and health are the real ones.

Public: `explain_way`, `Explanation` and its parts. What can go wrong is part of
the answer: a `problem` where a question had no answer.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import CancelledError

from kumotwist.config.egress import UNSPECIFIED, PathConfig, SourceConfig
from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.option import Duration, option_name
from kumotwist.config.queue import Protocol
from kumotwist.config.routes import RouteEntry, RouteTableConfig
from kumotwist.core import queuename
from kumotwist.core.errors import KumotwistError
from kumotwist.core.interfaces import Channel, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.queuename import QueueName
from kumotwist.core.units import format_duration
from kumotwist.queue.consequences import consequences, stage_shown
from kumotwist.queue.present import Present, holds_of_queue, holds_of_ready
from kumotwist.queue.routes.budget import describe, left_of
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tally import Lately, Timing
from kumotwist.queue.routing import pin_of, position_of, table_name_of


class LatelyShown(msgspec.Struct):
    """What a route has done for the message's class of late, on all workers: counts that fade by half in a half-life.

    Seconds are the median and what 95 % took at most; null when there is nothing to tell from.
    """

    handed_over: float
    transient: float
    permanent: float
    receipts: dict[str, float]
    handover_seconds: tuple[float | None, float | None]
    receipt_seconds: tuple[float | None, float | None]


class RouteShown(msgspec.Struct):
    """One route of the table, as it stands for the message's class."""

    name: str
    channel: str
    resting: float
    share: float
    health: float
    samples: float
    breaker: str
    is_chosen: bool = False
    #: How many messages it is behind its share, in its class and in the table together: the most owed is next.
    owed: float = 0.0
    budgets: list[str] = []
    lately: LatelyShown | None = None


class SourceShown(msgspec.Struct):
    """One source that the message may leave from, and the ready queue that it would enter.

    `limits` are those of its path; `holds` says which of them, and what else, would hold the message up now.
    """

    source: str
    weight: int
    ready_queue: str
    limits: dict[str, str] = {}
    holds: list[str] = []
    problem: str = ""


class Explanation(msgspec.Struct):
    """The way of one message. `secrets` are named, never shown; `problem` says why the way ends early.

    `class_by` is what the table tells messages apart by, `class_problem` why that did not work.
    """

    queue: str = ""
    queue_config: dict[str, Any] = {}
    holds: list[str] = []
    route_table: str = ""
    route_class: str = ""
    class_by: str = ""
    class_problem: str = ""
    pinned: bool = False
    draw: str = ""
    #: The stages that come after the table.
    fallback: list[str] = []
    routes: list[RouteShown] = []
    channel: str = ""
    options: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    pool: str = ""
    sources: list[SourceShown] = []
    on_failure: dict[str, str] = {}
    problem: str = ""


async def explain_way(
    message: Message,
    policy: QueuePolicy,
    channel_for: Callable[[Protocol], Channel],
    present: Present,
    now: float,
    to_the_site: bool = True,
) -> Explanation:
    """The way of `message` as its metadata is now.

    `present` is what is at work. `now` is in Unix seconds. Without `to_the_site` the way
    ends with the sources: no name is resolved, and no path asked for.
    """
    found = Explanation()
    try:
        await _Way(message, policy, channel_for, present, now, found, to_the_site).follow()
    except CancelledError:
        raise
    except (KumotwistError, ValueError) as error:
        found.problem = str(error)
    return found


@attrs.define(eq=False)
class _Way:
    """The questions in their order; each answer goes into `found`."""

    message: Message
    policy: QueuePolicy
    channel_for: Callable[[Protocol], Channel]
    present: Present
    now: float
    found: Explanation
    to_the_site: bool = True

    async def follow(self) -> None:
        """From the queue's name to the ready queues."""
        found = self.found
        found.queue = self.message.queue_name()
        name = queuename.parse(found.queue)
        config = await self.policy.queue_config(name)
        found.queue_config = changed(config, skip=("protocol",))
        found.holds = await holds_of_queue(found.queue, config.max_message_rate, self.present.limits)
        protocol, pool = config.protocol, config.egress_pool
        table, position = None, 0
        table_name = table_name_of(self.message, config)
        if table_name is not None:
            table = await self.present.table(table_name) or RouteTable(await self.policy.route_table(table_name))
            await self._classify(table.config)
            position = await self._choose(table)
            entry = table.config.routes[position]
            protocol, pool = entry.protocol, entry.egress_pool
            found.fallback = [stage_shown(stage) for stage in table.config.fallback]
        found.on_failure = dict(consequences(config, table, found.route_class, position, self.now))
        found.options, found.secrets = changed(protocol), dict(_secrets(protocol))
        channel = self.channel_for(protocol)
        found.channel = channel.protocol_name
        await self._sources(name, channel, protocol, pool)

    async def _classify(self, config: RouteTableConfig) -> None:
        """What the table tells messages apart by, and what that makes of this one."""
        classed = await self.present.classed(config, self.message)
        self.found.route_class, self.found.class_problem = classed.name, classed.problem
        self.found.class_by = str(config.class_)

    async def _choose(self, table: RouteTable) -> int:
        """Show the routes as they stand, and which one the next message of this class would get."""
        found, config = self.found, table.config
        found.route_table = config.name
        pinned = pin_of(self.message)
        names = [route.name for route in config.routes]
        found.pinned = pinned is not None
        key = sticky_key(config, self.message)
        chosen, owed = table.would_choose(found.route_class, self.now, key)
        if pinned is not None:
            chosen, found.draw = position_of(config, pinned), "pinned by meta.route"
        elif key is not None:
            found.draw = f"what has {config.sticky_by} '{key}' stays there as long as the shares do"
        else:
            found.draw = f"it is owed most: {', '.join(f'{n} {o:.2f}' for n, o in zip(names, owed, strict=True))}"
        total = sum(route.weight for route in config.routes)
        for position, route in enumerate(config.routes):
            shown = table.shown(found.route_class, position, self.now)
            found.routes.append(
                RouteShown(
                    route.name,
                    route.protocol.channel,
                    round(route.weight / total, 4),
                    round(shown.share, 4),
                    round(shown.health, 4),
                    round(shown.samples, 1),
                    shown.breaker.value,
                    position == chosen,
                    round(owed[position], 4),
                    await self._budgets(config.name, route),
                    _lately(table.tallies.lately(found.route_class, position, self.now)),
                )
            )
        return chosen

    async def _budgets(self, table: str, route: RouteEntry) -> list[str]:
        if self.present.limits is None:
            return [describe(budget) for budget in route.budgets]
        return await left_of(self.present.limits, self.message, table, route)

    async def _sources(self, name: QueueName, channel: Channel, protocol: Protocol, pool_name: str | None) -> None:
        found = self.found
        found.pool = pool_name or UNSPECIFIED
        pool = await self.policy.egress_pool(found.pool)
        if channel.delivers_at_once:
            return
        if not self.to_the_site:
            found.sources.extend(SourceShown(entry.name, entry.weight, "") for entry in pool.entries)
            return
        try:
            site = await channel.site_name(name.delivery_domain)
        except KumotwistError as error:
            found.problem = f"the site of {name.delivery_domain} is not known: {error}"
            return
        for entry in pool.entries:
            source = await self.policy.egress_source(entry.name)
            found.sources.append(await self._source(name, channel, protocol, site, source, entry.weight))

    async def _source(
        self, name: QueueName, channel: Channel, protocol: Protocol, site: str, source: SourceConfig, weight: int
    ) -> SourceShown:
        ready = f"{source.name}->{site}@{channel.protocol_name}"
        try:
            path = await self.policy.egress_path(name.delivery_domain, source.name, site)
        except KumotwistError as error:
            return SourceShown(source.name, weight, ready, problem=str(error))
        holds = await holds_of_ready(self.present.ready(ready, protocol), self.present.limits, self.now)
        return SourceShown(source.name, weight, ready, dict(_limits(path)), holds)


def _lately(lately: Lately) -> LatelyShown:
    return LatelyShown(
        round(lately.handed_over, 1),
        round(lately.transient, 1),
        round(lately.permanent, 1),
        {state: round(count, 1) for state, count in lately.receipts.items()},
        _seconds(lately.to_handover),
        _seconds(lately.to_receipt),
    )


def _seconds(timing: Timing) -> tuple[float | None, float | None]:
    median, most = timing.quantile(0.5), timing.quantile(0.95)
    return (
        round(median, 3) if median is not None else None,
        round(most, 3) if most is not None else None,
    )


def changed(options: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options that are not at their defaults, as text; key sources by name only."""
    found = {}
    kind: type = type(options)
    hints = _hints(kind)
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        if field.name not in skip and value != default:
            is_span = isinstance(value, float) and Duration in (hints[field.name], *typing.get_args(hints[field.name]))
            found[option_name(field)] = format_duration(value) if is_span else _plain(value)
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of its options; to find them takes 100 microseconds, and replays ask a million times."""
    return typing.get_type_hints(kind)


def _plain(value: object) -> Any:
    if isinstance(value, (FileKey, LiteralKey, EnvironmentKey, EventKey, VaultKey)):
        return f"({_named(value)})"
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if attrs.has(type(value)):
        return changed(value)
    return str(value)


def _secrets(options: Any) -> Iterator[tuple[str, str]]:
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        if isinstance(value, (FileKey, LiteralKey, EnvironmentKey, EventKey, VaultKey)):
            yield option_name(field), _named(value)


def _named(source: object) -> str:
    """Where a secret comes from."""
    match source:
        case FileKey():
            return f"file {source.path}"
        case EnvironmentKey():
            return f"environment variable {source.env}"
        case EventKey():
            return f"event {source.event_name}"
        case VaultKey():
            return f"Vault {source.vault_mount}/{source.vault_path}, key {source.vault_key}"
    return "given in the policy"


def _limits(path: PathConfig) -> Iterator[tuple[str, str]]:
    yield "connection_limit", str(path.connection_limit)
    yield "max_ready", str(path.max_ready)
    for name in ("max_message_rate", "max_connection_rate", "source_selection_rate"):
        rate = getattr(path, name)
        if rate is not None:
            yield name, str(rate)
    for name, limit in path.additional_connection_limits.items():
        yield f"connection_limit {name}", str(limit)
    for name, throttle in path.additional_message_rate_throttles.items():
        yield f"message rate {name}", str(throttle)
