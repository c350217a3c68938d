"""Counts of messages received, delivered, failed, by service and provider.

Counted from the records as plain ints, and given their labels only when
somebody asks. A service is a protocol (`smtp_client`) and, below it, each
ready queue (`smtp_client:source->site@smtp_client`); a provider is the
`provider_name` of the egress path and, where it names none, the site, as in
KumoMTA.

Public: `Totals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from kumotwist.core.json import JsonObject
from kumotwist.core.records import Record, RecordType
from kumotwist.core.stats import Sample
from kumotwist.records.dispositions import reception_protocol

K = TypeVar("K")

#: Ready queues that keep a count of their own. Ours; KumoMTA prunes idle ones. Past it the
#: oldest starts anew, and the totals by protocol stay exact.
MAX_SERVICES: Final = 10_000
_OUTCOMES: Final = {
    RecordType.DELIVERY: (0, "delivered"),
    RecordType.TRANSIENT_FAILURE: (1, "transfail"),
    RecordType.BOUNCE: (2, "fail"),
}
#: `is_known`: whether the message is known that the receipt is about.
_RECEIPT_LABELS: Final = ("channel", "account", "state", "is_known")
_FALLBACK_LABELS: Final = ("table", "to", "reason")
#: The listeners by the reception protocol that they set.
_LISTENERS: Final = {"ESMTP": "esmtp_listener", "LMTP": "esmtp_listener", "HTTP": "http_listener"}


class Totals:
    """The counts of one process since its start."""

    __slots__ = (
        "_by_protocol", "_by_provider", "_by_service", "_by_source",
        "_fallbacks", "_receipts", "_received", "_rejected",
    )  # fmt: skip

    def __init__(self) -> None:
        self._received: dict[str, int] = {}
        self._rejected: dict[str, int] = {}
        self._receipts: dict[tuple[str, str, str, str], int] = {}
        self._fallbacks: dict[tuple[str, str, str], int] = {}
        self._by_protocol: dict[str, list[int]] = {}
        self._by_service: dict[str, list[int]] = {}
        self._by_provider: dict[str, list[int]] = {}
        self._by_source: dict[tuple[str, str, str], list[int]] = {}

    def count(self, record: Record) -> None:
        """Count one record."""
        kind = record.type
        outcome = _OUTCOMES.get(kind)
        if outcome is not None:
            # Without a ready queue it was no attempt: a queue that is suspended, say.
            if "@" in record.site:
                self._count_attempt(record, outcome[0])
        elif kind is RecordType.RECEPTION or kind is RecordType.FEEDBACK:
            listener = _LISTENERS.get(reception_protocol(record) or "ESMTP")
            if listener is not None:
                self._received[listener] = self._received.get(listener, 0) + 1
        elif kind is RecordType.REJECTION:
            self._rejected["esmtp_listener"] = self._rejected.get("esmtp_listener", 0) + 1
        elif record.receipt is not None:
            event, is_known = record.receipt, record.message_id is not None
            labels = (event.channel, event.account, event.state.value, "true" if is_known else "false")
            self._receipts[labels] = self._receipts.get(labels, 0) + 1
        elif record.fallback is not None:
            self._count_fallback(record.fallback)

    def _count_fallback(self, told: JsonObject) -> None:
        labels = (str(told["table"]), str(told["to"]), str(told["reason"]))
        if labels not in self._fallbacks and len(self._fallbacks) >= MAX_SERVICES:
            del self._fallbacks[next(iter(self._fallbacks))]
        self._fallbacks[labels] = self._fallbacks.get(labels, 0) + 1

    def _count_attempt(self, record: Record, which: int) -> None:
        site = record.site
        counts = self._by_service.get(site)
        if counts is None:
            counts = _fresh(self._by_service, site)
        counts[which] += 1
        protocol = site.rpartition("@")[2]
        counts = self._by_protocol.get(protocol)
        if counts is None:
            counts = _fresh(self._by_protocol, protocol)
        counts[which] += 1
        self._count_provider(record, record.provider_name or _site_of(site), which)

    def _count_provider(self, record: Record, provider: str, which: int) -> None:
        source = (provider, record.egress_source or "", record.egress_pool or "")
        for counts in (
            self._by_provider.get(provider) or _fresh(self._by_provider, provider),
            self._by_source.get(source) or _fresh(self._by_source, source),
        ):
            counts[which] += 1

    def samples(self) -> Iterator[Sample]:
        """All counts under KumoMTA's names."""
        for listener, received in self._received.items():
            yield Sample("total_messages_received", received, (("service", listener),))
        for listener, rejected in self._rejected.items():
            yield Sample("smtp_server_rejections", rejected, (("service", listener),))
        for values, receipts in self._receipts.items():
            yield Sample("total_receipts", receipts, tuple(zip(_RECEIPT_LABELS, values, strict=True)))
        for told, fallbacks in self._fallbacks.items():
            yield Sample("total_fallbacks", fallbacks, tuple(zip(_FALLBACK_LABELS, told, strict=True)))
        for which, outcome in _OUTCOMES.values():
            name = f"total_messages_{outcome}"
            for protocol, counts in self._by_protocol.items():
                yield Sample(name, counts[which], (("service", protocol),))
            for site, counts in self._by_service.items():
                yield Sample(name, counts[which], (("service", f"{site.rpartition('@')[2]}:{site}"),))
            for provider, counts in self._by_provider.items():
                yield Sample(f"{name}_by_provider", counts[which], (("provider", provider),))
            for (provider, source, pool), counts in self._by_source.items():
                labels = (("provider", provider), ("source", source), ("pool", pool))
                yield Sample(f"{name}_by_provider_and_source", counts[which], labels)


def _site_of(ready_queue: str) -> str:
    """The site in `source->site@protocol`."""
    return ready_queue.partition("->")[2].rpartition("@")[0]


def _fresh(table: dict[K, list[int]], key: K) -> list[int]:
    if len(table) >= MAX_SERVICES:
        del table[next(iter(table))]
    counts = table[key] = [0, 0, 0]
    return counts
