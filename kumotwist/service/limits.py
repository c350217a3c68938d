"""Limits that hold for the whole machine, shared out to worker processes.

The supervisor keeps the `Ledger`: one bucket per rate and one count per named
limit. A worker's `LeasedLimits` draws events from a bucket in slices worth a
tenth of a second and spends them without asking again; what is left of a
slice after a second goes back. So the sum over all workers never exceeds the
rate, and falls short of it by no more than what lies in unspent slices.
Connection slots are asked for one by one, and who waits for one gets its turn: a connection costs far more than
the question.

Public: `Ledger`, `LeasedLimits`, `LimitsDesk` (how a worker asks).
What can go wrong: the supervisor is gone; then the worker is about to stop,
rates answer "wait" and slots "none".
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Final, Protocol

from attrs import define, field

from kumotwist.core.interfaces import Lease
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.clock import Clock

#: A slice is what the rate allows in so many seconds: ten questions a second at the most.
SLICE_SECONDS: Final = 0.1
#: Unspent events go back after so long.
SLICE_LIFE: Final = 1.0
#: Buckets not drawn from for so long, and full again, are forgotten.
BUCKET_IDLE: Final = 60.0
#: A slot is kept for who waits as long as it asked within so many seconds; dispatchers ask every second.
TURN: Final = 2.5


@define(eq=False)
class Bucket:
    """The generic cell rate algorithm for one rate; `tat` is the theoretical arrival time."""

    spec: Throttle
    tat: float = 0.0

    @property
    def interval(self) -> float:
        """Seconds between events at the steady rate."""
        return self.spec.period / self.spec.limit

    @property
    def allowance(self) -> int:
        """Events that may pass at once beyond the first (semantics a.8)."""
        burst = self.spec.limit if self.spec.max_burst is None else self.spec.max_burst
        return min(burst, self.spec.limit - 1)

    def take(self, now: float, want: int) -> tuple[int, float]:
        """Up to `want` events that may pass now, and the seconds to wait when there is none.

        With 0 nothing is taken, and the seconds are those until the whole burst may pass.
        """
        start = max(self.tat, now)
        if want == 0:
            return 0, start - now
        room = now + self.allowance * self.interval - start
        if room < -1e-9:
            return 0, -room
        granted = min(want, int(room / self.interval + 1e-9) + 1)
        self.tat = start + granted * self.interval
        return granted, 0.0

    def give_back(self, count: int) -> None:
        """Undo `count` events that were taken and not used."""
        self.tat -= count * self.interval


@define(eq=False)
class Ledger:
    """The truth about all limits; lives in the supervisor."""

    clock: Clock
    _buckets: dict[tuple[str, Throttle], Bucket] = field(factory=dict, init=False)
    _held: dict[str, dict[Hashable, int]] = field(factory=dict, init=False)
    #: Who waits for a slot, by key: since when, and when they asked last.
    _queues: dict[str, dict[Hashable, tuple[float, float]]] = field(factory=dict, init=False)
    _swept: float = field(default=0.0, init=False)

    def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        """Draw up to `want` events; with 0 come the seconds until there may be one."""
        now = self.clock.seconds()
        self._sweep(now)
        name = (key, spec)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(spec)
        return bucket.take(now, want)

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        """Take back unused events."""
        bucket = self._buckets.get((key, spec))
        if bucket is not None:
            bucket.give_back(count)

    def acquire(self, holder: Hashable, key: str, limit: int, waits: bool = False) -> bool:
        """Give `holder` one of `limit` slots, if one is free.

        Those who wait, asking again every second, take turns: nobody gets
        another slot while somebody waits who holds fewer, or who has waited
        longer with as many.
        """
        holders = self._held.setdefault(key, {})
        if sum(holders.values()) < limit and not (waits and self._is_anothers_turn(holder, key, holders)):
            holders[holder] = holders.get(holder, 0) + 1
            self._queues.get(key, {}).pop(holder, None)
            return True
        if waits:
            now = self.clock.seconds()
            since = self._queues.setdefault(key, {}).get(holder, (now, now))[0]
            self._queues[key][holder] = (since, now)
        if not holders:
            self._held.pop(key, None)
        return False

    def _is_anothers_turn(self, holder: Hashable, key: str, holders: Mapping[Hashable, int]) -> bool:
        queue, now = self._queues.get(key), self.clock.seconds()
        if not queue:
            return False
        for gone in [one for one, (_, asked) in queue.items() if now - asked > TURN]:
            del queue[gone]
        own = (holders.get(holder, 0), queue.get(holder, (now, now))[0])
        if not queue:
            self._queues.pop(key, None)
        return any((holders.get(one, 0), since) < own for one, (since, _) in queue.items() if one != holder)

    def release(self, holder: Hashable, key: str) -> None:
        """Take one slot back; a slot that nobody holds is ignored."""
        holders = self._held.get(key, {})
        left = holders.get(holder, 0) - 1
        if left > 0:
            holders[holder] = left
        else:
            holders.pop(holder, None)
        if not holders:
            self._held.pop(key, None)

    def forget(self, holder: Hashable) -> None:
        """Take back all slots of a worker that has died."""
        for queue in self._queues.values():
            queue.pop(holder, None)
        for key in [key for key, holders in self._held.items() if holder in holders]:
            del self._held[key][holder]
            if not self._held[key]:
                del self._held[key]

    def _sweep(self, now: float) -> None:
        if now - self._swept < BUCKET_IDLE:
            return
        self._swept = now
        self._queues = {
            key: queue for key, queue in self._queues.items() if any(now - asked <= TURN for _, asked in queue.values())
        }
        for name in [name for name, bucket in self._buckets.items() if bucket.tat < now - BUCKET_IDLE]:
            del self._buckets[name]


class LimitsDesk(Protocol):
    """How a worker asks the ledger. Nothing here raises: no answer means no."""

    async def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]: ...

    def give_back(self, key: str, spec: Throttle, count: int) -> None: ...

    async def acquire(self, key: str, limit: int, waits: bool) -> bool: ...

    def release(self, key: str) -> None: ...


@define(eq=False)
class Slice:
    """What a worker has of one rate: events in hand, or the time before which asking is in vain."""

    in_hand: int = 0
    drawn: float = 0.0
    denied_until: float = 0.0


@define(eq=False)
class Slot:
    """One held slot; `release` may be called more than once."""

    desk: LimitsDesk
    key: str
    _is_held: bool = field(default=True, init=False)

    def release(self) -> None:
        """Give the slot back."""
        if self._is_held:
            self._is_held = False
            self.desk.release(self.key)


@define(eq=False)
class LeasedLimits:
    """`core.interfaces.Limits` in a worker process."""

    desk: LimitsDesk
    clock: Clock
    _slices: dict[tuple[str, Throttle], Slice] = field(factory=dict, init=False)

    async def throttle(self, key: str, spec: Throttle) -> float:
        """Take one event: 0.0 when it may pass, else whole seconds to wait."""
        name = (key, spec)
        held = self._slices.get(name)
        if held is None:
            held = self._slices[name] = Slice()
        now = self.clock.seconds()
        if held.in_hand > 0:
            held.in_hand -= 1
            return 0.0
        if now < held.denied_until:
            return _whole(held.denied_until - now)
        granted, wait = await self.desk.take(key, spec, _slice_of(spec))
        if granted == 0:
            held.denied_until = now + wait
            return _whole(wait)
        held.in_hand += granted - 1
        held.drawn = now
        return 0.0

    async def until_full(self, key: str, spec: Throttle) -> float:
        """Seconds until the whole burst may pass again; what we have in hand has not passed yet."""
        _, seconds = await self.desk.take(key, spec, 0)
        held = self._slices.get((key, spec))
        in_hand = held.in_hand if held is not None else 0
        return max(0.0, seconds - in_hand * spec.period / spec.limit)

    async def acquire(self, key: str, limit: Limit, waits: bool = False) -> Lease | None:
        """One of `limit` slots, or None when all are taken or others are waiting for it."""
        return Slot(self.desk, key) if await self.desk.acquire(key, limit.limit, waits) else None

    def sweep(self) -> None:
        """Give back what has lain unspent for too long; to be called about once a second."""
        now = self.clock.seconds()
        for name, held in list(self._slices.items()):
            if now - held.drawn < SLICE_LIFE or now < held.denied_until:
                continue
            if held.in_hand:
                self.desk.give_back(*name, held.in_hand)
            del self._slices[name]


def _slice_of(spec: Throttle) -> int:
    burst = spec.limit if spec.max_burst is None else spec.max_burst
    return max(1, min(int(spec.limit / spec.period * SLICE_SECONDS), burst + 1))


def _whole(seconds: float) -> float:
    return float(max(1, math.ceil(seconds)))
