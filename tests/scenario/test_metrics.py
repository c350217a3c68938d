"""Dashboards made for KumoMTA find every metric that they ask for on a running daemon."""

from __future__ import annotations

import http.client
import json
import smtplib
from collections import Counter
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon import Daemon, Sink, eventually, mail

#: Names, types and labels as KumoMTA documents them (its reference/metrics/kumod).
EXPECTED = {
    "connection_count": ("gauge", "service"),
    "connection_count_by_provider": ("gauge", "provider"),
    "connection_count_by_provider_and_pool": ("gauge", "provider pool"),
    "delayed_due_to_message_rate_throttle": ("counter", "queue"),
    "delayed_due_to_ready_queue_full": ("counter", "queue"),
    "delayed_due_to_throttle_insert_ready": ("counter", "queue"),
    "deliver_message_latency_rollup": ("histogram", "service"),
    "log_hook_backlog_count": ("counter", "logger"),
    "log_submit_full": ("counter", "logger"),
    "log_submit_latency": ("histogram", "logger"),
    "disk_free_bytes": ("gauge", "name"),
    "disk_free_percent": ("gauge", "name"),
    "lua_count": ("gauge", ""),
    "lua_event_latency": ("histogram", "event"),
    "lua_event_started": ("counter", "event"),
    "lua_load_count": ("counter", ""),
    "lua_spare_count": ("gauge", ""),
    "memory_limit": ("gauge", ""),
    "memory_usage": ("gauge", ""),
    "memory_usage_rust": ("gauge", ""),
    "message_count": ("gauge", ""),
    "message_save_latency": ("histogram", ""),
    "process_cpu_usage_sum": ("gauge", ""),
    "ready_count": ("gauge", "service"),
    "ready_full": ("counter", "service"),
    "scheduled_by_domain": ("gauge", "domain"),
    "scheduled_by_tenant": ("gauge", "tenant"),
    "scheduled_by_tenant_campaign": ("gauge", "tenant campaign"),
    "scheduled_count": ("gauge", "queue"),
    "scheduled_count_total": ("gauge", ""),
    "scheduled_queue_count": ("gauge", ""),
    "smtp_server_rejections": ("counter", "service"),
    "total_connection_count": ("counter", "service"),
    "total_connections_denied": ("counter", "service"),
    "total_messages_delivered": ("counter", "service"),
    "total_messages_delivered_by_provider": ("counter", "provider"),
    "total_messages_delivered_by_provider_and_source": ("counter", "provider source pool"),
    "total_messages_fail": ("counter", "service"),
    "total_messages_fail_by_provider": ("counter", "provider"),
    "total_messages_fail_by_provider_and_source": ("counter", "provider source pool"),
    "total_messages_received": ("counter", "service"),
    "total_messages_transfail": ("counter", "service"),
    "total_messages_transfail_by_provider": ("counter", "provider"),
    "total_messages_transfail_by_provider_and_source": ("counter", "provider source pool"),
}

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.define_spool { name = 'data', path = '%(directory)s/spool/data' }
  kumo.define_spool { name = 'meta', path = '%(directory)s/spool/meta' }
  kumo.configure_local_logs { log_dir = '%(directory)s/log', max_segment_duration = '1 second' }
  kumo.configure_log_hook { name = 'audit' }
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_esmtp_listener { listen = '127.0.0.1:0', max_connections = 1 }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
end)

kumo.on('should_enqueue_log_record', function(msg, hook)
  msg:set_meta('queue', 'null')
  return true
end)

kumo.on('smtp_server_rcpt_to', function(recipient)
  if recipient.user == 'nobody' then
    kumo.reject(550, '5.1.1 nobody here')
  end
end)

kumo.on('smtp_server_message_received', function(msg)
  if msg:recipient().domain == 'later.example' then
    msg:set_meta('tenant', 'acme')
    msg:set_meta('campaign', 'spring')
  end
end)

kumo.on('throttle_insert_ready_queue', function(msg)
  if msg:recipient().domain == 'held.example' then
    kumo.make_throttle('held', '1/hour'):delay_message_if_throttled(msg)
  end
end)

kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { { name = 'mx.' .. domain, addr = '127.0.0.1:%(sink)d' } } } },
    max_message_rate = domain == 'rated.example' and '1/hour' or nil,
    egress_pool = 'pool',
    retry_interval = '1 hour',
  }
end)

kumo.on('get_egress_pool', function(name)
  return kumo.make_egress_pool { name = name, entries = { { name = 'source' } } }
end)

kumo.on('get_egress_source', function(name)
  return kumo.make_egress_source { name = name }
end)

