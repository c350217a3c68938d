"""Connections of one listener, out of the number that the whole machine may have.

`max_connections` holds over all workers. A worker leases slots in bundles, so
that most connections ask nobody, and never more than are free: together the
workers cannot pass the limit. What lies unused with a worker is at most two
bundles, some 3 % of its even share; a small limit has bundles of one and
is exact.

Public: `ConnectionSlots`. What can go wrong: the supervisor is gone; then
there is no slot to be had.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import DeferredLock

from kumotwist.core.interfaces import Lease, Limits
from kumotwist.core.units import Limit

#: Bundles in a worker's even share of the limit. Ours: so many questions for a listener that fills up.
_BUNDLES: Final = 64


class ConnectionSlots:
    """The slots of this process for one listener."""

    __slots__ = ("_asking", "_bundle", "_free", "_key", "_leases", "_limit", "_limits")

    def __init__(self, limits: Limits, key: str, limit: int, workers: int) -> None:
        """`key` names the listener in all `workers`, which share `limit` connections."""
        self._limits = limits
        self._key = key
        self._bundle = max(1, limit // (workers * _BUNDLES))
        self._limit = Limit(limit // self._bundle)
        self._leases: list[Lease] = []
        self._free = 0
        self._asking = DeferredLock()

    def take_now(self) -> bool:
        """Take a slot that is here already, if there is one."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def take(self) -> bool:
        """Take a slot; False when the machine has none left. May be cancelled."""
        if self.take_now():
            return True
        await self._asking.acquire()
        try:
            if self._free == 0:
                lease = await self._limits.acquire(self._key, self._limit)
                if lease is not None:
                    self._leases.append(lease)
                    self._free += self._bundle
        finally:
            self._asking.release()
        return self.take_now()

    def give_back(self) -> None:
        """The connection is gone."""
        self._free += 1
        # One bundle stays, so that a client that comes and goes does not make us ask each time.
        if self._free > 2 * (self._bundle - 1):
            self._free -= self._bundle
            self._leases.pop().release()
