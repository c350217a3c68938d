"""The metrics that we show: name, type, meaning, and how workers' values add up.

Names, labels and types are KumoMTA's, so dashboards made for it work. What a
part reports that is not listed here is shown as untyped.

Public: `Metric`, `CATALOGUE`, `describe`.
"""

from __future__ import annotations

from typing import Final, Literal

from attrs import frozen

MetricType = Literal["counter", "gauge", "histogram", "untyped"]
OverWorkers = Literal["sum", "max", "mean"]


@frozen
class Metric:
    """One metric, and what stands for all workers.

    It is the `sum`, or, where every worker sees the same thing, the largest value, or, where they see nearly the
    same, the mean of those that see it.
    """

    name: str
    type: MetricType
    help: str
    over_workers: OverWorkers = "sum"


_COUNTERS: Final = {
    "delayed_due_to_message_rate_throttle": "number of times a message was delayed due to max_message_rate",
    "delayed_due_to_ready_queue_full": (
        "number of times a message was delayed due to the corresponding ready queue being full"
    ),
    "delayed_due_to_throttle_insert_ready": (
        "number of times a message was delayed due to the throttle_insert_ready_queue event"
    ),
    "log_hook_backlog_count": "how many times processing of a log event hit the back_pressure in a hook",
    "log_records_lost": "how many records a log could not write, for want of room or by a template that fails",
    "log_submit_full": "how many times submission of a log event hit the back_pressure",
    "lua_event_started": "how many times a handler of the event was called",
    "lua_load_count": "how many times the policy has been loaded into a new Lua state",
    "lua_load_failures": "how many times a changed policy could not be loaded and the old one was kept",
    "ready_full": "number of times a message could not fit in the ready queue",
    "smtp_server_rejections": "how many Rejection records the service has made",
    "total_connection_count": "total number of connections ever made",
    "total_connections_denied": "total number of connections refused due to load shedding or concurrency limits",
    "total_handovers": "how many messages were handed over with an id that receipts can refer to",
    "total_handovers_lost": "how many of them could not be noted in the ledger",
    "total_mail_handovers_lost": "how many hand-overs by SMTP routes could not be noted for reports by mail",
    "total_mail_reports": "how many bounces and complaints have come by mail, by kind and whether the message is known",
    "total_route_outcomes": "how many attempts a route has had, by outcome",
    "total_route_receipts": "how many receipts have come in for a route's messages, by state",
    "total_route_receipts_not_awaited": "how many hand-overs cannot count as lost, since too many are waited for",
    "total_route_class_failures": "how many messages a route table's class function failed for",
    "total_receipts_received": "how many receipts have come in",
    "total_receipts_refused": "how many calls with receipts were not taken, by reason",
    "total_receipts_repeated": "how many receipts have come in that were there before",
    "total_receipts": "how many Receipt records have been written",
    "total_messages_received": "total number of messages ever received",
}
_ATTEMPTS: Final = {
    "total_messages_delivered": "total number of messages ever delivered",
    "total_messages_fail": "total number of message delivery attempts that permanently failed",
    "total_messages_transfail": "total number of message delivery attempts that transiently failed",
}
_GAUGES: Final = {
    "connection_count": "number of active connections",
    "connection_count_by_provider": "number of active connections",
    "connection_count_by_provider_and_pool": "number of active connections",
    "lua_count": "number of Lua states currently alive",
    "lua_memory_bytes": "octets that the policy's Lua state holds",
    "lua_spare_count": "number of Lua states ready for use",
    "memory_limit": "soft memory limit in octets",
    "memory_usage": "octets of memory in use (resident set size)",
    "memory_usage_rust": "octets of memory that the allocators hold: Python's, Lua's and the spool's",
    "message_count": "total number of messages in memory",
    "process_cpu_usage_normalized": "CPU use of the workers in percent of all cores",
    "process_cpu_usage_sum": "CPU use of the workers in percent of one core",
    "ready_count": "number of messages in the ready queue",
    "rocks_spool_load_shed_active": "1 while the spool refuses writes",
    "rocks_spool_mem_table_total": "octets in the write buffers of the spool",
    "scheduled_by_domain": "number of messages in the scheduled queues of a domain",
    "scheduled_by_tenant": "number of messages in the scheduled queues of a tenant",
    "scheduled_by_tenant_campaign": "number of messages in the scheduled queues of a tenant and campaign",
    "scheduled_count": "number of messages in the scheduled queue",
    "scheduled_count_total": "total number of messages across all scheduled queues",
    "smpp_bound": "binds to the SMSC over which messages go out, by account",
    "smpp_outstanding": "submitted messages without an answer, by account",
    "scheduled_queue_count": "number of scheduled queues",
}
_SHARED: Final = {
    "disk_free_bytes": "octets available in a monitored place",
    "disk_free_inodes": "inodes available in a monitored place",
    "disk_free_inodes_percent": "share of inodes available in a monitored place",
    "disk_free_percent": "share of octets available in a monitored place",
    "route_breaker_open": "1 while the breaker of a route and class lets nothing through but trials",
    "route_outage": "1 while all routes of a table fail for a class, so that resting shares hold and none is blamed",
    "route_resting_share": "share that a route gets as long as none is worse than another",
    "receipts_waiting": "number of receipts whose message is not known yet",
}
#: What workers tell each other once a second; shares that are averaged still add up to 1.
_NEARLY_SHARED: Final = {
    "route_health": "part of a route's messages of a class that is handed over and arrives, as it is believed",
    "route_samples": "messages of late that this belief rests on",
    "route_share": "share of the messages of a class that a route gets now",
}
_HISTOGRAMS: Final = {
    "deliver_message_latency_rollup": "seconds that delivering takes, by protocol",
    "log_submit_latency": "seconds that submitting a log event takes",
    "lua_event_latency": "seconds that a handler of the event takes",
    "route_handover_seconds": "seconds from the choice of a route to the hand-over",
    "route_receipt_seconds": "seconds from the hand-over to the receipt that ends the delivery",
    "message_save_latency": "seconds that saving to the spool takes",
}


def _catalogue() -> dict[str, Metric]:
    suffixes = ("", "_by_provider", "_by_provider_and_source")
    attempts = {name + suffix: text for name, text in _ATTEMPTS.items() for suffix in suffixes}
    listed = [Metric(name, "counter", text) for name, text in {**_COUNTERS, **attempts}.items()]
    listed += [Metric(name, "gauge", text) for name, text in _GAUGES.items()]
    listed += [Metric(name, "gauge", text, "max") for name, text in _SHARED.items()]
    listed += [Metric(name, "gauge", text, "mean") for name, text in _NEARLY_SHARED.items()]
    listed += [Metric(name, "histogram", text) for name, text in _HISTOGRAMS.items()]
    return {one.name: one for one in listed}


CATALOGUE: Final = _catalogue()


def describe(name: str) -> Metric:
    """The metric of that name."""
    return CATALOGUE.get(name) or Metric(name, "untyped", name.replace("_", " "))
