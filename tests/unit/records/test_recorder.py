"""Records on their way to logs, hooks and totals."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import pytest_twisted
import zstandard
from support.fakes_records import FakeBodies, FakeInjector, FakeRecordPolicy
from support.smallfs import small_file_system
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from kumotwist.config.records import LocalLogConfig, LogHookConfig, RecordOptions
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import ConfigError, Overload, PolicyError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.records.recorder import RecordLog

ids = IdGenerator(reactor.seconds)
USER = EnvelopeAddress("user", "example.org")
BODY = b"Subject: hi\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody\r\n"


def new_record(kind=RecordType.RECEPTION, **changes):
    message = Message(ids(), USER, (USER,), {"tenant": "t", "reception_protocol": "ESMTP"}, BODY)
    fields = {"message": message, "sender": "a@example.com", "recipients": ("b@example.org",), "queue": "q"}
    return Record(
        **{"type": kind, "event_time": reactor.seconds(), "response": Response(250, "ok"), **fields, **changes}
    )


class House:
    """A record log with its surroundings."""

    def __init__(self):
        self.policy, self.injector, self.bodies = FakeRecordPolicy(), FakeInjector(), FakeBodies()
        self.open_logs = []

    def open(self, logs=(), hooks=()):
        made = RecordLog.open(
            logs=logs,
            hooks=hooks,
            policy=self.policy,
            inject=self.injector.inject,
            load_body=self.bodies.load,
            new_id=ids,
            nodeid="node",
            reactor=reactor,
        )
        self.open_logs.append(made)
        return made


@pytest_twisted.async_yield_fixture
async def house():
    made = House()
    yield made
    for one in made.open_logs:
        await one.close()


def lines(directory):
    found = []
    for path in sorted(directory.iterdir()):
        assert not path.stat().st_mode & 0o222
        with open(path, "rb") as file:
            found += zstandard.ZstdDecompressor().stream_reader(file).read().splitlines(keepends=True)
    return found


@pytest_twisted.ensureDeferred
async def test_records_are_lines_of_json_with_chosen_fields(house, tmp_path):
    """Each record is one line, with the headers and metadata that were asked for."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path / "logs"), headers=("X-*", "subject"), meta=("tenant",))])
    for kind in (RecordType.RECEPTION, RecordType.DELIVERY):
        await log.record(new_record(kind))
    await log.record(new_record(RecordType.REJECTION, message=None, meta={"tenant": "m", "x": 1}))
    await log.close()
    records = [json.loads(line) for line in lines(tmp_path / "logs")]
    assert [one["type"] for one in records] == ["Reception", "Delivery", "Rejection"]
    assert records[0]["headers"] == {"Subject": "hi", "X-A": ["1", "2"]}
    assert [one["meta"] for one in records] == [{"tenant": "t"}, {"tenant": "t"}, {"tenant": "m"}]
    assert records[2]["headers"] == {}


