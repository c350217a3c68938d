"""What would happen next to a message, by the kind of failure: the part of an explanation that looks ahead.

Public: `consequences`, `stage_shown`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry
from kumotwist.core.outcome import SOURCE_REST
from kumotwist.core.units import format_duration
from kumotwist.queue.retry import backoff
from kumotwist.queue.routes.table import RouteTable

#: Retries whose delays are shown.
_RETRIES: Final = 6
_OVER: Final = {
    "hold": "waits, uncharged, until there is room",
    "reject": "bounced with 550",
    "next_route": "at once over a route that has room; without one it waits",
}


def consequences(
    config: QueueConfig, table: RouteTable | None, class_: str, position: int, now: float
) -> Iterator[tuple[str, str]]:
    """Kinds of failure, and what each leads to, for a message that goes by the route at `position` of `table`."""
    delays = ", ".join(format_duration(float(backoff(config, attempts))) for attempts in range(_RETRIES))
    stage = table.config.fallback[0] if table is not None and table.config.fallback else None
    later = f"again after {delays}, …; {_end_of_retries(config, stage)}"
    elsewhere = _elsewhere(table, class_, position, now) if table is not None else ""
    yield "recipient refused for good", f"by route table {stage.route_table} at once" if stage else "bounced"
    yield "recipient refused for now", later
    yield "no connection, server at fault", f"{elsewhere}{later}"
    rest = format_duration(SOURCE_REST)
    yield "account at fault or rate used up", f"{elsewhere}all of the ready queue waits {rest} or as told, uncharged"
    goes_on = table is not None and elsewhere and table.config.next_when_unknown
    unknown = f"{elsewhere}as the channel's on_unknown says" if goes_on else "as the channel's on_unknown says"
    yield "no reply to what was sent", f"{unknown}, for SMTP: again"
    if table is not None:
        yield from _of_budgets(table.config.routes[position], stage)
    if stage is not None:
        yield from _of_stage(stage)


def stage_shown(stage: FallbackStage) -> str:
    """A stage in words."""
    beside = ", alongside what comes before" if stage.alongside else ""
    return f"{stage.route_table}, unless {stage.until_state} within {format_duration(stage.wait)}{beside}"


def _end_of_retries(config: QueueConfig, stage: FallbackStage | None) -> str:
    """What comes after the last retry: the deadline of the stage, or old age, whichever is first."""
    if stage is not None and (config.max_age <= stage.wait or not stage.alongside):
        return f"by route table {stage.route_table} at {format_duration(min(config.max_age, stage.wait))}"
    return f"expired at {format_duration(config.max_age)}"


def _elsewhere(table: RouteTable, class_: str, position: int, now: float) -> str:
    if table.config.on_failure != "next_route":
        return ""
    others = table.others(class_, position, now)
    return f"at once over {' or '.join(others)}; if that fails, " if others else "no other route is in order; "


def _of_budgets(entry: RouteEntry, stage: FallbackStage | None) -> Iterator[tuple[str, str]]:
    for over in dict.fromkeys(budget.over for budget in entry.budgets):
        # A refusal is not the end while a stage lies ahead, whoever refuses.
        then = f"by route table {stage.route_table} at once" if stage is not None and over == "reject" else _OVER[over]
        yield f"a budget of {entry.name} ({over}) is used up", then


def _of_stage(stage: FallbackStage) -> Iterator[tuple[str, str]]:
    wait, to = format_duration(stage.wait), f"by route table {stage.route_table}"
    stays = " as well" if stage.alongside else ", and no longer this way"
    yield f"not handed over within {wait}", f"{to}{stays}"
    if stage.until_state != "handed_over":
        yield f"handed over, and no receipt says {stage.until_state} within {wait}", to
        yield "a receipt says that it failed", f"{to} at once"
