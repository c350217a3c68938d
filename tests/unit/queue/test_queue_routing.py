"""Messages that go by a route table: the split, the next route, what is learned, what is recorded."""

from collections import Counter
from functools import partial

import pytest
from attrs import evolve
from support.fakes_queue import (
    DEFERRED,
    DELIVERED,
    PEER,
    REFUSED,
    FakeChannel,
    FakePolicy,
    House,
    now,
    started_clock,
)
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig, PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig, SmtpProtocol
from kumotwist.config.routes import RouteEntry, RouteTableConfig
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import ReceiptEvent, ReceiptState
from kumotwist.core.response import Response
from kumotwist.core.units import Limit
from kumotwist.core.way import Way
from kumotwist.net.tasks import Tasks
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routetables import MAX_TABLES, RouteTables

DEAD = Outcome(Verdict.TRANSIENT, Response(451, "cannot connect"), Scope.SESSION, PEER)
KEY_EXPIRED = Outcome(Verdict.TRANSIENT, Response(421, "401 Unauthorized"), Scope.SOURCE, PEER)
BUSY = Outcome(Verdict.TRANSIENT, Response(451, "503 Service Unavailable"), Scope.MESSAGE, PEER)
UNKNOWN = evolve(DEAD, is_ambiguous=True)
NAMES = ("a", "b", "c")


def answer_with(answer, batch):
    return answer


def house(weights=(20, 10, 70), answers=(DELIVERED,) * 3, **table):
    """A house whose queue goes by the table `bulk`: routes a, b and c, each with a channel of its own."""
    policy = FakePolicy(QueueConfig(route_table="bulk"))
    protocols = [CustomLuaProtocol(constructor=name) for name in NAMES]
    routes = tuple(
        RouteEntry(name=name, weight=weight, protocol=protocol)
        for name, weight, protocol in zip(NAMES, weights, protocols, strict=True)
    )
    policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=routes, **table)
    one = House(policy=policy)
    for name, protocol, answer in zip(NAMES, protocols, answers, strict=True):
        channel = one.channels[protocol] = FakeChannel(partial(answer_with, answer))
        channel.protocol_name = f"fake-{name}"
    one.by_name = dict(zip(NAMES, one.channels.values(), strict=True))
    one.manager.start()
    return one


def routes_of(one, kind="Delivery"):
    return Counter(record.way.route for record in one.recorder.of(kind))


def test_a_hundred_messages_go_as_the_table_says():
    """20, 10 and 70 percent, whatever the queue; each record says by which route."""
    one = house()
    for number in range(100):
        one.insert(one.message(f"u@d{number % 7}.example"))
    assert routes_of(one) == {"a": 20, "b": 10, "c": 70}
    record = one.recorder.of("Delivery")[0]
    assert record.way == Way("bulk", record.way.route, "d0.example")
    assert record.site.endswith(f"@fake-{record.way.route}")
    one.stop()


def test_a_message_may_name_its_table_and_its_route():
    """Meta `route_table` comes before the queue's; meta `route` pins, and the others make up for it."""
    one = house()
    one.policy.tables["own"] = evolve(one.policy.tables["bulk"], name="own")
    for _ in range(50):
        one.insert(one.message(route_table="own", route="b"))
    assert {(record.way.table, record.way.route) for record in one.recorder.of("Delivery")} == {("own", "b")}
    one.stop()


def test_a_table_or_route_that_does_not_exist_keeps_the_message():
    """A typing error is a transient failure that names what there is; the message goes out when it is mended."""
    one = house()
    one.insert(one.message(route="z"))
    one.insert(one.message(route_table="nowhere"))
    one.insert(one.message(route=7))
    texts = [record.response.content for record in one.recorder.of("TransientFailure")]
    assert "meta.route is 'z'" in texts[0]
    assert "it has a, b, c" in texts[0]
    assert "no table nowhere" in texts[1]
    assert "meta.route is '7'" in texts[2]
    assert len(one.store) == 3
    one.stop()


