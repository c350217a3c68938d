"""A log of the past against a new policy: counted by share, exact about who goes elsewhere, frank about the rest."""

import itertools
import json

import pytest
import pytest_twisted
import zstandard
from attrs import evolve
from support.fakes_queue import FakeChannel, FakePolicy

from kumotwist.config.egress import PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import IdGenerator
from kumotwist.core.units import Throttle
from kumotwist.queue.routes.balance import by_key
from kumotwist.records.segments import SegmentOptions, SegmentWriter
from kumotwist.trial.comparison import Move, Report
from kumotwist.trial.judge import Judge
from kumotwist.trial.pastlog import PastLog
from kumotwist.trial.replay import as_text, compare, question

NOW = 1795462177.25
NEW_ID = IdGenerator(lambda: NOW)
UNSPECIFIED = PoolConfig(name="unspecified", entries=(PoolEntry(name="unspecified"),))


class Inline:
    """Threads that are none."""

    async def run(self, function, *args):
        return function(*args)


class World:
    """A log directory, a policy whose channels are called after their constructors, and the report on both."""

    def __init__(self, directory):
        self.directory = directory
        self.policy = FakePolicy()
        self.policy.pools["unspecified"] = UNSPECIFIED
        self._segments = itertools.count()

    def write(self, *lines, is_finished=True):
        """One segment; its writer."""
        writer = SegmentWriter(self.directory, "", SegmentOptions(max_size=10**9))
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
        writer.write(raw, NOW + next(self._segments))
        if is_finished:
            writer.close()
        return writer

    def by(self, channel, pool=None):
        """All queues leave by this channel."""
        self.policy.config = QueueConfig(protocol=CustomLuaProtocol(constructor=channel), egress_pool=pool)

    def by_table(self, options=None, budgets=(), **weights):
        """All queues leave by a table whose routes are called after their channels; the first has the budgets."""
        self.policy.config = QueueConfig(route_table="bulk")
        routes = tuple(
            RouteEntry(
                name=name,
                weight=weight,
                protocol=CustomLuaProtocol(constructor=name),
                budgets=budgets if name == next(iter(weights)) else (),
            )
            for name, weight in weights.items()
        )
        self.policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=routes, **(options or {}))

    async def report(self, **options):
        return await compare(PastLog.of(self.directory), Judge(self.policy, channel, lambda: NOW), Inline(), **options)


def channel(protocol):
    made = FakeChannel()
    made.protocol_name = protocol.constructor
    return made


def delivery(channel="a", queue="dest.test", kind="Delivery", **more):
    return {
        "type": kind,
        "id": NEW_ID().hex(),
        "sender": "a@src.test",
        "recipient": "u@dest.test",
        "queue": queue,
        "site": f"unspecified->dest.test@{channel}",
        "egress_pool": "unspecified",
        "egress_source": "unspecified",
        "meta": {},
        "headers": {},
        **more,
    }


def by_route(route):
    return delivery(route, route_table="bulk", route=route, route_class="")


def moved(report):
    return {(move.from_, move.to): move.messages for move in report.moves}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest_twisted.ensureDeferred
async def test_the_same_policy_moves_nothing(world):
    """Whatever shares a table has, and although no draw is ever quite the share."""
    world.by_table(a=20, b=10, c=70)
    world.write(*[by_route(name) for name, count in (("a", 21), ("b", 9), ("c", 70)) for _ in range(count)])
    report = await world.report()
    assert (report.messages, report.judged, report.elsewhere, report.moves) == (100, 100, 0.0, [])


@pytest_twisted.ensureDeferred
async def test_another_channel_for_all(world):
    """All of them, with ids to look at."""
    world.by("b")
    lines = [delivery() for _ in range(10)]
    world.write(*lines)
    report = await world.report()
    assert moved(report) == {("a from unspecified", "b from unspecified"): 10.0}
    assert report.moves[0].examples == [line["id"] for line in lines[:3]]
    assert "elsewhere    10 (100.0%)" in as_text(report)


