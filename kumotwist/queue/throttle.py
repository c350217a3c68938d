"""Rates and counts within this process: `LocalLimits`.

Rates are the generic cell rate algorithm with redis-cell's semantics: a burst
of `max_burst + 1` may pass in one instant, `max_burst` being the limit less
one unless it is given and smaller. All arithmetic is on integers, so a rate is
kept to the event.

Public: `LocalLimits`, the `Limits` of `core.interfaces` for one process, and
`Cells` for whoever shares rates between processes.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.interfaces import Lease
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.clock import Clock

#: Clock ticks a second. Ours: finer than any peer notices, coarse enough for float seconds of this century.
_TICKS: Final = 1_000_000
#: Cells kept before the ones that are full again are swept out; doubles while all are in use.
_SWEEP_AT: Final = 4096


class Cells:
    """Cells by name and spec: the theoretical arrival time of each. A changed spec starts afresh."""

    __slots__ = ("_arrivals", "_sweep_at")

    def __init__(self) -> None:
        self._arrivals: dict[tuple[str, Throttle], int] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        return len(self._arrivals)

    def take(self, name: str, spec: Throttle, now: float) -> float:
        """Let one event pass and answer 0.0, or answer the whole seconds until one may."""
        # Times are scaled by the limit, which makes the interval between events a whole number.
        interval = spec.period * _TICKS
        present = round(now * _TICKS) * spec.limit
        burst = min(spec.limit if spec.max_burst is None else spec.max_burst, spec.limit - 1)
        key = (name, spec)
        arrival = max(self._arrivals.get(key, present), present) + interval
        ahead = arrival - (burst + 1) * interval - present
        if ahead > 0:
            second = _TICKS * spec.limit
            return float((ahead + second - 1) // second)
        self._arrivals[key] = arrival
        if len(self._arrivals) > self._sweep_at:
            self._sweep(now)
        return 0.0

    def until_full(self, name: str, spec: Throttle, now: float) -> float:
        """Seconds until the whole burst may pass again."""
        arrival = self._arrivals.get((name, spec), 0)
        return max(0.0, (arrival - round(now * _TICKS) * spec.limit) / (_TICKS * spec.limit))

    def _sweep(self, now: float) -> None:
        present = round(now * _TICKS)
        self._arrivals = {key: at for key, at in self._arrivals.items() if at > present * key[1].limit}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._arrivals))


class _Slot:
    """A held slot; releasing it twice is the same as once."""

    __slots__ = ("_held", "_key")

    def __init__(self, held: dict[str, int], key: str) -> None:
        self._held: dict[str, int] | None = held
        self._key = key

    def release(self) -> None:
        """Give the slot back."""
        held, self._held = self._held, None
        if held is None:
            return
        left = held[self._key] - 1
        if left:
            held[self._key] = left
        else:
            del held[self._key]


class LocalLimits:
    """`Limits` of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cells = Cells()
        self._held: dict[str, int] = {}

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event of `spec` under `key`: 0.0 when it may pass, else whole seconds to wait."""
        return self._cells.take(key, spec, self._clock.seconds())

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole burst of `spec` may pass again."""
        return self._cells.until_full(key, spec, self._clock.seconds())

    async def acquire(self, key: str, limit: Limit, waits: bool = False) -> Lease | None:  # noqa: ARG002
        """Take one of `limit` slots under `key`, or None when all are taken; one process need not take turns."""
        taken = self._held.get(key, 0)
        if taken >= limit.limit:
            return None
        self._held[key] = taken + 1
        return _Slot(self._held, key)
