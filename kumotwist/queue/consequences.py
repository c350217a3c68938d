"""What would happen next to a message, by the kind of failure: the part of an explanation that looks ahead.

Public: `Consequence`, `Past`, `AT_THE_BEGINNING`, `Picked`, `consequences`, `without_a_way`, `takes_over_when`.
Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from attrs import frozen

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import FallbackStage, OverBudget, RouteEntry
from kumotwist.core.outcome import SOURCE_REST
from kumotwist.core.units import format_duration
from kumotwist.queue.rest import SHORT_REST
from kumotwist.queue.retry import backoff
from kumotwist.queue.routes.table import RouteTable

#: Retries whose delays are shown.
_RETRIES: Final = 6
_OVER: Final = {
    "hold": "it waits, uncharged, until there is room",
    "reject": "it is bounced with 550",
    "next_route": "at once over a route that has room; without one it waits",
}

Case = Literal[
    "refused_for_good",
    "refused_for_now",
    "no_connection",
    "account_or_rate",
    "no_reply",
    "budget_used_up",
    "not_handed_over",
    "no_receipt",
    "failed_receipt",
    "no_way",
]


@frozen
class Past:
    """Attempts that a message has behind it, and seconds since it began, both on the stage that it is on."""

    attempts: int
    seconds: float


AT_THE_BEGINNING: Final = Past(0, 0.0)


@frozen(eq=False)
class Picked:
    """The route of `table` that a message of class `class_` would go by, by position.

    `passed` are the routes that the attempt has gone on from, in their order. One that is pinned goes nowhere else.
    `overs` is what the budgets without room do, by the position of their route.
    """

    table: RouteTable
    class_: str
    position: int
    passed: tuple[int, ...] = ()
    is_pinned: bool = False
    overs: Mapping[int, OverBudget] = {}

    @property
    def entry(self) -> RouteEntry:
        """The route."""
        return self.table.config.routes[self.position]

    @property
    def tried(self) -> tuple[int, ...]:
        """All routes of the attempt, this one included."""
        return (*self.passed, self.position)


class Consequence(msgspec.Struct):
    """A kind of failure, for programs (`case`) and in words, and what it leads to."""

    case: Case
    what: str
    then: str


def consequences(
    config: QueueConfig,
    picked: Picked | None,
    now: float,
    options: Any,
    stage: FallbackStage | None,
    past: Past = AT_THE_BEGINNING,
) -> Iterator[Consequence]:
    """What each kind of failure leads to, for a message that goes by the route `picked`; None without a table.

    `options` are those of its channel, and `stage` is the next one of a fallback.
    """
    later, onward = _later(config, stage, past), _onward(stage)
    lost = f"{onward} at once" if stage is not None else "it is bounced"
    elsewhere = _elsewhere(picked, now) if picked is not None else ""
    yield Consequence("refused_for_good", "the recipient is refused for good", lost)
    yield Consequence("refused_for_now", "the recipient is refused for now", later)
    yield Consequence("no_connection", "there is no connection, or the server is at fault", f"{elsewhere}{later}")
    rest = format_duration(getattr(options, "rest", None) or SOURCE_REST)
    waits = f"all messages of its ready queue wait {rest}, or as long as the peer says; it counts as no try"
    away = elsewhere or (_past_rest(picked, now) if picked is not None else "")
    yield Consequence("account_or_rate", "the account is at fault, or its rate is used up", f"{away}{waits}")
    yield Consequence(
        "no_reply", "no reply comes to what was sent", _unanswered(options, picked, elsewhere, later, lost)
    )
    if picked is not None:
        yield from _of_budgets(picked, stage)
    if stage is not None:
        yield from _of_stage(stage)


def without_a_way(config: QueueConfig, stage: FallbackStage | None, past: Past = AT_THE_BEGINNING) -> Consequence:
    """What becomes of a message for as long as a question about its way has no answer."""
    return Consequence("no_way", "this stays as it is", f"the message waits: {_later(config, stage, past)}")


def takes_over_when(stage: FallbackStage) -> str:
    """When a stage's turn has come, in words."""
    wait = format_duration(stage.wait)
    if stage.until_state == "handed_over":
        missing = f"it has not been handed over within {wait}"
    else:
        missing = f"no receipt says {stage.until_state} within {wait}"
    beside = "; what comes before goes on trying beside it" if stage.alongside else ""
    return f"{missing}, or at once when what comes before ends badly{beside}"


