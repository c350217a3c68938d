"""What is counted of a route beside good and bad: outcomes, receipts by state, latency; of late and since the start."""

from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_queue import DEFERRED, DELIVERED, REFUSED, FakeChannel, FakePolicy, House, now
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.core.errors import KumotwistError
from kumotwist.core.outcome import Verdict
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.stats import Histogram
from kumotwist.core.way import Way
from kumotwist.queue import overdue, routestate
from kumotwist.queue.routes.signals import Signal, signal_of, signal_of_receipt
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tally import Tally, samples_of
from kumotwist.queue.routes.told import Change

NOW = 1_800_000_000.0
HALF_LIFE = 600.0
ROUTES = (
    RouteEntry(name="a", weight=50.0, protocol=CustomLuaProtocol(constructor="a")),
    RouteEntry(name="b", weight=50.0, protocol=CustomLuaProtocol(constructor="b")),
)


def table(**learn) -> RouteTable:
    return RouteTable(RouteTableConfig(name="t", routes=ROUTES, class_="domain", learn=LearnConfig(**learn)))


# -- one tally ----------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(Verdict), st.floats(0.0, 7200.0)), max_size=40),
    st.floats(0.0, 100_000.0),
)
def test_counts_fade_by_half_in_a_half_life(events, after):
    """Exactly as adding up each event's own half-lives would, however far apart events are."""
    tally, at = Tally(HALF_LIFE), NOW
    happened = []
    for verdict, pause in events:
        at += pause
        tally.outcome(verdict, 1.0, at)
        happened.append((verdict, at))
    end = at + after
    lately = tally.lately(end)
    for verdict, count in zip(Verdict, (lately.handed_over, lately.transient, lately.permanent), strict=True):
        wanted = sum(2.0 ** (-(end - when) / HALF_LIFE) for kind, when in happened if kind is verdict)
        assert count == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(-100_000.0, 100_000.0), min_size=1, max_size=30))
def test_a_clock_that_jumps_loses_and_invents_nothing(jumps):
    """Back or forth: no count is negative, or more than there were events."""
    tally, at = Tally(HALF_LIFE), NOW
    for jump in jumps:
        at += jump
        tally.outcome(Verdict.DELIVERED, 0.1, at)
    assert 1.0 - 1e-9 <= tally.lately(at).handed_over <= len(jumps) + 1e-6
    assert sum(tally.totals) == pytest.approx(2.1 * len(jumps))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(Verdict), st.floats(0.0, 1000.0)),
            st.tuples(st.sampled_from(ReceiptState), st.one_of(st.none(), st.floats(0.0, 100_000.0))),
        ),
        max_size=30,
    )
)
def test_what_is_written_is_what_is_read(events):
    """A restart forgets nothing of what was counted of late."""
    tally = Tally(HALF_LIFE)
    for number, (kind, seconds) in enumerate(events):
        if isinstance(kind, Verdict):
            tally.outcome(kind, seconds, NOW + number)
        else:
            tally.receipt(kind, seconds, NOW + number)
    at, slots = msgspec.msgpack.decode(msgspec.msgpack.encode(tally.as_numbers()), type=tuple[float, dict[int, float]])
    read = Tally.of_numbers(HALF_LIFE, at, slots)
    assert read.faded(NOW + 700) == pytest.approx(tally.faded(NOW + 700))


def test_slots_of_a_later_version_are_left_out():
    """A row that knows more than we do is read as far as we can."""
    assert Tally.of_numbers(HALF_LIFE, NOW, {0: 3.0, 99: 1.0, -1: 1.0}).lately(NOW).handed_over == 3.0


def test_latency_is_told_as_half_and_most():
    """The median and 95 percent, to within the bounds of the histogram; nothing on no evidence."""
    tally = Tally(HALF_LIFE)
    assert tally.lately(NOW).to_handover.quantile(0.5) is None
    for seconds in [0.2] * 90 + [20.0] * 10:
        tally.outcome(Verdict.DELIVERED, seconds, NOW)
    timing = tally.lately(NOW).to_handover
    assert 0.1 < timing.quantile(0.5) <= 0.25
    assert 10.0 < timing.quantile(0.95) <= 30.0
    assert timing.seconds == pytest.approx(218.0)
    tally.outcome(Verdict.DELIVERED, 4000.0, NOW)
    assert tally.lately(NOW).to_handover.quantile(1.0) == 300.0, "what is beyond the last bound"