@pytest.mark.parametrize("failure", [DEAD, KEY_EXPIRED, BUSY])
def test_the_next_route_takes_over_at_once(failure):
    """A dead way or an expired key costs a message nothing but the hop, which is in the log."""
    one = house((0.0001, 0, 100), (DELIVERED, DELIVERED, failure), on_failure="next_route")
    message = one.insert()
    assert [(record.type.value, record.way.route) for record in one.recorder.records if record.message is message] == [
        ("TransientFailure", "c"),
        ("Delivery", "a"),
    ]
    assert one.recorder.of("Delivery")[0].attempts == 0
    one.stop()


def test_each_route_is_tried_once_an_attempt():
    """When all ways are dead the message waits, charged one attempt."""
    one = house(answers=(DEAD,) * 3, on_failure="next_route")
    one.insert()
    assert sorted(routes_of(one, "TransientFailure").items()) == [("a", 1), ("b", 1), ("c", 1)]
    one.pass_time(1300)
    assert {record.attempts for record in one.recorder.of("TransientFailure")} == {0, 1}
    one.stop()


def test_without_next_route_a_message_waits():
    """The default is the queue's own schedule."""
    one = house((0, 0, 100), (DELIVERED, DELIVERED, DEAD))
    one.insert()
    assert routes_of(one, "TransientFailure") == {"c": 1}
    assert not one.recorder.of("Delivery")
    one.stop()


@pytest.mark.parametrize(("allowed", "delivered"), [(False, 0), (True, 1)])
def test_what_may_have_been_taken_moves_on_only_if_policy_says_so(allowed, delivered):
    """A double is worse than a delay, unless the operator thinks otherwise."""
    one = house((0, 1, 100), (DELIVERED, DELIVERED, UNKNOWN), on_failure="next_route", next_when_unknown=allowed)
    one.insert(one.message(route_table="bulk"))
    one.insert(one.message(route_table="bulk"))
    assert len([one_ for one_ in one.recorder.of("Delivery") if one_.attempts == 0]) >= delivered
    one.stop()


@pytest.mark.parametrize("order", [(DEAD, UNKNOWN), (UNKNOWN, DEAD)])
def test_one_recipient_in_doubt_keeps_the_whole_message_on_its_way(order):
    """Nobody gets it twice for the sake of those who surely have not got it."""
    one = house((0, 0, 100), (DELIVERED, DELIVERED, [order]), on_failure="next_route")
    one.insert(one.message("u@dest.example", "v@dest.example"))
    assert not one.recorder.of("Delivery")
    assert len(one.store) == 1
    one.stop()


def test_a_refusal_of_the_recipient_is_final_on_every_way():
    """An unknown user is unknown everywhere: bounced, and no route is blamed for it."""
    one = house(answers=(REFUSED,) * 3, on_failure="next_route")
    for _ in range(100):
        one.insert()
    assert len(one.recorder.of("Bounce")) == 100
    assert not one.recorder.of("RouteChange")
    assert routes_of(one, "Bounce") == {"a": 20, "b": 10, "c": 70}
    one.stop()


def test_a_greylisted_recipient_is_no_fault_of_the_route():
    """A passing failure of one recipient waits on the same schedule as without a table."""
    one = house(answers=(DEFERRED,) * 3, on_failure="next_route")
    one.insert()
    assert len(one.recorder.of("TransientFailure")) == 1
    one.stop()


def test_traffic_leaves_a_route_that_dies_and_comes_back():
    """Sudden death costs four messages and a hop each; the breaker's opening and closing are records with evidence."""
    one = house((50, 50, 0), (DELIVERED, DEAD, DELIVERED), on_failure="next_route")
    for _ in range(100):
        one.insert()
    assert routes_of(one)["a"] == 100
    assert routes_of(one, "TransientFailure") == {"b": 4}
    (opened,) = {record.response.content for record in one.recorder.of("RouteChange") if record.way.name == ""}
    assert opened.startswith("breaker of b from closed to open: ")
    one.by_name["b"].answer = lambda batch: DELIVERED
    for _ in range(30):
        one.pass_time(1)
        one.insert()
    changes = [
        record.route_change for record in one.recorder.of("RouteChange") if record.route_change["what"] == "breaker"
    ]
    assert changes[-1]["after"] == "closed"
    for _ in range(20):
        one.insert()
    assert 8 <= Counter(record.way.route for record in one.recorder.of("Delivery")[-20:])["b"] <= 12
    one.stop()


