"""Counts of connections, for metrics; one for each channel.

Public: `ConnectionTally`.
"""

from __future__ import annotations

from collections.abc import Iterator

from kumotwist.core.stats import Sample


class ConnectionTally:
    """How many connections there are and have been, in all and by provider."""

    __slots__ = ("_by_provider", "_open", "_service", "_total")

    def __init__(self, service: str) -> None:
        """`service` is the channel's protocol name, the label in the metrics."""
        self._service = service
        self._open = 0
        self._total = 0
        self._by_provider: dict[str, int] = {}

    def opened(self, provider: str | None) -> None:
        """Count a connection that is up. Providers are the operator's names, so they are few."""
        self._open += 1
        self._total += 1
        if provider is not None:
            self._by_provider[provider] = self._by_provider.get(provider, 0) + 1

    def closed(self, provider: str | None) -> None:
        """Count it as gone."""
        self._open -= 1
        if provider is not None:
            self._by_provider[provider] -= 1

    def samples(self) -> Iterator[Sample]:
        """The numbers under KumoMTA's names."""
        labels = (("service", self._service),)
        yield Sample("connection_count", self._open, labels)
        yield Sample("total_connection_count", self._total, labels)
        for provider, count in self._by_provider.items():
            yield Sample("connection_count_by_provider", count, (("provider", provider),))