def test_metrics_only_grow_and_leave_out_what_has_not_happened():
    """Counters by outcome and state, histograms of seconds; an open is no arrival time."""
    tally = Tally(HALF_LIFE)
    tally.outcome(Verdict.DELIVERED, 0.3, NOW)
    tally.outcome(Verdict.PERMANENT, 0.3, NOW)
    tally.receipt(ReceiptState.OPENED, 40.0, NOW)
    tally.receipt(ReceiptState.DELIVERED, 4.0, NOW)
    tally.receipt(ReceiptState.FAILED, None, NOW + 10_000)
    found = {(one.name, *one.labels): one.value for one in samples_of(tally, (("table", "t"),))}
    histograms = {key[0]: value for key, value in found.items() if isinstance(value, Histogram)}
    counters = {(key[0], key[-1][1]): value for key, value in found.items() if not isinstance(value, Histogram)}
    assert counters == {
        ("total_route_outcomes", "handed_over"): 1,
        ("total_route_outcomes", "permanent"): 1,
        ("total_route_receipts", "delivered"): 1,
        ("total_route_receipts", "failed"): 1,
        ("total_route_receipts", "opened"): 1,
    }
    assert (sum(histograms["route_handover_seconds"].counts), histograms["route_handover_seconds"].sum) == (1, 0.3)
    assert (sum(histograms["route_receipt_seconds"].counts), histograms["route_receipt_seconds"].sum) == (1, 4.0)


# -- shared and kept ----------------------------------------------------------------------------------


def row_of(one: RouteTable, name: str) -> bytes:
    known = dict(one.news())[name]
    return routestate._encode(routestate._states(one, known))


def test_workers_add_up_what_they_have_counted():
    """An explanation tells what all have seen; each worker's metrics tell its own, which are added up later."""
    one, other = table(), table()
    one.choose("x", NOW)
    other.choose("x", NOW)
    one.tallies.outcome("x", 1, Verdict.TRANSIENT, 0.0, NOW)
    other.tallies.outcome("x", 1, Verdict.TRANSIENT, 0.0, NOW)
    known = routestate._known(other, row_of(one, "x"))
    other.hear(7, "x", known, NOW)
    assert other.tallies.lately("x", 1, NOW).transient == pytest.approx(2.0)
    assert other.tallies.counted("x", 1).totals[1] == 1


def test_a_restart_and_a_changed_table_forget_nothing():
    """What was counted is found again under the route's name, wherever it stands now; counters begin anew."""
    old = table()
    old.choose("x", NOW)
    old.tallies.receipt("x", 1, ReceiptState.COMPLAINED, None, NOW)
    again = table()
    again.recall("x", routestate._known(again, row_of(old, "x")), NOW)
    assert again.tallies.lately("x", 1, NOW).receipts == {"complained": pytest.approx(1.0)}
    assert not any(again.tallies.counted("x", 1).totals)
    turned = RouteTable(RouteTableConfig(name="t", routes=ROUTES[::-1], class_="domain"))
    turned.remember(old)
    assert turned.tallies.lately("x", 0, NOW).receipts == {"complained": pytest.approx(1.0)}
    assert any(turned.tallies.counted("x", 0).totals)


def test_a_row_of_an_earlier_version_is_read():
    """It has no tally; what it says of good and bad counts on."""
    one = table()
    row = msgspec.msgpack.encode({"a": [[3.0, 1.0, NOW] * 2, [0.0] * 6, 0.0], "b": [[0.0] * 6, [0.0] * 6, 0.0, 0.0]})
    known = routestate._known(one, row)
    assert known.handed[0].slow.good == 3.0
    assert not known.tallies
    assert routestate._known(one, b"\xc1nonsense") is None


# -- what latency teaches -----------------------------------------------------------------------------


def test_slow_is_worse_only_if_the_operator_says_so():
    """Seconds count against `handed_over_within` and `receipt_within`; without them an arrival is an arrival."""
    assert signal_of(DELIVERED, 60.0) is Signal.HANDED_OVER
    assert signal_of(DELIVERED, 60.0, 10.0) is Signal.SLOW
    assert signal_of(DELIVERED, 9.0, 10.0) is Signal.HANDED_OVER
    assert signal_of(REFUSED, 60.0, 10.0) is Signal.ANSWERED
    late = partial(signal_of_receipt, ReceiptState.DELIVERED, ReceiptClass.NONE)
    assert late(600.0, None) is Signal.ARRIVED
    assert late(600.0, 60.0) is Signal.LOST
    assert late(None, 60.0) is Signal.ARRIVED
    assert signal_of_receipt(ReceiptState.CLICKED, ReceiptClass.NONE, 9e4, 60.0) is None