@pytest_twisted.ensureDeferred
async def test_tables_are_compared_by_share(world):
    """Ten percent more for one route is ten percent of the messages, not one draw each."""
    world.by_table(a=30, b=0, c=70)
    world.write(*[by_route(name) for name, count in (("a", 200), ("b", 100), ("c", 700)) for _ in range(count)])
    report = await world.report()
    assert moved(report) == {("b by bulk/b from unspecified", "a by bulk/a from unspecified"): 100.0}


@pytest_twisted.ensureDeferred
async def test_what_a_key_keeps_on_a_route_stays_there(world):
    """A busy thread of a table with sticky keys is no crowd: its own policy moves none of it, another key moves all."""
    world.by_table({"sticky_by": "meta:thread"}, a=50, b=50)
    names, busy = ["a", "b"], 40
    went = [(f"t{number}", names[by_key(f"t{number}", names, (0.5, 0.5))]) for number in (1, 2, 3, 4, 5)]
    lines = [
        delivery(route, route_table="bulk", route=route, meta={"thread": thread})
        for thread, route in went
        for _ in range(busy if thread == "t1" else 3)
    ]
    world.write(*lines)
    report = await world.report()
    assert (report.judged, report.elsewhere, report.moves) == (len(lines), 0.0, [])
    world.by_table({"sticky_by": "meta:thread"}, b=50, c=50)
    moved = await world.report()
    keeps = {thread: ["b", "c"][by_key(thread, ["b", "c"], (0.5, 0.5))] for thread, _ in went}
    assert moved.elsewhere == sum((busy if one == "t1" else 3) for one, route in went if keeps[one] != route)


@pytest_twisted.ensureDeferred
async def test_budgets_are_not_replayed_and_that_is_said(world):
    """What a used-up budget sent by another route looks like a move, so a note says that it may be none."""
    budget = BudgetConfig(rate=Throttle.parse("1/h"), over="next_route")
    world.by_table(budgets=(budget,), a=1, b=0)
    world.write(*[delivery("b", route_table="bulk", route="b") for _ in range(3)])
    report = await world.report()
    assert any("budgets are not replayed" in note for note in report.notes)
    world.by_table(a=1, b=0)
    assert not any("budgets" in note for note in (await world.report()).notes)


def test_a_part_of_a_message_is_no_line():
    """Shares of a crowd may come to less than a message, which nobody has sent."""
    moves = [Move("a", "b", 3.0, ["x"]), Move("a", "c", 0.3, ["y"])]
    text = as_text(Report(5, 5, 3.3, moves, [], [], [], [], [], {}, []))
    assert " 3  a -> b" in text
    assert "a -> c" not in text


@pytest_twisted.ensureDeferred
async def test_what_was_chosen_apart_is_compared_apart(world):
    """Two queues that each had their channel, and now share both: half of each moves, though the sums stay."""
    world.by_table(a=50, b=50)
    world.policy.configs["pinned.test"] = world.policy.config
    world.write(*[delivery("a") for _ in range(10)], *[delivery("b", "pinned.test") for _ in range(10)])
    report = await world.report()
    assert moved(report) == {
        ("a from unspecified", "b by bulk/b from unspecified"): 5.0,
        ("b from unspecified", "a by bulk/a from unspecified"): 5.0,
    }
    assert report.elsewhere == 10.0


@pytest_twisted.ensureDeferred
async def test_pools_are_compared_by_weight(world):
    """Sources have shares too."""
    entries = (PoolEntry(name="s1", weight=3), PoolEntry(name="s2", weight=1))
    world.policy.pools["warm"] = PoolConfig(name="warm", entries=entries)
    world.by("a", "warm")
    world.write(*[delivery(egress_source="s1", egress_pool="warm") for _ in range(40)])
    assert moved(await world.report()) == {("a from s1", "a from s2"): 10.0}