def test_a_full_ready_queue_sends_on_to_the_next_route():
    """A way without room is a way that is shut: what does not fit goes by another one at once."""
    busy = Deferred()
    one = house((1, 0, 1000), (DELIVERED, DELIVERED, busy), on_failure="next_route")
    one.policy.path = PathConfig(max_ready=2, connection_limit=Limit(1))
    for _ in range(6):
        one.insert()
    assert routes_of(one) == {"a": 3}, "one is on the wire, two wait"
    busy.callback(DELIVERED)
    one.turn()
    assert routes_of(one)["c"] >= 1
    one.stop()


def test_receipts_move_shares():
    """Bounces that come later count for the route that carried the message."""
    one = house((50, 50, 0))
    for _ in range(200):
        one.insert()
    for record in one.recorder.of("Delivery"):
        state = ReceiptState.DELIVERED if record.way.route == "a" else ReceiptState.FAILED
        one.manager.note_receipt(record.way, ReceiptEvent(channel="x", account="main", state=state))
    one.pass_time(4)
    for _ in range(100):
        one.insert()
    latest = Counter(record.way.route for record in one.recorder.of("Delivery")[-100:])
    assert latest["b"] <= 2
    change = next(one_ for one_ in one.recorder.of("RouteChange") if one_.route_change["what"] == "share")
    assert "arrived" in change.response.content
    assert one.numbers("route_share")[(("table", "bulk"), ("route", "b"), ("class", "all"))] < 0.1
    assert one.numbers("route_resting_share")[(("table", "bulk"), ("route", "b"))] == 0.5, "what it is held against"
    one.stop()


def test_a_table_made_anew_remembers():
    """Editing weights does not forget what the routes have shown."""
    one = house((50, 50, 0), (DELIVERED, DEAD, DELIVERED), on_failure="next_route")
    for _ in range(20):
        one.insert()
    old = one.policy.tables["bulk"]
    one.policy.tables["bulk"] = evolve(old, routes=(evolve(old.routes[0], weight=1.0), *old.routes[1:]))
    one.policy.epoch += 1
    before = routes_of(one, "TransientFailure")
    one.insert()
    assert routes_of(one, "TransientFailure") == before, "the breaker is still open"
    one.stop()


def channel_of(record):
    return record.site.rpartition("@")[2]


def own(name, **entry):
    """A table of that name with one route, `main`."""
    return RouteTableConfig(name=name, routes=(RouteEntry(name="main", weight=1, **entry),))


def test_tables_whose_routes_have_the_same_names_do_not_mix_them_up():
    """Whatever was used last: each message leaves by its own table's channel, from its own table's pool."""
    one = house()
    for table, letter in (("t1", "a"), ("t2", "b")):
        one.policy.tables[table] = own(table, protocol=CustomLuaProtocol(constructor=letter))
    for table in ("t3", "t4"):
        one.policy.pools[table] = PoolConfig(name=table, entries=(PoolEntry(name=f"of-{table}"),))
        one.policy.tables[table] = own(table, protocol=CustomLuaProtocol(constructor="c"), egress_pool=table)
    tables = ("t1", "t2", "t3", "t4") * 3
    for table in tables:
        one.insert(one.message("u@x.example", route_table=table))
    went = [(record.way.table, channel_of(record), record.egress_pool) for record in one.recorder.of("Delivery")]
    right = {
        "t1": ("t1", "fake-a", "unspecified"),
        "t2": ("t2", "fake-b", "unspecified"),
        "t3": ("t3", "fake-c", "t3"),
        "t4": ("t4", "fake-c", "t4"),
    }
    assert went == [right[table] for table in tables]
    one.stop()


def test_a_route_that_leads_elsewhere_since_the_policy_was_loaded_anew_does_so_for_every_queue():
    """No message goes on by the old provider, with a key that may be revoked."""
    one = house((0, 0, 1))
    for domain in ("x.example", "y.example"):
        one.insert(one.message(f"u@{domain}"))
    routes = one.policy.tables["bulk"].routes
    moved = evolve(routes[2], protocol=routes[0].protocol)
    one.policy.tables["bulk"] = evolve(one.policy.tables["bulk"], routes=(*routes[:2], moved))
    one.policy.epoch += 1
    for domain in ("x.example", "y.example"):
        one.insert(one.message(f"u@{domain}"))
    assert [channel_of(record) for record in one.recorder.of("Delivery")] == [
        "fake-c",
        "fake-c",
        "fake-a",
        "fake-a",
    ]
    one.stop()