def test_a_slow_route_loses_share_and_no_breaker_opens():
    """It is alive: the judgement takes its time, sudden death is something else. The record says how slow."""
    changes: list[Change] = []
    one = table(handed_over_within=10.0, min_samples=20.0)
    one.changed = changes.append
    for number in range(100):
        for position, seconds in ((0, 0.2), (1, 40.0)):
            at = NOW + number / 10
            one.tallies.outcome("x", position, Verdict.DELIVERED, seconds, at)
            one.report("x", position, Signal.HANDED_OVER if seconds < 10.0 else Signal.SLOW, at)
    assert one.shares("x", NOW + 15)[1] <= 0.02
    assert {change.what for change in changes} == {"share"}
    assert "b: 0.0% of 99 handed over in time, 95 % within 58.5 s" in changes[-1].evidence


@pytest.mark.parametrize("within", [0.0, -1.0])
def test_a_time_that_nothing_can_keep_is_refused(within):
    """A typing error must not take all routes for lost."""
    for name in ("handed_over_within", "receipt_within"):
        with pytest.raises(ValueError, match=f"option '{name}' must be more than 0"):
            LearnConfig(**{name: within})


# -- in the queue -------------------------------------------------------------------------------------


def house(heard_of=None, class_="domain", **learn) -> House:
    policy = FakePolicy(QueueConfig(route_table="t"))
    policy.tables["t"] = RouteTableConfig(name="t", routes=ROUTES, learn=LearnConfig(**learn), class_=class_)
    one = House(policy=policy, heard_of=heard_of)
    for route in ROUTES:
        one.channels[route.protocol] = FakeChannel()
    one.manager.start()
    return one


def lately(one: House, name: str, position: int):
    return one.manager.table_at_work("t").tallies.lately(name, position, one.clock.seconds())


def test_every_outcome_is_counted_whoevers_fault_it_is():
    """An unknown user does not blame the route, but it is told; a wait in the ready queue counts as time."""
    one = house()
    channel = one.channels[ROUTES[0].protocol]
    answer: Deferred = Deferred()
    for said in (DELIVERED, DEFERRED, REFUSED, answer):
        channel.answer = lambda batch, said=said: said
        one.insert(one.message("u@x.example", route="a"))
    one.pass_time(7)
    answer.callback(DELIVERED)
    found = lately(one, "x.example", 0)
    assert [round(count) for count in (found.handed_over, found.transient, found.permanent)] == [2, 1, 1]
    assert 5.0 < found.to_handover.quantile(1.0) <= 10.0
    assert lately(one, "", 0) == found
    labels = (("table", "t"), ("route", "a"), ("class", "x.example"))
    assert one.numbers("route_handover_seconds")[labels].sum == pytest.approx(7.0)
    assert one.numbers("total_route_outcomes")[(*labels, ("outcome", "permanent"))] == 1
    one.stop()


def test_a_class_called_all_is_not_the_class_of_all():
    """A tenant may be called that: it has a series of its own in metrics, with quotes, and is added to no other."""
    one = house(class_="tenant")
    for name in ("all", "all", '"all"', "shop"):
        one.insert(one.message("u@x.example", tenant=name, route="a"))
    by_class = {
        dict(labels)["class"]: value
        for labels, value in one.numbers("total_route_outcomes").items()
        if ("outcome", "handed_over") in labels
    }
    assert by_class == {"all": 4, '"all"': 2, '""all""': 1, "shop": 1}
    for name in ("route_share", "route_outage"):
        assert {dict(labels)["class"] for labels in one.numbers(name)} == set(by_class)
    one.stop()


