"""Plain counts, kept where things happen and read by `stats`.

Public: `Counters` of scheduled queues, `Totals` of a ready queue. Queues come
from clients, so a scheduled queue's counts go when it is reaped; a ready
queue's totals are added to those of its protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field


@define(eq=False)
class Counters:
    """Messages held up, by queue name."""

    throttled_by_rate: Counter[str] = field(factory=Counter)
    throttled_by_event: Counter[str] = field(factory=Counter)
    ready_full: Counter[str] = field(factory=Counter)

    def forget(self, names: Iterable[str]) -> None:
        """Drop the counts of queues that are gone."""
        for name in names:
            self.throttled_by_rate.pop(name, None)
            self.throttled_by_event.pop(name, None)
            self.ready_full.pop(name, None)


@define(eq=False)
class Totals:
    """What a ready queue has done: connections made, refusals for want of room. Attempts are counted by `records`."""

    connections: int = 0
    full: int = 0

    def add(self, other: Totals) -> None:
        """Add the counts of `other`."""
        self.connections += other.connections
        self.full += other.full