@pytest.mark.parametrize("is_removed", [True, False])
def test_what_waits_for_a_route_that_is_gone_goes_by_another(is_removed):
    """Also when no further message comes: a reload is followed within a second or two."""
    one = house((0, 0, 1))
    gate = Deferred()
    one.by_name["c"].answer = lambda batch: gate
    one.policy.path = PathConfig(connection_limit=Limit(1))
    for _ in range(5):
        one.insert()
    table = one.policy.tables["bulk"]
    routes = (
        table.routes[:2]
        if is_removed
        else (*table.routes[:2], evolve(table.routes[2], protocol=CustomLuaProtocol(constructor="d")))
    )
    one.policy.tables["bulk"] = evolve(table, routes=(evolve(routes[0], weight=1), *routes[1:]))
    one.policy.epoch += 1
    one.pass_time(3)
    gate.callback(DELIVERED)
    one.pass_time(3)
    deliveries = one.recorder.of("Delivery")
    assert len(deliveries) == 5
    assert [channel_of(record) for record in deliveries].count("fake-c") == 1, "the one on the wire"
    one.stop()


def test_what_still_connects_for_a_route_that_is_gone_goes_by_another():
    """Nothing is on the wire: a reload that takes the route away holds for it as well."""
    one = house((0, 0, 1))
    connected = Deferred()
    one.by_name["c"].on_connect = lambda: connected
    one.insert()
    table = one.policy.tables["bulk"]
    one.policy.tables["bulk"] = evolve(table, routes=(evolve(table.routes[0], weight=1), *table.routes[1:2]))
    one.policy.epoch += 1
    one.pass_time(3)
    assert routes_of(one) == {"a": 1}
    connected.callback(None)
    one.pass_time(3)
    assert len(one.recorder.of("Delivery")) == 1
    one.stop()


def test_one_that_cannot_go_back_takes_no_other_with_it(failures):
    """A defect that one message meets on its way back to its queue strands none of those that come after it."""
    one = house((0, 0, 1))
    gate = Deferred()
    one.by_name["c"].answer = lambda batch: gate
    one.policy.path = PathConfig(connection_limit=Limit(1))
    for _ in range(5):
        one.insert()
    one.recorder.fail_at("Delayed")
    table = one.policy.tables["bulk"]
    one.policy.tables["bulk"] = evolve(table, routes=(evolve(table.routes[0], weight=1), *table.routes[1:2]))
    one.policy.epoch += 1
    one.pass_time(3)
    failures.expect("the recorder fails")
    assert routes_of(one) == {"a": 3}
    gate.callback(DELIVERED)
    one.pass_time(3)
    assert len(one.store) == 1, "a restart finds it"
    one.stop()


@pytest.mark.parametrize("mx_list", [(), ("relay.example",)])
def test_a_dead_domain_shuts_the_way_to_itself_only(mx_list):
    """A relay that is named in the policy is the way itself."""
    one = house((1, 1, 0))
    to_mx = SmtpProtocol(mx_list=mx_list)
    table = one.policy.tables["bulk"]
    one.policy.tables["bulk"] = evolve(table, routes=(evolve(table.routes[0], protocol=to_mx), *table.routes[1:]))
    one.channels[to_mx] = FakeChannel(lambda batch: DEAD)
    for _ in range(12):
        one.insert(one.message("u@dead.example"))
    used = one.manager.table_at_work("bulk")
    assert used.breaker("dead.example", 0).state is State.OPEN
    assert (used.breaker("", 0).state is State.OPEN) is bool(mx_list)
    one.stop()


class SlowState:
    """A state file that takes its time."""

    def __init__(self):
        self.gates = []

    async def recall(self, table):
        self.gates.append(Deferred())
        await self.gates[-1]