@pytest_twisted.ensureDeferred
async def test_headers_come_from_the_spool_when_the_body_is_not_in_memory(house, tmp_path):
    """A message that waited is logged as fully as a fresh one, and leaves memory again."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path), headers=("Subject",))])
    known, gone = new_record(RecordType.DELIVERY), new_record(RecordType.DELIVERY)
    house.bodies.bodies[known.message.id] = BODY
    known.message.body = gone.message.body = None
    await log.record(known)
    await log.record(gone)
    assert known.message.body is None
    await log.close()
    assert [json.loads(line)["headers"] for line in lines(tmp_path)] == [{"Subject": "hi"}, {}]


@pytest_twisted.ensureDeferred
async def test_each_type_may_go_its_own_way(house, tmp_path):
    """Switched off, to another directory, with a suffix, by template, with a header."""
    per_record = {
        "Reception": RecordOptions(enable=False),
        "Delivery": RecordOptions(
            template="{{ type }} {{ log_record.id }} {{ meta.tenant }} {{ nope }}",
            segment_header="# deliveries\n",
            suffix=".delivery",
        ),
        "Bounce": RecordOptions(log_dir=str(tmp_path / "bounces")),
        "Any": RecordOptions(suffix=".rest"),
    }
    log = house.open([LocalLogConfig(log_dir=str(tmp_path / "all"), per_record=per_record, meta=("*",))])
    delivery = new_record(RecordType.DELIVERY)
    for one in (new_record(), delivery, new_record(RecordType.BOUNCE), new_record(RecordType.DELAYED)):
        await log.record(one)
    await log.close()
    named = {path.suffix: path for path in (tmp_path / "all").iterdir()}
    assert sorted(named) == [".delivery", ".rest"]
    with open(named[".delivery"], "rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read().decode()
    assert text == f"# deliveries\nDelivery {delivery.message.id.hex()} t \n"
    assert [json.loads(line)["type"] for line in lines(tmp_path / "bounces")] == ["Bounce"]


@pytest_twisted.ensureDeferred
async def test_a_filter_decides_and_its_failure_means_no(house, tmp_path, events):
    """A record is logged when the filter event says so; a filter that fails is named in the log."""

    def decide(event, message):
        assert event == "filter"
        if message.meta["tenant"] == "broken":
            raise PolicyError("init.lua:3: boom")
        return message.meta["tenant"] == "yes"

    house.policy.filter = decide
    log = house.open([LocalLogConfig(log_dir=str(tmp_path), filter_event="filter", meta=("tenant",))])
    for tenant in ("yes", "no", "broken"):
        one = new_record()
        one.message.meta["tenant"] = tenant
        await log.record(one)
    await log.record(new_record(RecordType.REJECTION, message=None))
    await log.close()
    assert [json.loads(line)["meta"] for line in lines(tmp_path)] == [{"tenant": "yes"}, {}]
    assert any("boom" in str(event.get("error")) for event in events)


@pytest_twisted.ensureDeferred
async def test_a_filter_sees_the_message_of_a_receipt(house, tmp_path):
    """The message is long gone; id, addresses and metadata are still there to decide by."""
    seen = []
    house.policy.filter = lambda event, message: seen.append(message) or message.meta.get("tenant") == "yes"
    log = house.open([LocalLogConfig(log_dir=str(tmp_path), filter_event="filter", meta=("tenant",))])
    gone = new_record().message.id
    for tenant in ("yes", "no"):
        receipt = new_record(RecordType.RECEIPT, message=None, message_id=gone, meta={"tenant": tenant})
        await log.record(receipt)
    await log.record(new_record(RecordType.RECEIPT, message=None))
    await log.close()
    assert [json.loads(line)["meta"] for line in lines(tmp_path)] == [{"tenant": "yes"}, {}]
    assert {message.id for message in seen} == {gone}
    assert [one.email for one in seen[0].recipients] == list(new_record().recipients)


async def until(condition):
    """Let threads and timers run until `condition()`, within a bound that a busy machine keeps, too."""
    deadline = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < deadline, "it does not come true"
        await deferLater(reactor, 0.02, lambda: None)


@pytest_twisted.ensureDeferred
async def test_records_are_readable_soon_after(house, tmp_path):
    """Whoever follows the log sees a record within a second, in a segment that is still open."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path))])
    await log.record(new_record())
    await until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
    with open(next(tmp_path.iterdir()), "rb") as file:
        read = zstandard.ZstdDecompressor().decompressobj().decompress(file.read())
    assert json.loads(read)["type"] == "Reception"


@pytest_twisted.ensureDeferred
async def test_a_segment_ends_at_its_time_without_new_records(house, tmp_path):
    """A quiet daemon closes its segment too, so that readers get it."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path), max_segment_duration=0.3)])
    await log.record(new_record())
    await until(lambda: any(not path.stat().st_mode & 0o222 for path in tmp_path.iterdir()))


@pytest_twisted.ensureDeferred
async def test_too_many_waiting_records_hold_their_makers_up(house, tmp_path):
    """Past back_pressure a record waits until there is room, and that is counted."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path), back_pressure=5, name="small")])
    for _ in range(23):
        await log.record(new_record())
    await log.close()
    assert len(lines(tmp_path)) == 23
    samples = {sample.name: sample for sample in log.samples() if sample.labels == (("logger", "small"),)}
    assert samples["log_submit_full"].value >= 4
    assert sum(samples["log_submit_latency"].value.counts) == 23