def test_receipts_are_counted_by_state_and_time():
    """From the hand-over to what the provider says, by its clock unless that is ahead of ours."""
    one = house(receipt_within=30.0)
    one.insert(one.message("u@x.example", route="b"))
    (record,) = one.recorder.of("Delivery")
    handed = one.clock.seconds()
    one.pass_time(50)
    for state, came in (
        (ReceiptState.ACCEPTED, None),
        (ReceiptState.DELIVERED, handed + 4),
        (ReceiptState.OPENED, 9e9),
    ):
        event = ReceiptEvent(channel="x", state=state, event_time=came)
        one.manager.note_receipt(record.way, event, handed)
    found = lately(one, "x.example", 1)
    assert set(found.receipts) == {"accepted", "delivered", "opened"}
    assert found.to_receipt.seconds == pytest.approx(4.0)
    one.manager.note_receipt(record.way, ReceiptEvent(channel="x", state=ReceiptState.DELIVERED), handed)
    assert one.numbers("route_receipt_seconds")[(("table", "t"), ("route", "b"), ("class", "all"))].sum == 54.0
    arrived = one.manager.table_at_work("t")._standings.of("").arrived[1]
    assert round(arrived.slow.bad) == 1, "the second came after fifty seconds, later than allowed"
    assert now(one.manager._parts.tables.get("t")) is one.manager.table_at_work("t")
    one.stop()


def arrivals(one: House, position: int) -> tuple[int, int]:
    counts = one.manager.table_at_work("t")._standings.of("").arrived[position].slow
    return round(counts.good), round(counts.bad)


@pytest.mark.parametrize(("has_receipts", "expected"), [(True, (1, 0)), (False, (0, 0))])
def test_who_opens_a_message_says_nothing_of_those_that_nobody_opens(has_receipts, expected):
    """Opens and clicks are counted for who asks, and are no sample; a delivery is, once."""
    one = house()
    way = Way("t", "a", "x.example")
    told = [(ReceiptState.DELIVERED, "m1")] if has_receipts else []
    told += [(ReceiptState.OPENED, "m1"), (ReceiptState.OPENED, "m1"), (ReceiptState.CLICKED, "m1")]
    told += [(ReceiptState.OPENED, "m2")]
    for number, (state, message) in enumerate(told):
        event = ReceiptEvent(channel="x", state=state, remote_id=message, event_id=str(number))
        one.manager.note_receipt(way, event)
    assert arrivals(one, 0) == expected
    assert lately(one, "", 0).receipts["opened"] == pytest.approx(3.0)
    one.stop()


@pytest.mark.parametrize("others", [(), (ReceiptState.OPENED,)])
def test_what_a_route_does_not_report_as_failed_has_arrived(others):
    """A provider that tells only of bounces (and opens) is as good as one that reports each delivery, not worse."""

    async def heard_of(ids):
        return ()

    one = house(heard_of, receipt_within=10.0)
    for number in range(100):
        for name in ("a", "b"):
            one.insert(one.message("u@x.example", route=name))
            has_failed = number % 25 == 0
            state = ReceiptState.FAILED if has_failed else ReceiptState.DELIVERED if name == "a" else None
            told = [state] if state is not None else []
            if name == "b" and number % 5 == 1:
                told += others
            for each in told:
                event = ReceiptEvent(channel="x", state=each, class_=ReceiptClass.BLOCK, spool_id=one.ids())
                one.manager.note_receipt(Way("t", name, "x.example"), event)
    table, now = one.manager.table_at_work("t"), one.clock.seconds()
    assert [table.shown("", at, now).health for at in (0, 1)] == pytest.approx([0.96, 0.96], abs=0.002)
    one.pass_time(30)
    assert arrivals(one, 1) == (0, 4), "what nothing was heard of on this route is not lost"
    now = one.clock.seconds()
    assert table.shown("", 1, now).health == pytest.approx(0.96, abs=0.002)
    assert table.shown("x.example", 1, now).health == pytest.approx(0.96, abs=0.002)
    one.stop()


def test_a_route_that_once_reported_deliveries_and_no_more_is_forgotten_as_such_in_the_end():
    """Whose webhook is gone loses all; when few receipts remain of what it sends, it is one that reports nothing."""

    async def heard_of(ids):
        return ()

    one = house(heard_of, receipt_within=10.0)
    half_life = 600.0
    one.insert(one.message("u@x.example", route="a"))
    one.manager.note_receipt(Way("t", "a", ""), ReceiptEvent(channel="x", state=ReceiptState.DELIVERED))
    one.pass_time(20)
    assert arrivals(one, 0) == (1, 1)
    for half_lives, lost in ((1, 1), (10, 0)):
        one.pass_time(half_lives * half_life)
        one.insert(one.message("u@x.example", route="a"))
        one.pass_time(20)
        assert arrivals(one, 0) == (0, lost)
    one.stop()