def _onward(stage: FallbackStage | None) -> str:
    return f"it goes on by route table {stage.route_table}" if stage is not None else ""


def _later(config: QueueConfig, stage: FallbackStage | None, past: Past) -> str:
    """The tries that there is time for, and what comes after the last of them."""
    ends_by_stage = stage is not None and (config.max_age <= stage.wait or not stage.alongside)
    end = min(config.max_age, stage.wait) if ends_by_stage and stage is not None else config.max_age
    delays: list[str] = []
    passed = past.seconds
    while len(delays) <= _RETRIES:
        delay = float(backoff(config, past.attempts + len(delays)))
        passed += max(delay, 1.0)
        if passed > end:
            break
        delays.append(format_duration(delay))
    shown = f"{', '.join(delays[:_RETRIES])}{', …' if len(delays) > _RETRIES else ''}"
    tries = f"again after {shown}" if delays else "there is no time for another try"
    after = format_duration(end)
    left = format_duration(max(end - past.seconds, 0.0))
    return f"{tries}; {_onward(stage)} after {left}" if ends_by_stage else f"{tries}; it expires when it is {after} old"


def _elsewhere(picked: Picked, now: float) -> str:
    if picked.table.config.on_failure != "next_route":
        return ""
    if picked.is_pinned:
        return "by no other route, since it is pinned; "
    left_at_once = [position for position, over in picked.overs.items() if over == "next_route"]
    others = picked.table.others(picked.class_, (*picked.tried, *left_at_once), now)
    if not others:
        return "no other route is left; "
    full = {picked.table.config.routes[position].name: over for position, over in picked.overs.items()}
    named = [f"{one} (a budget of which is used up: {full[one]})" if one in full else one for one in others]
    return f"at once over {' or '.join(named)}; if that fails, "


def _past_rest(picked: Picked, now: float) -> str:
    """Where what would wait for more than a short rest goes on a table that has its failures tried again."""
    others = picked.table.others(picked.class_, picked.tried, now) if not picked.is_pinned else []
    if not others:
        return ""
    return f"for more than {format_duration(SHORT_REST)} at once over {' or '.join(others)}, if that is well; else "


def _unanswered(options: Any, picked: Picked | None, elsewhere: str, later: str, lost: str) -> str:
    """It may have arrived: the channel's own choice, after other routes if the table wants that."""
    choice = getattr(options, "on_unknown", "Retry")
    if choice == "AssumeDelivered":
        return "it counts as handed over (on_unknown)"
    if choice == "Bounce":
        return f"{lost} (on_unknown)"
    first = elsewhere if picked is not None and picked.table.config.next_when_unknown else ""
    return f"{first}{later}; it may arrive twice"


def _of_budgets(picked: Picked, stage: FallbackStage | None) -> Iterator[Consequence]:
    for over in dict.fromkeys(budget.over for budget in picked.entry.budgets):
        does: OverBudget = "hold" if over == "next_route" and picked.is_pinned else over
        # A refusal is not the end while a stage lies ahead, whoever refuses.
        then = f"{_onward(stage)} at once" if stage is not None and over == "reject" else _OVER[does]
        yield Consequence("budget_used_up", f"a budget of {picked.entry.name} ({over}) is used up", then)


def _of_stage(stage: FallbackStage) -> Iterator[Consequence]:
    wait, onward = format_duration(stage.wait), _onward(stage)
    stays = " as well" if stage.alongside else ", and no longer this way"
    yield Consequence("not_handed_over", f"it is not handed over within {wait}", f"{onward}{stays}")
    if stage.until_state != "handed_over":
        unheard = f"it is handed over, and no receipt says {stage.until_state} within {wait}"
        yield Consequence("no_receipt", unheard, onward)
        yield Consequence("failed_receipt", "a receipt says that it failed", f"{onward} at once")