@pytest_twisted.ensureDeferred
async def test_a_disk_that_refuses_is_said_and_mail_goes_on(house, tmp_path, failures):
    """When the log cannot be written, the record is lost, the log says so, and nobody hangs."""
    directory = tmp_path / "logs"
    log = house.open([LocalLogConfig(log_dir=str(directory), back_pressure=1)])
    os.rmdir(directory)
    directory.write_text("in the way")
    await log.record(new_record())
    await log.record(new_record())
    directory.unlink()
    directory.mkdir()
    await log.record(new_record())
    await log.close()
    assert len(lines(directory)) == 1
    assert sum(event["count"] for event in failures.expect("records were lost")) == 2


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"per_record": {"Recption": RecordOptions()}}, "unknown record type 'Recption'"),
        ({"per_record": {"Any": RecordOptions(template="{{ ")}}, "does not parse"),
        ({"log_dir": "/proc/nope"}, "cannot use log directory /proc/nope"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(house, tmp_path, config, complaint):
    """Before anything is logged."""
    with pytest.raises(ConfigError, match=complaint):
        house.open([LocalLogConfig(**{"log_dir": str(tmp_path), **config})])


@pytest.mark.privileged
def test_a_log_directory_that_cannot_be_written_is_said_before_anything_is_logged(house, tmp_path):
    """Not when the first records are lost."""
    with small_file_system(tmp_path / "disk", 1) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=30)
        with pytest.raises(ConfigError, match="may not be written to"):
            house.open([LocalLogConfig(log_dir=str(disk))])


@pytest_twisted.ensureDeferred
async def test_a_hook_makes_a_message_of_a_record(house):
    """A webhook is a message: policy names its queue, the body is the record."""

    def choose(message, hook):
        message.set_meta("queue", f"{hook}.log_hook")
        return message.meta["log_record"]["type"] == "Delivery"

    house.policy.enqueue = choose
    log = house.open(hooks=[LogHookConfig(name="feed", meta=("tenant",), headers=("Subject",))])
    delivery = new_record(RecordType.DELIVERY)
    await log.record(new_record())
    await log.record(delivery)
    (message,) = house.injector.messages
    assert (message.sender.email, [one.email for one in message.recipients]) == ("a@example.com", ["b@example.org"])
    record = message.meta.pop("log_record")
    assert message.meta == {"tenant": "t", "queue": "feed.log_hook", "reception_protocol": "LogRecord"}
    assert json.loads(message.body) == record
    assert message.body.endswith(b"}\n")
    assert record["id"] == delivery.message.id.hex()
    assert (record["meta"], record["headers"]) == ({"tenant": "t"}, {"Subject": "hi"})
    assert not message.is_spooled


@pytest_twisted.ensureDeferred
async def test_hooks_never_feed_themselves(house, tmp_path):
    """Records about hook messages reach local logs, but no hook."""
    log = house.open([LocalLogConfig(log_dir=str(tmp_path))], [LogHookConfig(name="feed")])
    await log.record(new_record(reception_protocol="LogRecord"))
    await log.close()
    assert house.injector.messages == []
    assert len(lines(tmp_path)) == 1


@pytest_twisted.ensureDeferred
async def test_each_sink_gets_its_own_selection(house, tmp_path):
    """Two logs and a hook with different fields do not see each other's."""
    hook = LogHookConfig(
        name="h", per_record={"Any": RecordOptions(template="T{{ meta.tenant }}{{ headers.Subject }}")}
    )
    logs = [
        LocalLogConfig(log_dir=str(tmp_path / "1"), meta=("tenant",)),
        LocalLogConfig(log_dir=str(tmp_path / "2"), headers=("Subject",)),
    ]
    log = house.open(logs, [hook])
    await log.record(new_record())
    await log.close()
    (first,), (second,) = lines(tmp_path / "1"), lines(tmp_path / "2")
    assert (json.loads(first)["meta"], json.loads(first)["headers"]) == ({"tenant": "t"}, {})
    assert (json.loads(second)["meta"], json.loads(second)["headers"]) == ({}, {"Subject": "hi"})
    assert house.injector.messages[0].body == b"T\n"