class Ledger:
    """The ledger of receipts: which messages it knows the fate of, or why it does not answer."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.error: Exception | None = None
        self.asked: list[bytes] = []

    async def __call__(self, spool_ids):
        self.asked += spool_ids
        if self.error is not None:
            raise self.error
        return self.known


def test_a_receipt_that_does_not_come_is_a_loss():
    """On a route of which receipts come at all; what another worker has heard of is not lost; once each."""
    ledger = Ledger()
    one = house(ledger, receipt_within=30.0)
    heard, silent, mute = (one.message("u@x.example", route=route) for route in ("a", "a", "b"))
    for message in (heard, silent, mute):
        one.insert(message)
    ways = {record.message.id: record.way for record in one.recorder.of("Delivery")}
    one.manager.note_receipt(
        ways[heard.id], ReceiptEvent(channel="x", state=ReceiptState.DELIVERED), one.clock.seconds()
    )
    ledger.known.add(heard.id)
    one.pass_time(30)
    assert not ledger.asked
    assert arrivals(one, 0) == (1, 0)
    one.pass_time(10)
    assert sorted(ledger.asked) == sorted((heard.id, silent.id, mute.id))
    assert arrivals(one, 0) == (1, 1)
    assert arrivals(one, 1) == (0, 0), "nothing ever comes of this route"
    late = ReceiptEvent(channel="x", state=ReceiptState.DELIVERED)
    one.manager.note_receipt(ways[silent.id], late, one.clock.seconds() - 40)
    assert arrivals(one, 0) == (1, 1), "it has counted already"
    one.stop()


def test_a_ledger_that_cannot_be_read_blames_nobody(events):
    """A broken state file is our fault; the log says so."""
    ledger = Ledger()
    ledger.error = KumotwistError("disk is full")
    one = house(ledger, receipt_within=30.0)
    one.insert(one.message("u@x.example", route="a"))
    (record,) = one.recorder.of("Delivery")
    one.manager.note_receipt(record.way, ReceiptEvent(channel="x", state=ReceiptState.DELIVERED))
    one.pass_time(40)
    assert arrivals(one, 0) == (1, 0)
    assert any("count for nothing: disk is full" in formatEvent(event) for event in events)
    ledger.error = None
    one.insert(one.message("u@x.example", route="a"))
    one.pass_time(40)
    assert arrivals(one, 0)[1] == 1
    one.stop()


def test_a_receipt_may_be_the_first_word_about_a_table():
    """After a restart receipts come before messages; those of a table that policy has dropped are nobody's."""
    one = house()
    event = ReceiptEvent(channel="x", state=ReceiptState.DELIVERED)
    one.manager.note_receipt(Way("t", "a", "x.example"), event, one.clock.seconds() - 3)
    one.manager.note_receipt(Way("gone", "a", "x.example"), event)
    one.manager.note_receipt(Way("t", "renamed", "x.example"), event)
    assert lately(one, "x.example", 0).receipts == {"delivered": pytest.approx(1.0)}
    assert one.manager.table_at_work("gone") is None
    one.stop()


def test_hand_overs_that_are_too_many_to_wait_for_are_told_and_counted(monkeypatch):
    """So that nobody takes a route without receipts for a good one: by table, and one line a minute."""
    monkeypatch.setattr(overdue, "MAX_WAITING", 2)

    async def heard_of(ids):
        return ids

    one = house(heard_of, receipt_within=600.0)
    labels = (("table", "t"),)
    with capturedLogs() as events:
        for _ in range(2):
            one.insert()
        one.pass_time(2)
        assert one.numbers("total_route_receipts_not_awaited") == {}
        for _ in range(3):
            one.insert()
        one.pass_time(2)
        assert one.numbers("total_route_receipts_not_awaited") == {labels: 3}
        for _ in range(20):
            one.insert()
            one.pass_time(1)
        said = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        assert [text.partition(":")[0] for text in said] == [
            "3 hand-overs will not count as lost should no receipt come within learn.receipt_within"
        ]
        one.pass_time(60)
        assert len([event for event in events if event["log_level"] is LogLevel.warn]) == 2
        assert formatEvent(events[-1]).startswith("20 hand-overs")
        one.pass_time(550)
        one.insert()
        assert one.numbers("total_route_receipts_not_awaited") == {labels: 23}, "there is room again"
    one.stop()
