"""An explanation as people read it.

Public: `as_text`. `kumotwist explain` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kumotwist.admin.explanation import MessageShown, Told
from kumotwist.core.schedule import format_rfc3339
from kumotwist.queue.shown import Explanation, LatelyShown, Leg, RouteShown
from kumotwist.trial.plaintext import for_people

#: Characters of a change that are shown. Ours: a header may have thousands; --json has all.
_MAX_CHANGE: Final = 300
_OUTAGE: Final = (
    "all routes fail; messages go by the resting shares, each as a trial, and what fails counts against no route until "
    "one is well again"
)


def as_text(told: Told) -> str:
    """For people."""
    return for_people(
        (*_handlers(told), *_queued(told), *(_way(told.way, told.message) if told.way is not None else ()))
    )


def _handlers(told: Told) -> Iterator[str]:
    message = told.message
    yield f"message      from {message.sender or '<>'} to {', '.join(message.recipients)}, {message.octets:,} octets"
    for handler in told.handlers:
        about = f" about {handler.about}" if handler.about else ""
        yield f"handler      {handler.event} ({handler.source}){about}"
        yield from (f"               {_cut(change)}" for change in handler.changes)
        if handler.rejected:
            yield f"               rejects it: {handler.rejected}"
        if handler.problem:
            yield f"               fails: {handler.problem}"
    yield from (f"refused      {refused}" for refused in told.refused)


def _queued(told: Told) -> Iterator[str]:
    """Where a message of a queue is, and what comes next."""
    queued = told.queued
    if queued is None:
        return
    yield f"in the queue {queued.id}, taken in at {_moment(queued.created)}, {queued.attempts} attempts so far"
    course = queued.course
    if course is not None:
        until = f", until {course.until_state}, or the next at {_moment(course.deadline)}" if course.deadline else ""
        on = f"on the fallback of {course.table}: on {course.stage}"
        yield f"               {on} since {_moment(course.since)}{until}"
    yield f"               {queued.next}"


def _moment(seconds: float) -> str:
    """In UTC, to the second."""
    return format_rfc3339(float(round(seconds)))


def _cut(change: str) -> str:
    return change if len(change) <= _MAX_CHANGE else f"{change[:_MAX_CHANGE]}… ({len(change):,} characters)"


def _way(way: Explanation, message: MessageShown) -> Iterator[str]:
    yield f"queue        {way.queue}"
    yield from (f"               {name} = {_value(value)}" for name, value in way.queue_config.items())
    yield from (f"               held up now: {hold}" for hold in way.holds)
    own = message.meta.get("route_table")
    if way.route_table and way.route_table == own != way.queue_config.get("route_table"):
        yield f"               goes by table {way.route_table} all the same, since meta.route_table says so"
    yield from _leg(way)
    for number, stage in enumerate(way.fallback, 1):
        yield f"then {number:<8}route table {stage.route_table}, when {stage.when}"
        yield from _leg(stage)
    yield from (f"warning      {warning}" for warning in way.warnings)


def _leg(leg: Leg) -> Iterator[str]:
    if leg.routes:
        class_ = f"{leg.route_class or 'all'} (by {leg.class_by})"
        yield f"route table  {leg.route_table}, where the message is of class {class_}"
    if leg.class_problem:
        yield f"               class fails: {leg.class_problem}"
    for route in leg.routes:
        yield from _route(route)
    if leg.is_outage:
        yield f"               outage: {_OUTAGE}"
    if leg.draw:
        chosen = next(route.name for route in leg.routes if route.is_chosen)
        yield f"               the next message goes by {chosen}: {leg.draw}"
    if leg.channel:
        yield f"channel      {leg.channel}"
        yield from (f"               {name} = {_value(value)}" for name, value in leg.options.items())
    yield from (f"secret       {name}: {where}" for name, where in leg.secrets.items())
    if leg.pool:
        yield f"pool         {leg.pool}"
    for source in leg.sources:
        yield f"source       {source.source} (weight {source.weight}), ready queue {source.ready_queue}"
        yield from (f"               {name}: {limit}" for name, limit in source.limits.items())
        yield from (f"               held up now: {hold}" for hold in source.holds)
        if source.problem:
            yield f"               fails: {source.problem}"
    if leg.problem:
        yield f"problem      {leg.problem}"
    for one in leg.on_failure:
        yield f"if           {one.what}"
        yield f"               {one.then}"


def _value(value: Any) -> str:
    """An option's value; those of tables by name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{name} = {_value(one)}" for name, one in value.items())
    return str(value)


def _route(route: RouteShown) -> Iterator[str]:
    mark = "->" if route.is_chosen else "  "
    shown = f"{route.name}: {route.resting:.1%} by weight, {route.share:.1%} now, {_evidence(route)}"
    yield f"          {mark}   {shown}{_breaker(route)}"
    yield from (f"                 of late: {text}" for text in _lately(route.lately))
    yield from (f"                 budget {budget}" for budget in route.budgets)
    yield from (f"                 held up now: {hold}" for hold in route.holds)


def _evidence(route: RouteShown) -> str:
    return f"{route.health:.1%} of {route.samples:.0f} went well" if route.samples else "nothing learned yet"


def _breaker(route: RouteShown) -> str:
    if route.breaker == "closed":
        return ""
    if route.breaker == "trial":
        return "; its breaker is open, a trial message is on its way"
    soon = f"the next trial is in {route.trial_in:.0f} s" if route.trial_in else "a trial message is due"
    return f"; its breaker is open, {soon}{f': {route.account_rests}' if route.account_rests else ''}"


def _lately(lately: LatelyShown | None) -> Iterator[str]:
    """What there is of outcomes and of receipts, a line each."""
    if lately is None:
        return
    if lately.handed_over or lately.transient or lately.permanent:
        counts = (
            f"{lately.handed_over:.0f} handed over, {lately.transient:.0f} transient, {lately.permanent:.0f} permanent"
        )
        yield f"{counts}{_took(lately.handover_seconds)}"
    if lately.receipts:
        counts = ", ".join(f"{count:.0f} {state}" for state, count in lately.receipts.items())
        yield f"receipts {counts}{_took(lately.receipt_seconds)}"


def _took(seconds: tuple[float | None, float | None]) -> str:
    median, most = seconds
    return f"; half within {median:.3g} s, 95 % within {most:.3g} s" if median is not None and most is not None else ""