@pytest_twisted.ensureDeferred
async def test_a_table_around_what_there_was_moves_nothing(world):
    """The channel and the sources stay what they were, each with its part."""
    entries = (PoolEntry(name="s1", weight=3), PoolEntry(name="s2", weight=1))
    world.policy.pools["warm"] = PoolConfig(name="warm", entries=entries)
    route = RouteEntry(name="x", weight=1, protocol=CustomLuaProtocol(constructor="a"), egress_pool="warm")
    world.policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=(route,))
    world.policy.config = QueueConfig(route_table="bulk")
    world.write(*[delivery(egress_source=one, egress_pool="warm") for one in ("s1", "s1", "s2", "s1") * 10])
    report = await world.report()
    assert report.elsewhere == 0.0
    assert {(one.from_, one.to): one.messages for one in report.alike} == {
        ("a from s1", "a by bulk/x from s1"): 30.0,
        ("a from s2", "a by bulk/x from s2"): 10.0,
    }


@pytest_twisted.ensureDeferred
async def test_what_ended_on_a_stage_of_a_fallback_is_compared_with_that_stage(world):
    """Under the policy of the time nothing moves; without that stage it would go by what is left."""
    world.by_table(a=1)
    stage = FallbackStage(route_table="text")
    world.policy.tables["bulk"] = evolve(world.policy.tables["bulk"], fallback=(stage,))
    sms = RouteEntry(name="s", weight=1, protocol=CustomLuaProtocol(constructor="s"))
    world.policy.tables["text"] = RouteTableConfig(name="text", routes=(sms,))
    world.write(
        *[by_route("a") for _ in range(6)],
        *[delivery("s", route_table="text", route="s", meta={"route": "a"}) for _ in range(4)],
    )
    assert moved(await world.report()) == {}
    world.by_table(a=1)
    assert moved(await world.report()) == {("s by text/s from unspecified", "a by bulk/a from unspecified"): 4.0}


@pytest_twisted.ensureDeferred
async def test_no_metadata_in_the_log(world):
    """Tenant and campaign come from the queue's name, and the lack is told; no site is looked up."""
    world.by("a")
    world.write(delivery(queue="news:acme@dest.test!relay.test"), delivery(queue="by-hand"))
    report = await world.report()
    assert (report.elsewhere, report.queues) == (0.0, [])
    assert world.policy.asked("queue_config") == [("news:acme@dest.test!relay.test",), ("by-hand",)]
    assert world.policy.asked("egress_path") == []
    assert any("no metadata" in note for note in report.notes)


@pytest_twisted.ensureDeferred
async def test_metadata_that_was_kept_decides(world):
    """A table or a route that a handler had set."""
    world.by("a")
    world.policy.tables["own"] = RouteTableConfig(
        name="own",
        routes=tuple(RouteEntry(name=one, weight=1, protocol=CustomLuaProtocol(constructor=one)) for one in ("a", "b")),
    )
    world.write(delivery(meta={"route_table": "own", "route": "b"}))
    report = await world.report()
    assert moved(report) == {("a from unspecified", "b by own/b from unspecified"): 1.0}
    assert not any("no metadata" in note for note in report.notes)


@pytest_twisted.ensureDeferred
async def test_what_the_policy_has_no_way_for(world):
    """Told with the reason; the others are judged all the same."""
    world.by("a")
    world.policy.configs["bad.test"] = PolicyError("init.lua:7: no such tenant")
    world.write(delivery(), delivery(queue="bad.test"))
    report = await world.report()
    assert report.judged == 1
    assert [(one.what, one.messages) for one in report.failed] == [("init.lua:7: no such tenant", 1)]


