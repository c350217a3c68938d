"""The connection slots that a dispatcher must hold: its path's limit and every additional one.

All or none: whoever waits for one holds no other, so paths that share limits
cannot block each other.

Public: `Slots`, `lease_time`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.egress import PathConfig
from kumotwist.core.interfaces import Lease, Limits
from kumotwist.net.clock import Clock, sleep
from kumotwist.queue.ready import ReadyQueue

#: Seconds between tries for a slot that others hold. Ours.
_POLL: Final = 1.0


def lease_time(path: PathConfig) -> float:
    """Seconds to wait for a connection slot: as long as all of a client's timeouts together (KumoMTA)."""
    return (
        path.connect_timeout
        + path.banner_timeout
        + path.ehlo_timeout
        + path.auth_timeout
        + path.starttls_timeout
        + path.mail_from_timeout
        + path.rcpt_to_timeout
        + path.data_timeout
        + path.data_dot_timeout
        + path.idle_timeout
        + path.rset_timeout
    )


class Slots:
    """The slots held for one connection."""

    __slots__ = ("_clock", "_held", "_limits")

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._held: list[Lease] = []

    async def take(self, ready: ReadyQueue) -> bool:
        """Hold a slot of each of the limits of `ready`; False when they did not come free in time."""
        deadline = self._clock.seconds() + lease_time(ready.path)
        while not await self._take_all(ready):
            if self._clock.seconds() >= deadline or not ready.messages:
                return False
            await sleep(self._clock, _POLL)
        return True

    def release(self) -> None:
        """Give all back."""
        for lease in self._held:
            lease.release()
        self._held.clear()

    async def _take_all(self, ready: ReadyQueue) -> bool:
        for key, limit in ready.limits:
            lease = await self._limits.acquire(key, limit, waits=True)
            if lease is None:
                self.release()
                return False
            self._held.append(lease)
        return True
