"""The queue's numbers under KumoMTA's names, read when somebody asks.

Nothing is paid per label on the way of a message: counts are plain integers on
the queues, added up here. Attempts and their ends are counted by `records`.

Public: `samples_of`, `MAX_LABELS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from typing import Final, TypeAlias

from kumotwist.core.stats import Histogram, Sample
from kumotwist.queue.counters import Counters, Totals
from kumotwist.queue.ready import ReadyQueue
from kumotwist.queue.scheduled import ScheduledQueue

#: Values exported for one label of one metric, the largest first. Ours: a monitoring system
#: keeps a series for each, and names of queues come from clients.
MAX_LABELS: Final = 1000

_Numbers: TypeAlias = Counter[tuple[str, ...]]


def samples_of(
    scheduled: Iterable[ScheduledQueue],
    ready: Iterable[ReadyQueue],
    gone: Mapping[str, Totals],
    counters: Counters,
    latency: Mapping[str, Histogram],
    waiting: int,
) -> Iterator[Sample]:
    """All numbers as they are now; `waiting` counts parked messages, `gone` what reaped ready queues did."""
    queues, at_work = list(scheduled), list(ready)
    yield Sample("scheduled_queue_count", len(queues))
    yield Sample("scheduled_count_total", waiting)
    yield Sample("message_count", waiting + sum(len(queue) + queue.in_hand for queue in at_work))
    yield from _of_scheduled([queue for queue in queues if queue.waiting])
    yield from _labelled("delayed_due_to_message_rate_throttle", ("queue",), _tuples(counters.throttled_by_rate))
    yield from _labelled("delayed_due_to_throttle_insert_ready", ("queue",), _tuples(counters.throttled_by_event))
    yield from _labelled("delayed_due_to_ready_queue_full", ("queue",), _tuples(counters.ready_full))
    yield from _by_service(at_work, gone)
    yield from _by_provider(at_work)
    for protocol, histogram in latency.items():
        yield Sample("deliver_message_latency_rollup", histogram, (("service", protocol),))


def _of_scheduled(queues: Iterable[ScheduledQueue]) -> Iterator[Sample]:
    by_queue, by_domain, by_tenant, by_campaign = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    for queue in queues:
        name = queue.name
        by_queue[(name.text,)] += queue.waiting
        by_domain[(name.domain,)] += queue.waiting
        if name.tenant is not None:
            by_tenant[(name.tenant,)] += queue.waiting
        if name.campaign is not None:
            by_campaign[name.tenant or "", name.campaign] += queue.waiting
    yield from _labelled("scheduled_count", ("queue",), by_queue)
    yield from _labelled("scheduled_by_domain", ("domain",), by_domain)
    yield from _labelled("scheduled_by_tenant", ("tenant",), by_tenant)
    yield from _labelled("scheduled_by_tenant_campaign", ("tenant", "campaign"), by_campaign)


def _by_service(queues: Iterable[ReadyQueue], gone: Mapping[str, Totals]) -> Iterator[Sample]:
    """Per ready queue as `protocol:name`, and rolled up as `protocol`."""
    ready, connected, rollup = _Numbers(), _Numbers(), {protocol: Totals() for protocol in gone}
    by_service: dict[str, Totals] = {}
    for queue in queues:
        protocol = queue.channel.protocol_name
        service = f"{protocol}:{queue.name}"
        connections = queue.connected
        for label in (protocol, service):
            ready[(label,)] += len(queue)
            connected[(label,)] += connections
        by_service.setdefault(service, Totals()).add(queue.totals)
        rollup.setdefault(protocol, Totals()).add(queue.totals)
    for protocol, totals in gone.items():
        rollup[protocol].add(totals)
    by_service.update(rollup)
    yield from _labelled("ready_count", ("service",), ready)
    yield from _labelled("connection_count", ("service",), connected)
    yield from _totals(("service",), {(label,): totals for label, totals in by_service.items()})


def _by_provider(queues: Iterable[ReadyQueue]) -> Iterator[Sample]:
    """By provider name, or site where the path names none; the pool is that of a queue that leads there."""
    connected, in_pool = _Numbers(), _Numbers()
    for queue in queues:
        provider = queue.path.provider_name or queue.site
        connections = queue.connected
        connected[(provider,)] += connections
        in_pool[provider, queue.pool_name] += connections
    yield from _labelled("connection_count_by_provider", ("provider",), connected)
    yield from _labelled("connection_count_by_provider_and_pool", ("provider", "pool"), in_pool)


def _totals(labels: tuple[str, ...], totals: Mapping[tuple[str, ...], Totals]) -> Iterator[Sample]:
    yield from _labelled("total_connection_count", labels, _counts(totals, "connections"))
    yield from _labelled("ready_full", labels, _counts(totals, "full"))


def _counts(totals: Mapping[tuple[str, ...], Totals], attribute: str) -> _Numbers:
    return _Numbers({values: getattr(one, attribute) for values, one in totals.items()})


def _tuples(numbers: Mapping[str, int]) -> _Numbers:
    return _Numbers({(value,): count for value, count in numbers.items()})


def _labelled(metric: str, labels: tuple[str, ...], numbers: _Numbers) -> Iterator[Sample]:
    for values, count in nlargest(MAX_LABELS, numbers.items(), key=lambda pair: pair[1]):
        yield Sample(metric, count, tuple(zip(labels, values, strict=True)))