@pytest_twisted.ensureDeferred
async def test_a_message_counts_once(world):
    """Several recipients, several records, failures on the way: one message."""
    world.by("a")
    first = delivery()
    second = {**first, "recipient": ["v@dest.test", "w@dest.test"], "type": "Bounce"}
    world.write({**first, "type": "Reception"}, {**first, "type": "TransientFailure"}, first, second)
    report = await world.report()
    assert (report.messages, report.judged) == (1, 1)
    assert report.read["Delivery"] == report.read["Bounce"] == report.read["Reception"] == 1


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_judged_is_counted(world):
    """Segments in progress, torn or no segments; lines that are no records; messages without a way or an end."""
    world.by("a")
    writer = world.write(delivery(), b"a template's line\n", is_finished=False)
    world.write(
        delivery(kind="Expiration", site=""),
        delivery(id="no id"),
        {**delivery(), "type": "Reception"},
        *[{**delivery(), "type": "Reception"} for _ in range(5)],
    )
    torn = world.directory / "20990101-000000.000000"
    torn.write_bytes(b"\x28\xb5\x2f\xfd\x04\x00\xff\xff\xff")
    (world.directory / "README").write_text("not a segment")
    report = await world.report()
    writer.close()
    assert (report.messages, report.judged) == (3, 1)
    assert {one.what.partition(":")[0]: one.messages for one in report.not_judged} == {
        "Expiration before it was on its way": 1,
        "the record makes no message": 1,
    }
    text = as_text(report)
    assert "1 lines are no records" in text
    assert f"could not be read to their end: {torn} (damaged, or no Zstandard)" in text
    assert "at least 3 messages that came in have no end" in text


@pytest_twisted.ensureDeferred
async def test_a_limit_is_kept(world):
    """And told."""
    world.by("a")
    world.write(*[delivery() for _ in range(10)])
    report = await world.report(limit=4)
    assert report.messages == 4
    assert any("--limit" in note for note in report.notes)


@pytest_twisted.ensureDeferred
async def test_a_queue_is_asked_about_once(world):
    """A million messages to one domain are one question to policy."""
    world.by_table(a=1, b=1)
    world.write(*[by_route("a") for _ in range(1500)])
    await world.report()
    assert len(world.policy.asked("queue_config")) == 3, "the way as such, and each route"


@pytest.mark.parametrize("arguments", [[], ["--log=/nowhere"], ["--log=.", "--limit=0"], ["--log={empty}"]])
def test_a_wrong_command_line(arguments, tmp_path, capsys):
    """Exit status 2 and a word on it."""
    with pytest.raises(SystemExit) as caught:
        question([one.format(empty=tmp_path) for one in arguments], "init.lua")
    told = capsys.readouterr().err
    assert caught.value.code == 2
    assert "--l" in told
    assert told.count("\n") == 1


def test_a_log_of_another_version_or_cut_short_is_read_as_far_as_it_goes(tmp_path):
    """Fields and records that we do not know, and a segment that ends in the middle, stop nothing."""
    lines = [
        b'{"type":"Delivery","id":"00","recipient":"x@dest.test","event_version":99,"new":{"a":[1]}}',
        b'{"type":"SomethingNew","id":"01"}',
        b'{"type":["Delivery"]}',
        b"null",
    ]
    many = [b'{"type":"Delivery","id":"%032x"}' % (number * 7919**3) for number in range(5000)]
    known = zstandard.ZstdCompressor().compress(b"\n".join(lines) + b"\n")
    whole = zstandard.ZstdCompressor().compress(b"\n".join(many))
    (tmp_path / "20261125-010203.000000").write_bytes(known)
    (tmp_path / "20261125-010204.000000").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "20261125-010205.000000").write_bytes(b"")
    past = PastLog.of(tmp_path)
    assert 1 < len(list(past.endings())) < 5001
    assert (past.segments_read, past.damaged_lines, past.records["other"]) == (3, 2, 1)
    assert {path.name: why.partition(":")[0] for path, why in past.damaged.items()} == {
        "20261125-010204.000000": "ends within a record"
    }
