"""Numbers about the house, kept where they arise and read when somebody asks.

A part that has numbers keeps plain ints and `Histogram`s and offers
`samples()`; `records.metrics` renders them under KumoMTA's names, so nothing
is paid per label on the way of a message.

Public: `Sample`, `Histogram`, `StatSource`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, Protocol

from attrs import frozen

#: Upper bounds in seconds, from a policy call to a slow peer.
LATENCY_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


class Histogram:
    """Counts of observations by upper bound; `sum` is their total."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@frozen
class Sample:
    """One value of the metric `name`; labels as `(name, value)` pairs."""

    name: str
    value: float | Histogram
    labels: tuple[tuple[str, str], ...] = ()


class StatSource(Protocol):
    """Something with numbers."""

    def samples(self) -> Iterable[Sample]:
        """The numbers as they are now; called on the reactor thread at each scrape."""
        ...