kumo.on('get_egress_path_config', function(domain, source, site)
  local is_full = domain == 'full.example'
  return kumo.make_egress_path {
    prohibited_hosts = {},
    enable_tls = 'Disabled',
    provider_name = domain == 'ok.example' and 'big' or nil,
    max_ready = is_full and 1 or 100,
    connection_limit = is_full and 1 or 10,
  }
end)
"""
RULES = (
    {"at": "rcpt", "match": "gone.example", "reply": "550 5.1.1 gone"},
    {"at": "rcpt", "match": "later.example", "reply": "451 4.2.0 later"},
    {"at": "rcpt", "match": "full.example", "delay": 2.0, "reply": "250 ok"},
)


def send(daemon: Daemon, *recipients: str) -> None:
    """One message each, all over one connection and so to one worker."""
    with daemon.smtp() as client:
        for recipient in recipients:
            client.sendmail("a@example.com", [recipient], mail("x"))


def inject(daemon: Daemon, ordinal: int, recipient: str) -> None:
    """One message by HTTP."""
    body = {"envelope_sender": "a@example.com", "recipients": [{"email": recipient}], "content": mail("x")}
    client = http.client.HTTPConnection("127.0.0.1", daemon.port("http", ordinal), timeout=30)
    client.request("POST", "/api/inject/v1", json.dumps(body), {"Content-Type": "application/json"})
    assert client.getresponse().status == 200
    client.close()


def refuse(daemon: Daemon) -> None:
    """A recipient that policy refuses, and a connection beyond the limit."""
    with daemon.smtp() as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail("a@example.com", ["nobody@ok.example"], mail("x"))
    with daemon.smtp(1), pytest.raises(smtplib.SMTPConnectError):
        daemon.smtp(1)


def scrape(daemon: Daemon) -> dict[str, Any]:
    """The metric families of /metrics by name, as Prometheus' own parser reads them."""
    client = http.client.HTTPConnection("127.0.0.1", daemon.port("http"), timeout=30)
    client.request("GET", "/metrics")
    text = client.getresponse().read().decode()
    client.close()
    series = Counter(line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#"))
    assert [name for name, count in series.items() if count > 1] == [], "a series is there twice"
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Any) -> dict[tuple[str, ...], float]:
    """Values by the values of the labels."""
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def nonzero(family: Any) -> dict[tuple[str, ...], float]:
    """The values that are not zero."""
    return {labels: value for labels, value in values(family).items() if value}


def settled(daemon: Daemon) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Metrics and log of a moment at which nothing is between them, once all expected metrics are there.

    Messages that found the ready queue full come back at a random time.
    """
    shown, records = scrape(daemon), daemon.records()
    if any(name not in shown for name in EXPECTED):
        return None
    delivered = values(shown["total_messages_delivered"])["smtp_client",]
    return (shown, records) if delivered == sum(record["type"] == "Delivery" for record in records) else None


@pytest.mark.parametrize("workers", [0, 2])
def test_every_metric_of_the_first_tier_is_there(tmp_path, workers) -> None:
    """After mail came in by SMTP and HTTP, went out, bounced, failed, waited and was refused, nothing is missing.

    Names, types and labels are KumoMTA's; counts agree with the log, over all listeners and workers.
    """
    with Sink(tmp_path, RULES) as sink:
        site = f"mx_list:127.0.0.1:{sink.port}"
        policy = POLICY % {"directory": tmp_path, "sink": sink.port}
        with Daemon(tmp_path, policy, workers) as daemon:
            send(daemon, "a@ok.example", "b@gone.example", "c@later.example")
            send(daemon, *["d@rated.example"] * 2, *["e@held.example"] * 2, *["f@full.example"] * 4)
            inject(daemon, 0, "g@ok.example")
            inject(daemon, 1, "h@plain.example")
            refuse(daemon)
            daemon.wait_for_records("Delivery", 6)
            shown, records = eventually(lambda: settled(daemon), "all metrics are there and agree with the log")
    kinds = Counter(record["type"] for record in records)
    for name, (kind, labels) in EXPECTED.items():
        family = shown[name]
        assert family.type == kind, name
        assert {frozenset(set(one.labels) - {"le"}) for one in family.samples} == {frozenset(labels.split())}, name
    by_service = {name: values(shown[name]) for name, (_, labels) in EXPECTED.items() if labels == "service"}
    assert by_service["total_messages_received"] == {("esmtp_listener",): 11, ("http_listener",): 2}
    assert by_service["total_messages_delivered"]["smtp_client",] == kinds["Delivery"]
    assert by_service["total_messages_fail"]["smtp_client",] == kinds["Bounce"] == 1
    assert by_service["total_messages_transfail"]["smtp_client",] == kinds["TransientFailure"] == 1
    assert by_service["smtp_server_rejections"] == {("esmtp_listener",): kinds["Rejection"]}
    assert by_service["total_connections_denied"] == {("esmtp_listener",): 1, ("http_listener",): 0}
    assert by_service["total_connection_count"]["esmtp_listener",] == 5
    providers = Counter(record.get("provider_name", site) for record in records if record["type"] == "Delivery")
    assert providers.keys() == {"big", site}, "a path without provider_name counts under its site"
    assert nonzero(shown["total_messages_delivered_by_provider"]) == {(name,): n for name, n in providers.items()}
    assert nonzero(shown["total_messages_delivered_by_provider_and_source"]) == {
        (name, "source", "pool"): count for name, count in providers.items()
    }
    assert values(shown["scheduled_by_tenant_campaign"]) == {("acme", "spring"): 1}
    assert values(shown["delayed_due_to_message_rate_throttle"]) == {("rated.example",): 1}
    assert values(shown["delayed_due_to_throttle_insert_ready"]) == {("held.example",): 1}
    places = {("data spool",), ("meta spool",), (f"log dir {tmp_path}/log",), ("state dir",)}
    assert set(values(shown["disk_free_bytes"])) == set(values(shown["disk_free_percent"])) == places
    assert values(shown["lua_load_count"]) == {(): max(1, workers)}
