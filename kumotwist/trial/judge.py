"""Where a policy would send a message of which only a log record is left.

The decisions are the real ones: the handler of reception, if it is to run,
and then what `kumotwist explain` asks, for every route of a table in turn.
Where a table or pool has a choice, each place has its share.

Public: `Judge`, `Verdict`. What can go wrong is the verdict's `problem`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, evolve, field, frozen

from kumotwist.admin.reception import see_again
from kumotwist.config.egress import UNSPECIFIED
from kumotwist.config.queue import Protocol
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core import queuename
from kumotwist.core.address import parse_address
from kumotwist.core.ids import SpoolId, from_hex
from kumotwist.core.interfaces import Channel, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.lua.policy import Policy
from kumotwist.queue.explain import explain_way
from kumotwist.queue.present import NOTHING
from kumotwist.queue.routes.balance import by_key
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.scheduled import NULL_QUEUE
from kumotwist.queue.shown import Explanation
from kumotwist.trial.pastlog import Ending, Place

#: Answers that are remembered. Ours: a queue each, as many as a sender to the world has in a day or so.
_REMEMBERED: Final = 65_536
#: The handlers that can run, by what the log calls the way in.
_INTAKES: Final[Mapping[str | None, str]] = {"ESMTP": "smtp", "HTTP": "http"}


@frozen
class Verdict:
    """The queue, and each place with its share; without places, why there are none.

    With `sticky` a table keeps what has the same key on one route: its places are those of that route.
    """

    queue: str
    ways: tuple[tuple[Place, float], ...] = ()
    rejected: str = ""
    problem: str = ""
    sticky: RouteTableConfig | None = None


@define(eq=False)
class Judge:
    """Asks `policy`; its handlers of reception too, if they are given. `now` gives Unix seconds."""

    policy: QueuePolicy
    channel_for: Callable[[Protocol], Channel]
    now: Callable[[], float]
    handlers: Policy | None = None
    #: Whether a table's budget may send a message by another route.
    has_passing_budgets: bool = field(default=False, init=False)
    _known: OrderedDict[tuple[str, str, str, str], Verdict] = field(factory=OrderedDict, init=False)

    async def ask(self, ending: Ending) -> Verdict:
        """Where it would go. Raises ValueError when the record does not make a message."""
        message = _message(ending)
        intake = _INTAKES.get(ending.reception_protocol)
        if self.handlers is not None and intake is not None:
            seen = await see_again(message, self.handlers, intake == "smtp")
            if not seen.is_taken_in:
                return Verdict("", rejected=seen.handlers[-1].rejected, problem=seen.handlers[-1].problem)
        try:
            queue = message.queue_name()
        except ValueError as error:
            return Verdict("", problem=str(error))
        if queue == NULL_QUEUE:
            return Verdict(queue, rejected="queue null throws it away")
        key = (queue, _text(message, "route_table"), _text(message, "route"), ending.route_table)
        verdict = self._known.pop(key, None)
        if verdict is None:
            verdict = await self._follow(evolve(message, meta=dict(message.meta)), queue, ending.route_table)
        self._known[key] = verdict
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return _kept_by_key(verdict, message)

    async def _follow(self, message: Message, queue: str, went_by: str) -> Verdict:
        way = await self._explain(message)
        if any(stage.route_table == went_by for stage in way.fallback):
            # What comes before did not succeed at the time; it is taken not to now.
            message.meta["route_table"] = went_by
            message.meta.pop("route", None)
            way = await self._explain(message)
        if way.problem:
            return Verdict(queue, problem=way.problem)
        if not way.routes:
            return Verdict(queue, tuple(_places(way, "", 1.0)))
        if way.pinned:
            return Verdict(queue, tuple(_places(way, _text(message, "route"), 1.0)))
        ways: list[tuple[Place, float]] = []
        for route in way.routes:
            if route.resting > 0.0:
                message.meta["route"] = route.name
                pinned = await self._explain(message)
                if pinned.problem:
                    return Verdict(queue, problem=pinned.problem)
                ways += _places(pinned, route.name, route.resting)
        table = await self.policy.route_table(way.route_table)
        budgets = [budget for route in table.routes for budget in route.budgets]
        self.has_passing_budgets = self.has_passing_budgets or any(one.over == "next_route" for one in budgets)
        return Verdict(queue, tuple(ways), sticky=table if table.sticky_by is not None else None)

    async def _explain(self, message: Message) -> Explanation:
        return await explain_way(message, self.policy, self.channel_for, NOTHING, self.now(), to_the_site=False)


def _kept_by_key(verdict: Verdict, message: Message) -> Verdict:
    """The places of the route on which the message's key stays, where the table has sticky keys."""
    key = sticky_key(verdict.sticky, message) if verdict.sticky is not None else None
    if verdict.sticky is None or key is None:
        return verdict
    names, shares = [route.name for route in verdict.sticky.routes], verdict.sticky.resting_shares
    at = by_key(key, names, shares)
    ways = [(place, share / shares[at]) for place, share in verdict.ways if place.route == names[at]]
    return evolve(verdict, ways=tuple(ways))


def _places(way: Explanation, route: str, share: float) -> list[tuple[Place, float]]:
    """The place of each source of the pool with its part of `share`."""
    weights = {one.source: one.weight for one in way.sources if one.weight > 0} or {UNSPECIFIED: 1}
    total = sum(weights.values())
    return [
        (Place(way.channel, way.route_table, route, source), share * weight / total)
        for source, weight in weights.items()
    ]


def _text(message: Message, name: str) -> str:
    value = message.meta.get(name)
    return value if isinstance(value, str) else ""


def _message(ending: Ending) -> Message:
    """The message as far as the log kept it: what its queue's name says stands in for metadata that was not kept."""
    recipients = tuple(parse_address(one) for one in ending.recipients)
    if not recipients:
        raise ValueError("it has no recipient")
    message = Message(_id(ending.id), parse_address(ending.sender), recipients, dict(ending.meta), _head(ending))
    name = queuename.parse(ending.queue)
    for key in ("tenant", "campaign", "routing_domain"):
        if getattr(name, key) is not None:
            message.meta.setdefault(key, getattr(name, key))
    try:
        is_known = message.queue_name() == ending.queue
    except ValueError:
        return message
    if not is_known:
        message.meta["queue"] = ending.queue
    return message


def _id(text: str) -> SpoolId:
    try:
        return from_hex(text)
    except ValueError:
        raise ValueError(f"{text!r} is no message's id") from None


def _head(ending: Ending) -> bytes:
    """The headers that were kept, and no body."""
    lines = [
        f"{name}: {' '.join(value.splitlines())}\r\n"
        for name, values in ending.headers.items()
        for value in _all(values)
    ]
    return "".join([*lines, "\r\n"]).encode("utf-8", "replace")


def _all(values: Any) -> list[str]:
    return [str(one) for one in values] if isinstance(values, list) else [str(values)]
