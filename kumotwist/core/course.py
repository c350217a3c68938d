"""The course of a message through the stages of a fallback: where it is on it, and since when.

It is kept with the message, so it is as durable as the message itself. A
message that goes by no table with `fallback` has none.

Public: `Course`, `Failure`.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kumotwist.core.ids import SpoolId
from kumotwist.core.json import JsonObject

#: Characters that are kept of why a stage failed. Ours: enough for a peer's reply (RFC 5321 s4.5.3.1.5 has 512).
MAX_TEXT: Final = 512


@frozen
class Failure:
    """Why the stage that a message is on has ended badly; `reason` is a word, `text` the evidence."""

    reason: str
    text: str


@frozen(kw_only=True)
class Course:
    """Where a message is.

    `table` is the one it began with, and `stage` the table of the stage that it
    has come to; None while that is `table` itself. `since` is when the stage
    began. With a stage ahead `deadline` is when that is due, and `until` what
    must have been reached by then; without one they are None and "". Times are
    Unix seconds. `origin` is the message of several recipients that this one
    was split from. `is_released` is one that stays on its stage to its end,
    since the next has begun alongside; that one's course has it in `beside`.
    `passed` are the tables that it has left, and `was_handed_over` is whether
    one of them handed it over: a policy may have other names for them by now.
    """

    table: str
    stage: str | None = None
    since: float
    deadline: float | None = None
    until: str = ""
    is_handed_over: bool = False
    failure: Failure | None = None
    origin: SpoolId | None = None
    is_released: bool = False
    beside: tuple[SpoolId, ...] = ()
    passed: tuple[str, ...] = ()
    was_handed_over: bool = False

    @property
    def is_in_other_hands(self) -> bool:
        """Whether something has handed it over, or still tries: to begin anew might send it twice."""
        return self.is_handed_over or self.was_handed_over or bool(self.beside)

    @property
    def at(self) -> str:
        """The table that the message goes by now."""
        return self.stage if self.stage is not None else self.table

    def to_json(self) -> JsonObject:
        """What people are shown."""
        shown: JsonObject = {
            "table": self.table,
            "stage": self.at,
            "since": self.since,
            "deadline": self.deadline,
            "until_state": self.until or None,
            "is_handed_over": self.is_handed_over,
            "failure": self.failure.reason if self.failure is not None else None,
            "beside": [one.hex() for one in self.beside] or None,
            "is_released": self.is_released or None,
            "split_from": self.origin.hex() if self.origin is not None else None,
        }
        return {name: value for name, value in shown.items() if value is not None}
