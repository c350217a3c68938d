"""Metrics as others read them."""

import json
import re
from pathlib import Path

from attrs import define
from prometheus_client.parser import text_string_to_metric_families

import kumotwist
from kumotwist.core.stats import Histogram, Sample
from kumotwist.records.catalogue import CATALOGUE
from kumotwist.records.metrics import Metrics, merge


@define
class Source:
    """Gives the samples that it was made with."""

    given: list

    def samples(self):
        return self.given


def numbers(*sources):
    return merge([Metrics([Source(list(given))]).snapshot() for given in sources])


def histogram(*values):
    made = Histogram((0.1, 1.0))
    for value in values:
        made.observe(value)
    return made


SERVICE = (("service", "smtp_client"),)
BOTH = (("tenant", "t"), ("campaign", 'a "quoted" \\ one\nx'))


def test_counters_keep_kumomta_s_names_and_add_up_over_workers():
    """A dashboard made for KumoMTA finds its metric; two workers' counts are summed."""
    one = Sample("total_messages_delivered", 3, SERVICE)
    text = numbers([one], [one, Sample("total_messages_delivered", 1, (("service", "x"),))]).text().decode()
    assert text.splitlines() == [
        "# HELP total_messages_delivered total number of messages ever delivered",
        "# TYPE total_messages_delivered counter",
        'total_messages_delivered{service="smtp_client"} 6.0',
        'total_messages_delivered{service="x"} 1.0',
    ]


def test_what_all_workers_share_is_not_added():
    """Free space of a disk is there once, however many workers report it."""
    disk = Sample("disk_free_bytes", 5.0, (("name", "spool"),))
    assert numbers([disk], [disk]).value("disk_free_bytes", name="spool") == 5.0
    assert numbers([Sample("memory_usage", 5.0)], [Sample("memory_usage", 6.0)]).value("memory_usage") == 11.0


def test_listeners_of_one_service_are_one_series():
    """Two SMTP listeners share a label, as in KumoMTA: their counts are added, not shown twice."""
    listener = (("service", "esmtp_listener"),)
    text = numbers([Sample("connection_count", 2, listener), Sample("connection_count", 3, listener)]).text()
    assert [line for line in text.decode().splitlines() if not line.startswith("#")] == [
        'connection_count{service="esmtp_listener"} 5.0'
    ]


def test_prometheus_reads_the_text():
    """The official parser understands every line, labels with odd characters included."""
    text = numbers(
        [
            Sample("scheduled_by_tenant_campaign", 2, BOTH),
            Sample("message_save_latency", histogram(0.05, 0.5, 5.0)),
            Sample("log_submit_latency", histogram(), (("logger", "l"),)),
            Sample("of_our_own", 1.5),
        ],
        [Sample("message_save_latency", histogram(0.05))],
    ).text()
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert families["scheduled_by_tenant_campaign"].samples[0].labels == dict(BOTH)
    saved = families["message_save_latency"]
    assert saved.type == "histogram"
    assert [(sample.name, sample.labels.get("le"), sample.value) for sample in saved.samples] == [
        ("message_save_latency_bucket", "0.1", 2.0),
        ("message_save_latency_bucket", "1.0", 3.0),
        ("message_save_latency_bucket", "+Inf", 4.0),
        ("message_save_latency_sum", None, 5.6),
        ("message_save_latency_count", None, 4.0),
    ]
    assert families["of_our_own"].type == "unknown"


def test_json_has_kumomta_s_three_shapes():
    """A number without labels, a table for one label, a list for several."""
    shown = json.loads(
        numbers(
            [
                Sample("message_count", 7),
                Sample("total_messages_delivered", 3, SERVICE),
                Sample("scheduled_by_tenant_campaign", 2, BOTH),
                Sample("message_save_latency", histogram(0.05, 0.5, 5.0)),
                Sample("log_submit_latency", histogram(), (("logger", "l"),)),
            ]
        ).json()
    )
    assert shown["message_count"] == {"help": "total number of messages in memory", "type": "gauge", "value": 7.0}
    assert shown["total_messages_delivered"]["value"] == {"service": {"smtp_client": 3.0}}
    assert shown["scheduled_by_tenant_campaign"]["value"] == [dict(BOTH) | {"@": 2.0}]
    assert shown["message_save_latency"]["value"] == {
        "count": 3.0,
        "sum": 5.55,
        "avg": 1.8499999999999999,
        "bucket": [[0.1, 1.0], [1.0, 2.0]],
    }
    assert shown["log_submit_latency"]["value"]["logger"]["l"]["avg"] == 0.0


def test_nothing_is_something():
    """A daemon that has just begun shows empty metrics."""
    assert merge([]).text() == b""
    assert merge([]).json() == b"{}"
    assert merge([Metrics([]).snapshot()]).value("nope") == 0.0


def test_shares_of_routes_are_what_workers_take_them_for_on_average():
    """They know nearly the same: the mean of those that know of a class, which still adds up to 1."""
    a, b = (("route", "a"),), (("route", "b"),)
    first = [Sample("route_share", 0.5, a), Sample("route_share", 0.5, b), Sample("route_samples", 90, a)]
    second = [Sample("route_share", 0.2, a), Sample("route_share", 0.8, b), Sample("route_samples", 96, a)]
    third = [Sample("route_share", 0.2, a), Sample("route_share", 0.8, b)]
    found = numbers(first, second, [], third)
    assert [round(found.value("route_share", route=route), 6) for route in "ab"] == [0.3, 0.7]
    assert found.value("route_samples", route="a") == 93
    broken = [[Sample("route_breaker_open", value, a)] for value in (0.0, 1.0, 0.0)]
    assert numbers(*broken).value("route_breaker_open", route="a") == 1.0


def test_every_metric_of_the_catalogue_is_made():
    """Nobody builds an alert on a name that never comes; some are put together of a stem and a suffix."""
    sources = [path for path in Path(kumotwist.__file__).parent.rglob("*.py") if path.name != "catalogue.py"]
    text = "".join(path.read_text() for path in sources)
    stems = {re.sub(r"^total_messages_(?!received).*", "total_messages_", name) for name in CATALOGUE}
    assert [stem for stem in sorted(stems) if f'"{stem}' not in text] == []