def test_what_is_known_of_a_table_is_read_once_also_with_a_reload_meanwhile():
    """However many messages wait for it, before and after; the table is that of the present policy, with all routes."""
    policy, clock, tasks, state = FakePolicy(), started_clock(), Tasks(), SlowState()
    tables = RouteTables(policy, clock, tasks, lambda *_: None, state=state)
    routes = tuple(RouteEntry(name=name, weight=1, protocol=CustomLuaProtocol(constructor=name)) for name in NAMES)
    asked = []
    for some in (routes[:2], routes):
        policy.tables["t"] = RouteTableConfig(name="t", routes=some)
        asked += [Deferred.fromCoroutine(tables.get("t")) for _ in range(100)]
        policy.epoch += 1
    (gate,) = state.gates
    gate.callback(None)
    assert len({id(one.result) for one in asked}) == 1
    table = asked[0].result
    assert [route.name for route in table.config.routes] == list(NAMES)
    assert {table.choose("", clock.seconds()).route for _ in range(9)} == set(NAMES)


def test_tables_that_clients_make_up_do_not_push_out_one_in_use():
    """There is room for a hundred and some; the one that was used longest ago makes way."""
    one = house()
    for number in range(MAX_TABLES + 10):
        one.policy.tables[f"t{number}"] = own(f"t{number}", protocol=CustomLuaProtocol(constructor="a"))
        one.insert(one.message(route_table=f"t{number}"))
        one.insert()
        one.pass_time(1)
    assert "bulk" in shown_tables(one)
    assert len(shown_tables(one)) == MAX_TABLES
    one.stop()


@pytest.mark.parametrize("name", ["route", "route_table"])
def test_an_empty_name_in_the_metadata_names_nothing(name):
    """A policy may copy a header that is not there."""
    one = house()
    one.insert(one.message(**{name: ""}))
    assert len(one.recorder.of("Delivery")) == 1
    one.stop()


def test_a_sticky_key_stays_on_its_route():
    """A conversation does not change hands from message to message."""
    one = house(sticky_by="meta:thread", class_="all")
    for _ in range(20):
        for thread in ("x", "y", "z", "w"):
            one.insert(one.message(thread=thread))
    by_thread = {}
    for record in one.recorder.of("Delivery"):
        by_thread.setdefault(record.message.meta["thread"], set()).add(record.way.route)
    assert all(len(routes) == 1 for routes in by_thread.values())
    one.stop()


def test_nobody_is_left_travelling():
    """Whatever became of the messages, nothing is remembered of their ways."""
    one = house(answers=(DELIVERED, DEAD, REFUSED), on_failure="retry")
    for _ in range(50):
        one.insert()
    assert not one.manager._parts.routing._travellers
    assert now(one.manager._parts.tables.get("bulk")) is one.manager._parts.tables.at_hand("bulk")
    one.stop()


def shown_tables(one):
    return {dict(labels)["table"] for labels in one.numbers("route_share")}


def test_a_table_that_is_renamed_goes_after_a_while():
    """Once no message has used it for ten minutes and policy knows it no more; the new one stays, used or not."""
    one = house()
    one.insert()
    one.policy.tables["new"] = evolve(one.policy.tables.pop("bulk"), name="new")
    one.policy.config = QueueConfig(route_table="new")
    one.policy.epoch += 1
    one.pass_time(300)
    one.insert(one.message(route_table="new"))
    assert shown_tables(one) == {"bulk", "new"}
    one.pass_time(400)
    assert shown_tables(one) == {"new"}
    assert one.manager.table_at_work("bulk") is None
    one.pass_time(1200)
    assert shown_tables(one) == {"new"}
    one.stop()


def test_a_message_that_waits_on_a_forgotten_table_goes_out_when_it_is_back():
    """What was learned of late is forgotten, and no message is."""
    one = house(answers=(DEAD,) * 3)
    message = one.insert()
    bulk = one.policy.tables.pop("bulk")
    one.policy.epoch += 1
    one.pass_time(700)
    assert one.manager.table_at_work("bulk") is None
    one.policy.tables["bulk"] = bulk
    one.policy.epoch += 1
    for channel in one.by_name.values():
        channel.answer = partial(answer_with, DELIVERED)
    one.pass_time(1300)
    assert [record.message.id for record in one.recorder.of("Delivery")] == [message.id]
    one.stop()


def test_a_table_that_nobody_uses_for_a_day_goes():
    """Policy would still make one of that name, as of any name."""
    one = house()
    one.insert()
    for _ in range(1441):
        one.clock.advance(60)
    one.turn()
    assert shown_tables(one) == set()
    one.insert()
    assert shown_tables(one) == {"bulk"}
    one.stop()