@pytest_twisted.ensureDeferred
async def test_a_hook_that_fails_harms_nobody(house, events, failures):
    """Policy errors, refusals and impossible addresses are said in the log; record() never raises."""
    log = house.open(hooks=[LogHookConfig(name="feed")])
    house.injector.failure = Overload("full up")
    await log.record(new_record())
    house.injector.failure = None
    house.policy.enqueue = lambda message, hook: 1 / 0
    await log.record(new_record())
    house.policy.enqueue = lambda message, hook: True
    await log.record(new_record(recipients=()))
    await log.record(new_record(sender="not an address"))
    assert house.injector.messages == []
    assert [event["log_level"].name for event in events] == ["error", "critical", "error", "error"]
    failures.expect("division by zero")


@pytest_twisted.ensureDeferred
async def test_a_hook_waits_for_the_store_unless_told_not_to(house):
    """With deferred_spool a slow queue holds no message up; without it the record is safe first."""
    gate = Deferred()

    async def slow(message, hook):
        await gate
        return True

    house.policy.enqueue = lambda message, hook: slow(message, hook)
    later = house.open(hooks=[LogHookConfig(name="later", deferred_spool=True, back_pressure=2)])
    await later.record(new_record())
    await later.record(new_record())
    third = ensureDeferred(later.record(new_record()))
    assert not third.called
    assert {sample.name: sample.value for sample in later.samples()}["log_hook_backlog_count"] == 1
    now = house.open(hooks=[LogHookConfig(name="now")])
    waiting = ensureDeferred(now.record(new_record()))
    assert not waiting.called
    gate.callback(None)
    await waiting
    await third
    assert len(house.injector.messages) == 4


def test_two_hooks_of_one_name_are_refused(house):
    """The name is what tells hooks apart in the policy."""
    with pytest.raises(ConfigError, match="two log hooks named 'a'"):
        house.open(hooks=[LogHookConfig(name="a"), LogHookConfig(name="a")])


@pytest_twisted.ensureDeferred
async def test_totals_count_by_service_and_provider(house):
    """Attempts count under their protocol, their ready queue and their provider."""
    log = house.open()
    site = {"site": "s1->mx@smtp_client", "egress_source": "s1", "egress_pool": "p", "provider_name": "big"}
    for kind in (RecordType.DELIVERY, RecordType.DELIVERY, RecordType.BOUNCE, RecordType.TRANSIENT_FAILURE):
        await log.record(new_record(kind, **site))
    await log.record(new_record(RecordType.DELIVERY, site="s->x@lua:make.x"))
    await log.record(new_record(RecordType.TRANSIENT_FAILURE))
    await log.record(new_record())
    await log.record(new_record(reception_protocol="HTTP"))
    await log.record(new_record(RecordType.REJECTION, message=None))
    counts = {(sample.name, *[value for _, value in sample.labels]): sample.value for sample in log.samples()}
    assert counts["total_messages_delivered", "smtp_client"] == 2
    assert counts["total_messages_delivered", "smtp_client:s1->mx@smtp_client"] == 2
    assert counts["total_messages_delivered", "lua:make.x"] == 1
    assert counts["total_messages_fail", "smtp_client"] == 1
    assert counts["total_messages_transfail", "smtp_client"] == 1
    assert counts["total_messages_delivered_by_provider", "big"] == 2
    assert counts["total_messages_transfail_by_provider_and_source", "big", "s1", "p"] == 1
    # KumoMTA's provider of a path that names none is the site.
    assert counts["total_messages_delivered_by_provider", "x"] == 1
    assert counts["total_messages_delivered_by_provider_and_source", "x", "", ""] == 1
    assert counts["total_messages_received", "esmtp_listener"] == 1
    assert counts["total_messages_received", "http_listener"] == 1
    assert counts["smtp_server_rejections", "esmtp_listener"] == 1
