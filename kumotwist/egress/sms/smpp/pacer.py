"""Keeps messages on a bind to the rate that the provider allows, part by part.

`max_message_rate` of a path counts messages, and a text in three parts is three
to the provider. Parts leave evenly, a tenth of a second's worth at once.

Public: `Pacer`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.units import Throttle

#: Seconds whose worth may leave at once when the rate gives no `max_burst`. Ours: SMSCs count by the second.
_BURST: Final = 0.1


class Pacer:
    """The generic cell rate algorithm for one bind."""

    __slots__ = ("_arrival", "_interval", "_tolerance")

    def __init__(self, rate: Throttle) -> None:
        self._interval = rate.period / rate.limit
        self._tolerance = _BURST if rate.max_burst is None else rate.max_burst * self._interval
        self._arrival = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next part may leave; 0.0 for now."""
        return max(self._arrival - self._tolerance - now, 0.0)

    def count(self, now: float) -> None:
        """A part leaves."""
        self._arrival = max(self._arrival, now) + self._interval
