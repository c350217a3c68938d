"""A batch on its way: what of it is still to be submitted, what is out, and what came of each part.

The account takes `next()` when its window has room and reports what came of
it; `done` fires when every part is accounted for.

Public: `Transfer`, `Piece`, and the results `Taken`, `Refused`, `Lost`, `Unsent`, `PassedOver`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, frozen
from twisted.internet.defer import Deferred

from kumotwist.egress.sms.smpp.plan import Unit


@frozen
class Taken:
    """The SMSC has it and calls it `message_id`."""

    message_id: str


@frozen
class Refused:
    """The SMSC said no: a command_status, and its words if it had any."""

    status: int
    text: str = ""


@frozen
class Lost:
    """It was sent, and what became of it is not known; `is_link_gone` when the connection is, too."""

    text: str
    is_link_gone: bool = False


@frozen
class Unsent:
    """It was not sent, or sent and certainly not taken; to be tried again in so many seconds.

    `is_told`: the diagnostic log has said so for the whole account.
    """

    text: str
    retry_after: float
    is_told: bool = False


@frozen
class PassedOver:
    """It was not sent, since another part was refused."""


Result: TypeAlias = Taken | Refused | Lost | Unsent | PassedOver


@define(eq=False)
class Piece:
    """The body of one part of one unit; `throttled` counts how often the SMSC was too busy for it."""

    unit: int
    part: int
    body: bytes
    throttled: int = 0


class Transfer:
    """One batch. `results` are by unit and part."""

    __slots__ = ("_left", "_pending", "done", "is_abandoned", "results", "since")

    def __init__(self, units: Sequence[Unit], since: float) -> None:
        """`since` is now."""
        self.since = since
        self._pending = deque(
            Piece(number, part, body) for number, unit in enumerate(units) for part, body in enumerate(unit.parts)
        )
        self._left = len(self._pending)
        self.results: list[list[Result | None]] = [[None] * len(unit.parts) for unit in units]
        self.done: Deferred[None] = Deferred()
        #: Nobody waits for it any more.
        self.is_abandoned = False
        if not self._left:
            self.done.callback(None)

    def next(self) -> Piece | None:
        """What to submit next; parts of a text that was refused already are passed over."""
        while self._pending:
            piece = self._pending.popleft()
            if not any(isinstance(one, Refused) for one in self.results[piece.unit]):
                return piece
            self.report(piece, PassedOver())
        return None

    def again(self, piece: Piece) -> None:
        """Put a piece that was not taken back to the front."""
        if not self.is_abandoned:
            piece.throttled += 1
            self._pending.appendleft(piece)

    def report(self, piece: Piece, result: Result) -> None:
        """Say what came of a piece that was given out."""
        self.results[piece.unit][piece.part] = result
        self._left -= 1
        if not self._left and not self.is_abandoned:
            self.done.callback(None)

    def give_up(self, result: Result) -> None:
        """Say the same of all that has not been submitted."""
        while self._pending:
            self.report(self._pending.popleft(), result)

    def abandon(self) -> None:
        """Submit no more of it; answers that still come in are passed over."""
        self.is_abandoned = True
        self._pending.clear()
