"""Whom a message leaves from: pools, their sources, and whose turn it is.

A scheduled queue names a pool; the pool's sources take turns by weight, with
the turns remembered per queue (the LVS weighted round robin: weights 5, 2, 3
give exactly 50, 20 and 30 of 100).

Public: `Pool`, `Pools`, `RoundRobin`, `UNSPECIFIED_POOL`. What can go wrong:
`PolicyError` from `get_egress_pool` and `get_egress_source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Final

from attrs import define, frozen

from kumotwist.config.egress import UNSPECIFIED, PoolConfig, SourceConfig
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.answers import Answers

#: Pools and sources remembered, each (KumoMTA).
CAPACITY: Final = 128

_UNSPECIFIED_SOURCE: Final = SourceConfig(name=UNSPECIFIED)


@frozen
class Pool:
    """A pool with its sources looked up: those with a weight, in the pool's order."""

    name: str
    sources: tuple[SourceConfig, ...]
    weights: tuple[int, ...]


#: Built in; policy is never asked about it.
UNSPECIFIED_POOL: Final = Pool(UNSPECIFIED, (_UNSPECIFIED_SOURCE,), (1,))


class Pools:
    """Pools and sources by name, as policy defines them, each kept for its own `ttl`."""

    def __init__(self, policy: QueuePolicy, clock: Clock, tasks: Tasks) -> None:
        self._pools: Answers[PoolConfig] = Answers(
            policy.egress_pool, lambda pool: pool.ttl, CAPACITY, policy, clock, SingleFlight(tasks.spawn, "egress pool")
        )
        self._sources: Answers[SourceConfig] = Answers(
            policy.egress_source,
            lambda source: source.ttl,
            CAPACITY,
            policy,
            clock,
            SingleFlight(tasks.spawn, "egress source"),
        )

    async def get(self, name: str | None) -> Pool:
        """The pool of that name with every source of it; None is the unspecified pool. Raises PolicyError."""
        if name is None or name == UNSPECIFIED:
            return UNSPECIFIED_POOL
        entries = [entry for entry in (await self._pools.get(name)).entries if entry.weight > 0]
        sources = [await self._source(entry.name) for entry in entries]
        return Pool(name, tuple(sources), tuple(entry.weight for entry in entries))

    async def _source(self, name: str) -> SourceConfig:
        return _UNSPECIFIED_SOURCE if name == UNSPECIFIED else await self._sources.get(name)


@define(eq=False)
class RoundRobin:
    """Whose turn it is; weights may change between picks."""

    _index: int = -1
    _current: int = 0

    def pick(self, weights: Sequence[int]) -> int:
        """The position of the next one; `weights` are positive, at least one."""
        if len(weights) == 1:
            return 0
        step, highest = gcd(*weights), max(weights)
        while True:
            self._index = (self._index + 1) % len(weights)
            if self._index == 0:
                self._current -= step
                if self._current <= 0:
                    self._current = highest
            if weights[self._index] >= self._current:
                return self._index
