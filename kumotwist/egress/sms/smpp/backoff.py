"""Pauses that grow while things go wrong and start anew when they go well.

Public: `Backoff`.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

#: Seconds of the first pause. Ours: most SMSCs count messages per second.
FIRST: Final = 1.0


@define(eq=False)
class Backoff:
    """`longest` bounds a pause in seconds."""

    longest: float
    _next: float = field(default=FIRST, init=False)
    #: Seconds of the pauses since things last went well.
    total: float = field(default=0.0, init=False)

    def pause(self) -> float:
        """How long to wait this time."""
        seconds = min(self._next, self.longest)
        self._next = min(self._next * 2, self.longest)
        self.total += seconds
        return seconds

    def reset(self) -> None:
        """Things go well."""
        self._next = FIRST
        self.total = 0.0
