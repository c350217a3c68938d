"""The rules of a fallback: what becomes of a message on a stage, by what is known of it and the time.

A stage is used when what came before it has not reached the stage's
`until_state` within its `wait`, or has ended badly. Everything here is a
function of a table's options, the message's course and what receipts have
said; `Stages` and `Steps` do what it decides.

Public: `Step`, `Decision`, `begun`, `on_stage`, `released`, `renewed`, `decide`. Nothing can go wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from kumotwist.config.routes import FallbackStage, RouteTableConfig
from kumotwist.core.course import Course, Failure
from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import Heard, ReceiptState
from kumotwist.core.units import format_duration

#: Reasons as records and metrics have them.
NOT_HANDED_OVER: Final = "not_handed_over"
NO_RECEIPT: Final = "no_receipt"
FAILED_RECEIPT: Final = "failed_receipt"
REFUSED: Final = "refused"
EXPIRED: Final = "expired"
CANCELLED: Final = "cancelled"
SPLIT: Final = "split"
#: Policy calls the stage otherwise now; it has no such stage any more.
RENAMED: Final = "renamed"
GONE: Final = "gone"

#: What must have been reached, each a part of those behind it.
_RANKS: Final = {"handed_over": 1, "delivered": 2, "opened": 3, "clicked": 4}
#: How far a receipt says that the message has come.
_REACHED: Final = {
    ReceiptState.ACCEPTED: 1,
    ReceiptState.DEFERRED: 1,
    ReceiptState.DELIVERED: 2,
    ReceiptState.OPENED: 3,
    # Who complains or unsubscribes has seen it.
    ReceiptState.COMPLAINED: 3,
    ReceiptState.UNSUBSCRIBED: 3,
    ReceiptState.CLICKED: 4,
}
_LOST: Final = frozenset((ReceiptState.FAILED, ReceiptState.EXPIRED))


class Step(enum.Enum):
    """What comes next."""

    #: It goes out by the stage that it is on.
    GO = "go"
    #: It has been handed over; until the deadline there may be a receipt.
    WAIT = "wait"
    #: On to the next stage.
    NEXT = "next"
    #: It has got where it should, or there is nothing more to be done.
    END = "end"
    #: It has ended badly, and there is no stage any more.
    LOST = "lost"


@frozen
class Decision:
    """The step, and why: a word and the evidence, "" where nobody need be told."""

    step: Step
    reason: str = ""
    evidence: str = ""
    stage: FallbackStage | None = None


def begun(config: RouteTableConfig, now: float, origin: SpoolId | None = None) -> Course:
    """The course of a message whose turn on a table with a fallback has come."""
    return _with_next(Course(table=config.name, since=now, origin=origin), config.fallback)


def on_stage(config: RouteTableConfig, course: Course, stage: FallbackStage, due: float) -> Course:
    """The course on the next stage, which begins when it is `due`."""
    moved = Course(
        table=course.table,
        stage=stage.route_table,
        since=due,
        origin=course.origin,
        beside=course.beside,
        passed=(*course.passed, course.at),
        was_handed_over=course.was_handed_over or course.is_handed_over,
    )
    return _with_next(moved, config.fallback)


def released(course: Course) -> Course:
    """The course of what stays on its stage while the next begins alongside."""
    return evolve(course, is_released=True, deadline=None, until="", origin=None, beside=())


def renewed(config: RouteTableConfig, course: Course, now: float) -> Course | None:
    """The course by the table's present options; None when these have neither its stage nor one in its place.

    A clock that was put back does not make a stage begin in the future.
    """
    if course.is_released:
        return course
    names = [stage.route_table for stage in config.fallback]
    if course.stage is not None and course.stage not in names:
        found = _replaced(course, names)
        if found is None:
            return None
        course = found
    is_early = course.since > now and not course.is_handed_over
    return _with_next(evolve(course, since=now) if is_early else course, config.fallback)


def _replaced(course: Course, names: Sequence[str]) -> Course | None:
    """The course of a message whose stage is gone, now that the stages have these names.

    What stands in its place is the same stage, renamed, if it is as much the
    last one as that was, and the message has not been there. Else it is the one
    that came next: due at once, or when no receipt comes.
    """
    place = len(course.passed) - 1
    if not 0 <= place < len(names) or names[place] in course.passed:
        return None
    if (course.deadline is None) is (place == len(names) - 1):
        return evolve(course, stage=names[place])
    before, failure = names[place - 1] if place else None, course.failure
    if failure is None and not course.is_handed_over:
        failure = Failure(GONE, f"policy has no {course.at} any more")
    return evolve(course, stage=before, passed=course.passed[:-1], failure=failure)


def decide(config: RouteTableConfig, course: Course, heard: Sequence[Heard], now: float) -> Decision:
    """What becomes of a message; `course` is `renewed`."""
    if course.is_released:
        return Decision(Step.GO)
    stages = config.fallback
    at = _position(course, stages)
    tables = (course.table, *(stage.route_table for stage in stages))
    # A receipt may name a table as it was called before: it is about what the message was on when it came.
    heard = [one if one.table in tables else evolve(one, table=None) for one in heard]
    for earlier, before in enumerate(stages[: at + 1]):
        state = _reached(heard, tables[earlier], before.until_state)
        if state is not None:
            is_late = earlier < at or course.failure is not None
            return Decision(Step.END, CANCELLED if is_late else "", f"{state.value} by {tables[earlier]}")
    stage = stages[at] if at < len(stages) else None
    if course.failure is not None:
        step = Step.NEXT if stage is not None else Step.LOST
        return Decision(step, course.failure.reason, course.failure.text, stage)
    if stage is None:
        return Decision(Step.END if course.is_handed_over else Step.GO)
    if course.is_handed_over:
        return _awaited(course, stage, heard, now)
    if now >= course.since + stage.wait:
        return Decision(Step.NEXT, NOT_HANDED_OVER, f"not handed over within {format_duration(stage.wait)}", stage)
    return Decision(Step.GO)


def _awaited(course: Course, stage: FallbackStage, heard: Sequence[Heard], now: float) -> Decision:
    """What becomes of a message that has been handed over, and of which not enough has been heard."""
    for one in heard:
        # One that names no table is about what the message was on when it came.
        if one.state in _LOST and (one.table == course.at or (one.table is None and one.noted >= course.since)):
            return Decision(Step.NEXT, FAILED_RECEIPT, f"a receipt says {one.state.value}", stage)
    if now >= course.since + stage.wait:
        text = f"no receipt says {stage.until_state} within {format_duration(stage.wait)}"
        return Decision(Step.NEXT, NO_RECEIPT, text, stage)
    return Decision(Step.WAIT)


def _reached(heard: Sequence[Heard], table: str, until: str) -> ReceiptState | None:
    """The state by which `table` has got as far as `until`."""
    wanted = _RANKS[until]
    for one in heard:
        if one.table in (table, None) and _REACHED.get(one.state, 0) >= wanted:
            return one.state
    return None


def _position(course: Course, stages: Sequence[FallbackStage]) -> int:
    """How many stages it has come to: 0 on the table itself."""
    names = [stage.route_table for stage in stages]
    return names.index(course.stage) + 1 if course.stage is not None else 0


def _with_next(course: Course, stages: Sequence[FallbackStage]) -> Course:
    at = _position(course, stages)
    if at >= len(stages) or course.is_released:
        return evolve(course, deadline=None, until="")
    return evolve(course, deadline=course.since + stages[at].wait, until=stages[at].until_state)
