"""An explanation as people read it.

Public: `as_text`. `kumotwist explain` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator

from kumotwist.admin.explanation import Told
from kumotwist.queue.explain import Explanation, LatelyShown


def as_text(told: Told) -> str:
    """For people."""
    return "\n".join((*_handlers(told), *(_way(told.way) if told.way is not None else ()), ""))


def _handlers(told: Told) -> Iterator[str]:
    yield f"message      from {told.message['sender']} to {', '.join(told.message['recipients'])}"
    for handler in told.handlers:
        yield f"handler      {handler.event} ({handler.source})"
        yield from (f"               {change}" for change in handler.changes)
        if handler.rejected:
            yield f"               rejected: {handler.rejected}"
        if handler.problem:
            yield f"               failed: {handler.problem}"


def _way(way: Explanation) -> Iterator[str]:
    yield f"queue        {way.queue}"
    yield from (f"               {name} = {value}" for name, value in way.queue_config.items())
    yield from (f"               held up: {hold}" for hold in way.holds)
    if way.route_table:
        yield f"route table  {way.route_table}, class {way.route_class or 'all'} (by {way.class_by})"
        if way.class_problem:
            yield f"               failed: {way.class_problem}"
    for route in way.routes:
        mark = "->" if route.is_chosen else "  "
        evidence = f"health {route.health:.1%} of {route.samples:.0f}" if route.samples else "no evidence"
        yield (
            f"          {mark} {route.name}: rests at {route.resting:.1%}, has {route.share:.1%}, {evidence}, "
            f"breaker {route.breaker}"
        )
        yield from (f"               of late: {text}" for text in _lately(route.lately))
        yield from (f"               budget {budget}" for budget in route.budgets)
    if way.draw:
        yield f"             the next one goes there: {way.draw}"
    yield from (f"fallback     {stage}" for stage in way.fallback)
    if way.channel:
        yield f"channel      {way.channel}"
        yield from (f"               {name} = {value}" for name, value in way.options.items())
    yield from (f"secret       {name}: {where}" for name, where in way.secrets.items())
    if way.pool:
        yield f"pool         {way.pool}"
    for source in way.sources:
        yield f"source       {source.source} (weight {source.weight}), ready queue {source.ready_queue}"
        yield from (f"               {name}: {limit}" for name, limit in source.limits.items())
        yield from (f"               held up: {hold}" for hold in source.holds)
        if source.problem:
            yield f"               failed: {source.problem}"
    yield from (f"if           {what}: {then}" for what, then in way.on_failure.items())
    if way.problem:
        yield f"problem      {way.problem}"


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
