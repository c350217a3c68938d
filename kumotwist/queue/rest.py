"""A rest: for so long nothing goes through an account, since it is at fault or has used up its rate.

A ready queue rests when its peer says so. On a route table a rest that is not
short shuts the route, as long as another one is well: see `queue.resting`.

Public: `Rest`, `SHORT_REST`. Nothing can go wrong.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kumotwist.core.schedule import format_rfc3339

#: Seconds of a rest for which messages wait, rather than go by another route. Ours: 429 is how a provider asks for a
#: slower pace, mostly with a second or two, and rests ten seconds when it names no time (`THROTTLE_REST`).
SHORT_REST: Final = 10.0


@frozen
class Rest:
    """When it began and is over, in Unix seconds, and what was said."""

    began: float
    until: float
    said: str

    def left(self, now: float) -> float:
        """Seconds until it is over; none when the clock was put back to before it began."""
        return self.until - now if self.began <= now < self.until else 0.0

    @property
    def is_short(self) -> bool:
        """Whether it is too short to be worth a move of shares."""
        return self.until - self.began <= SHORT_REST

    def __str__(self) -> str:
        return f"the account rests until {format_rfc3339(self.until)}: {self.said}"
