"""Which route of a table a message would get: the part of an explanation that looks at the routes.

The way is that of `Promoter`: the balance chooses, a pin decides before it, and
a budget that is used up may send the message on to the next route of the same
attempt. Nothing is counted, taken, moved or told: a share that has become another one is
told of when the next message goes by it.

Public: `pick`. What can go wrong: PolicyError for a pin to a route that the table has not. Budgets that cannot be
read are said to hold the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve

from kumotwist.config.routes import OverBudget, RouteEntry
from kumotwist.core.errors import StateUnavailable
from kumotwist.core.message import Message
from kumotwist.queue.consequences import Picked
from kumotwist.queue.present import Present
from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.budget import Left, describe
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tallies import ALL
from kumotwist.queue.routes.tally import Lately, Timing
from kumotwist.queue.routing import kept_by, position_of
from kumotwist.queue.shown import LatelyShown, Leg, RouteShown


async def pick(
    leg: Leg, table: RouteTable, message: Message, pinned: str | None, present: Present, now: float
) -> Picked:
    """Show in `leg`, whose class is known, the routes as they stand, and which one `message` would get."""
    config, name = table.config, leg.route_class
    leg.pinned = pinned is not None
    leg.is_outage = any(table.is_outage(one) for one in (ALL, name))
    key = sticky_key(config, message)
    turn = table.would_choose(name, now, key)
    assert turn is not None  # nothing was tried
    picked, owed = Picked(table, name, turn[0]), turn[1]
    kept = kept_by(message, table, name, now, only_looks=True)
    if pinned is not None:
        picked = Picked(table, name, position_of(config, pinned), is_pinned=True)
        leg.draw = "it is pinned by meta.route"
    elif kept is not None:
        picked = Picked(table, name, kept)
        leg.draw = "it was that route's turn when it began to wait for room"
    elif len(config.routes) == 1:
        leg.draw = "it is the only route"
    elif key is not None:
        leg.draw = f"what has {config.sticky_by} '{key}' stays there as long as the shares do"
    else:
        behind = ", ".join(f"{one.name} {by:.2f}" for one, by in zip(config.routes, owed, strict=True))
        leg.draw = f"it is furthest behind its share; messages owed: {behind}"
    overs: dict[int, OverBudget] = {}
    ranks: dict[int, float] = {}
    for position, route in enumerate(config.routes):
        shown, left = _shown(table, name, position, now), await _budgets(message, config.name, route, present)
        shown.owed, shown.budgets, shown.holds = round(owed[position], 4), left.budgets, left.used_up
        leg.routes.append(shown)
        if left.over is not None:
            overs[position], ranks[position] = left.over.budget.over, left.rank
    picked = _past_budgets(leg, evolve(picked, overs=overs), ranks, message, key, now)
    leg.routes[picked.position].is_chosen = True
    return picked


def _past_budgets(
    leg: Leg, picked: Picked, ranks: Mapping[int, float], message: Message, key: str | None, now: float
) -> Picked:
    """Where the attempt ends up that begins with `picked`; `ranks` of routes without room are by `Budgets.rank`."""
    table, turn = picked.table, picked.position
    names = [route.name for route in table.config.routes]
    while picked.overs.get(picked.position) == "next_route" and not picked.is_pinned:
        tried = picked.tried
        before = [names[position] for position in tried]
        kept = kept_by(message, table, picked.class_, now, before, only_looks=True)
        drawn = table.would_choose(picked.class_, now, key, tried)
        if drawn is None:
            break
        picked = evolve(picked, position=drawn[0] if kept is None else kept, passed=tried)
    if picked.overs.get(picked.position) in ("hold", "next_route"):
        where = min(picked.tried, key=lambda position: ranks[position])
        picked = evolve(picked, position=where, passed=tuple(one for one in picked.tried if one != where))
    passed = ", ".join(names[position] for position in picked.passed)
    if picked.passed and picked.position == turn:
        leg.draw = f"{leg.draw}; it waits there, since the budget of {passed} is used up as well"
    elif picked.passed:
        leg.draw = f"it would be the turn of {names[turn]} ({leg.draw}), but the budget of {passed} is used up"
    return picked


async def _budgets(message: Message, table: str, route: RouteEntry, present: Present) -> Left:
    """What is left for the message; for the first of several recipients where there is no room for all of them."""
    if present.budgets is None:
        return Left([describe(budget) for budget in route.budgets], [])
    try:
        left = await present.budgets.left_of(message, table, route)
        if left.over is not None and len(message.recipients) > 1:
            alone = evolve(message, recipients=message.recipients[:1])
            left = evolve(left, over=(await present.budgets.left_of(alone, table, route)).over)
        return left
    except StateUnavailable as error:
        return Left([describe(budget) for budget in route.budgets], [f"what its budgets have left: {error}"])


def _shown(table: RouteTable, class_: str, position: int, now: float) -> RouteShown:
    """One route, whether it is chosen or not."""
    route, shown = table.config.routes[position], table.shown(class_, position, now)
    breaker, trial_in = _breaker([table.breaker(one, position) for one in (ALL, class_)], now)
    return RouteShown(
        route.name,
        route.protocol.channel,
        round(table.config.resting_shares[position], 4),
        round(shown.share, 4),
        round(shown.health, 4),
        round(shown.samples, 1),
        breaker.value,
        trial_in,
        account_rests=_rest(table.breaker(ALL, position), now),
        lately=_lately(table.tallies.lately(class_, position, now)),
    )


def _rest(breaker: Breaker, now: float) -> str:
    return str(breaker.rest) if breaker.rest is not None and breaker.rest.left(now) else ""


def _breaker(breakers: Sequence[Breaker], now: float) -> tuple[State, float | None]:
    """Breakers that a message has to pass, as one; with an open one, the seconds until they let a trial through."""
    if any(one.state is State.TRIAL and not one.allows(now) for one in breakers):
        return State.TRIAL, None
    if all(one.state is State.CLOSED for one in breakers):
        return State.CLOSED, None
    shut = [one.open_until - now for one in breakers if not one.allows(now)]
    return State.OPEN, round(max(shut, default=0.0), 1)


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
