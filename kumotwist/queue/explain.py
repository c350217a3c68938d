"""Why a message would go the way it would: every decision between intake and the wire, without taking it.

Asks policy what the queue would ask and looks at what is known, but places,
counts and learns nothing. Used by `kumotwist explain` on a policy alone, and by
the HTTP API on a running daemon, where shares and health are the real ones.

Public: `explain_way`. What can go wrong is part of the answer: a `problem`
where a question had no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
from twisted.internet.defer import CancelledError

from kumotwist.config.egress import UNSPECIFIED, SourceConfig
from kumotwist.config.queue import Protocol, QueueConfig, SmtpProtocol
from kumotwist.config.routes import FallbackStage, RouteTableConfig
from kumotwist.core import queuename
from kumotwist.core.course import Course
from kumotwist.core.errors import KumotwistError
from kumotwist.core.interfaces import Channel, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.queuename import QueueName
from kumotwist.core.schedule import format_rfc3339
from kumotwist.queue.consequences import AT_THE_BEGINNING, Past, consequences, takes_over_when, without_a_way
from kumotwist.queue.fallback.rules import renewed
from kumotwist.queue.foreseen import pick
from kumotwist.queue.optiontext import changed, limits_of, secrets_of
from kumotwist.queue.present import Present, holds_of_queue, holds_of_ready, holds_of_schedule
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routing import pin_of, table_name_of
from kumotwist.queue.scheduled import NULL_CONFIG, NULL_QUEUE
from kumotwist.queue.shown import Explanation, Leg, SourceShown, Stage


async def explain_way(
    message: Message,
    policy: QueuePolicy,
    channel_for: Callable[[Protocol], Channel],
    present: Present,
    now: float,
    to_the_site: bool = True,
) -> Explanation:
    """The way of `message` as its metadata is now, from the stage of a fallback that it is on.

    `present` is what is at work. `now` is in Unix seconds. Without `to_the_site` the way
    ends with the sources: no name is resolved, no path asked for, and stages are named only.
    """
    found = Explanation()
    try:
        found.queue = message.queue_name()
        name = queuename.parse(found.queue)
        config = NULL_CONFIG if found.queue == NULL_QUEUE else await policy.queue_config(name)
    except CancelledError:
        raise
    except (KumotwistError, ValueError) as error:
        found.problem = str(error)
        return found
    found.queue_config = changed(config, skip=("protocol",))
    found.holds = list(holds_of_schedule(message.schedule, now))
    found.holds += await holds_of_queue(found.queue, config.max_message_rate, present.limits)
    await _Way(message, policy, channel_for, present, now, to_the_site, name, config).follow(found)
    return found


@attrs.frozen
class _Place:
    """A table, None for none, the number of stages before it, and all stages; None while they are those of the table.

    `past` is what the message has behind it there.
    """

    table: str | None
    at: int
    stages: Sequence[FallbackStage] | None
    past: Past = AT_THE_BEGINNING


@attrs.define(eq=False)
class _Way:
    """The questions in their order, of a message whose queue is known; each answer goes into a leg."""

    message: Message
    policy: QueuePolicy
    channel_for: Callable[[Protocol], Channel]
    present: Present
    now: float
    to_the_site: bool
    name: QueueName
    config: QueueConfig

    async def follow(self, found: Explanation) -> None:
        """From the queue to the ready queues, and the same for each stage that comes after."""
        table_name, course = table_name_of(self.message, self.config), self.message.course
        place = _Place(table_name, 0, None, _past(self.message, self.now))
        if course is not None:
            try:
                place = await self._place(course)
            except CancelledError:
                raise
            except KumotwistError as error:
                found.route_table, found.problem = course.at, str(error)
                return
        found.route_table = place.table or ""
        table = await self._leg(found, place)
        stages = place.stages
        if stages is None:
            stages = table.config.fallback if table is not None else ()
        for at, stage in enumerate(stages[place.at :], place.at + 1):
            when = takes_over_when(stage)
            shown = Stage(when=when, wait=stage.wait, until_state=stage.until_state, alongside=stage.alongside)
            shown.route_table = stage.route_table
            found.fallback.append(shown)
            if self.to_the_site:
                await self._leg(shown, _Place(stage.route_table, at, stages))
        if self.to_the_site and stages:
            found.warnings = list(_warnings(found, self.message))

    async def _place(self, course: Course) -> _Place:
        """Where on its course the message's next attempt is."""
        table = await self.present.table(course.table)
        config = table.config if table is not None else await self.policy.route_table(course.table)
        stages, present = config.fallback, renewed(config, course, self.now)
        names = [course.table, *[stage.route_table for stage in stages]]
        if present is None:
            return _Place(course.table, 0, stages)  # policy has no such stage any more, and it begins anew
        if present.at not in names:
            return _Place(present.at, 0, ())  # it stays on its stage to the end
        course, at = present, names.index(present.at)
        if (course.is_handed_over or course.failure is not None) and at < len(stages):
            return _Place(stages[at].route_table, at + 1, stages)
        return _Place(course.at, at, stages[:at] if course.is_released else stages, _past(self.message, self.now))

    async def _leg(self, leg: Leg, place: _Place) -> RouteTable | None:
        """Fill in `leg`; its table, None without one."""
        table, following = None, _at(place.stages, place.at)
        try:
            if place.table is not None:
                table = await self.present.table(place.table)
                if table is None:
                    table = RouteTable(await self.policy.route_table(place.table))
                following = _at(table.config.fallback if place.stages is None else place.stages, place.at)
            await self._decide(leg, table, place, following)
        except CancelledError:
            raise
        except (KumotwistError, ValueError) as error:
            leg.problem = str(error)
        if leg.problem:
            leg.on_failure.insert(0, without_a_way(self.config, following, place.past))
        return table

    async def _decide(self, leg: Leg, table: RouteTable | None, place: _Place, following: FallbackStage | None) -> None:
        """Route, channel, sources, and what comes of failures."""
        protocol, pool, picked = self.config.protocol, self.config.egress_pool, None
        if table is not None:
            await self._classify(leg, table.config)
            pinned = pin_of(self.message) if place.at == 0 else None
            picked = await pick(leg, table, self.message, pinned, self.present, self.now)
            protocol, pool = picked.entry.protocol, picked.entry.egress_pool
        leg.on_failure = list(consequences(self.config, picked, self.now, protocol, following, place.past))
        leg.options, leg.secrets = changed(protocol), dict(secrets_of(protocol))
        channel = self.channel_for(protocol)
        leg.channel = channel.protocol_name
        await self._sources(leg, channel, protocol, pool)

    async def _classify(self, leg: Leg, config: RouteTableConfig) -> None:
        """What the table tells messages apart by, and what that makes of this one."""
        classed = await self.present.classed(config, self.message)
        leg.route_class, leg.class_problem = classed.name, classed.problem
        leg.class_by = str(config.class_)

    async def _sources(self, leg: Leg, channel: Channel, protocol: Protocol, pool_name: str | None) -> None:
        leg.pool = pool_name or UNSPECIFIED
        pool = await self.policy.egress_pool(leg.pool)
        if channel.delivers_at_once:
            return
        if not self.to_the_site:
            leg.sources.extend(SourceShown(entry.name, entry.weight, "") for entry in pool.entries)
            return
        try:
            site = await channel.site_name(self.name.delivery_domain)
        except KumotwistError as error:
            leg.problem = f"the site of {self.name.delivery_domain} is not known: {error}"
            return
        for entry in pool.entries:
            source = await self.policy.egress_source(entry.name)
            leg.sources.append(await self._source(leg, channel, protocol, site, source, entry.weight))

    async def _source(
        self, leg: Leg, channel: Channel, protocol: Protocol, site: str, source: SourceConfig, weight: int
    ) -> SourceShown:
        ready = f"{source.name}->{site}@{channel.protocol_name}"
        try:
            path = await self.policy.egress_path(self.name.delivery_domain, source.name, site)
        except KumotwistError as error:
            return SourceShown(source.name, weight, ready, problem=str(error))
        for name, where in (*secrets_of(source), *secrets_of(path)):
            is_of_mail = name.startswith("smtp_")
            if is_of_mail and not isinstance(protocol, SmtpProtocol):
                continue
            if leg.secrets.setdefault(name, where) != where:
                leg.secrets[f"{name} from {source.name}"] = where
        holds = await holds_of_ready(self.present.ready(ready, protocol), self.present.limits, self.now)
        return SourceShown(source.name, weight, ready, dict(limits_of(path)), holds)


def _past(message: Message, now: float) -> Past:
    """What the message has behind it where it is."""
    if message.attempts == 0 and message.course is None:
        return AT_THE_BEGINNING
    since = message.course.since if message.course is not None else message.created
    return Past(message.attempts, max(now - since, 0.0))


def _at(stages: Sequence[FallbackStage] | None, at: int) -> FallbackStage | None:
    """The stage that follows `at` others, None behind the last."""
    return stages[at] if stages is not None and at < len(stages) else None


def _warnings(found: Explanation, message: Message) -> Iterator[str]:
    """What is amiss about the stages ahead, which a message would only meet later."""
    if len(message.recipients) > 1:
        first, count = message.recipients[0].email, len(message.recipients)
        yield f"it is split into {count} messages, one for each recipient; this is the way of the one to {first}"
    if message.schedule is not None and message.schedule.expires is not None:
        yield f"it expires at {format_rfc3339(message.schedule.expires)}, as its schedule says, whatever its age"
    for stage in found.fallback:
        if not stage.routes:
            yield f"fallback names route table {stage.route_table}, which cannot be had: {stage.problem}"
