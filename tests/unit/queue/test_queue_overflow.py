"""What a route had no room for and goes by another one: it says as much of that one as any message does."""

from collections import Counter
from functools import partial

from support.fakes_queue import DELIVERED, PEER, FakeChannel, FakePolicy, House
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, RouteEntry, RouteTableConfig
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit, Throttle

NAMES = ("a", "b", "c")
BUSY = Outcome(Verdict.TRANSIENT, Response(451, "503 Service Unavailable"), Scope.MESSAGE, PEER)
KEY_EXPIRED = Outcome(Verdict.TRANSIENT, Response(421, "401 Unauthorized"), Scope.SOURCE, PEER)
CONTENT = Outcome(Verdict.PERMANENT, Response.parse(550, "5.6.0 no"), Scope.MESSAGE, PEER)


def house(weights, *budgets):
    """A house with the routes a, which has these budgets, b and c; failures go on over the next one."""
    policy = FakePolicy(QueueConfig(route_table="bulk"))
    routes = tuple(
        RouteEntry(
            name=name,
            weight=weight,
            protocol=CustomLuaProtocol(constructor=name),
            budgets=budgets if name == "a" else (),
        )
        for name, weight in zip(NAMES, weights, strict=True)
    )
    policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=routes, class_="all", on_failure="next_route")
    one = House(policy=policy)
    one.by_name = {}
    for route in routes:
        one.by_name[route.name] = one.channels[route.protocol] = FakeChannel()
        one.by_name[route.name].protocol_name = f"fake-{route.name}"
    one.manager.start()
    return one


def budget(rate):
    return BudgetConfig(rate=Throttle.parse(rate), over="next_route")


def answer_in_turn(outcomes, batch):
    outcomes.append(outcomes.pop(0))
    return outcomes[-1]


def carried(records):
    return Counter(record.way.route for record in records)


def samples(one):
    counted = one.numbers("route_samples")
    return {name: round(counted[(("table", "bulk"), ("route", name), ("class", "all"))]) for name in NAMES}


def test_what_is_over_a_budget_teaches_which_of_the_other_routes_is_better():
    """A route that refuses every second message gives its share of the overflow to the one that takes all."""
    one = house((80, 10, 10), budget("1/d"))
    one.by_name["b"].answer = partial(answer_in_turn, [CONTENT, DELIVERED])
    for _ in range(400):
        one.insert()
    assert samples(one)["b"] > 100
    one.pass_time(5)
    before = len(one.recorder.records)
    for _ in range(100):
        one.insert()
    assert carried(one.recorder.records[before:])["c"] > 90
    one.stop()


def test_what_finds_a_ready_queue_full_teaches_of_the_route_that_takes_it():
    """The way without room has shown nothing, the other one has."""
    one = house((1000, 1, 0))
    one.by_name["a"].answer = lambda _: Deferred()
    one.policy.path = PathConfig(max_ready=2, connection_limit=Limit(1))
    for _ in range(20):
        one.insert()
    assert samples(one) == {"a": 0, "b": 17, "c": 0}
    one.stop()


def test_what_waited_for_a_source_that_has_to_rest_teaches_of_the_next_route():
    """Only the message that was turned away has failed by it."""
    one = house((1, 1, 0))
    gate = Deferred()
    one.by_name["a"].answer = lambda _: gate
    one.policy.path = PathConfig(connection_limit=Limit(1))
    for _ in range(10):
        one.insert()
    gate.callback(KEY_EXPIRED)
    one.turn()
    assert carried(one.recorder.of("Delivery")) == {"b": 10}
    assert samples(one) == {"a": 1, "b": 9, "c": 0}
    one.stop()


def test_a_message_that_fails_by_every_route_takes_back_its_own_failures_only():
    """What failed by a route that it was not sent by was another message, and counts."""
    one = house((98, 1, 1), budget("2/d"))
    one.by_name["a"].answer = lambda _: BUSY
    one.insert()
    one.insert()
    assert samples(one) == {"a": 2, "b": 0, "c": 0}
    one.by_name["b"].answer = one.by_name["c"].answer = lambda _: BUSY
    one.insert()
    assert carried(one.recorder.of("TransientFailure")) == {"a": 2, "b": 1, "c": 1}
    assert samples(one) == {"a": 2, "b": 0, "c": 0}
    one.stop()


def test_a_single_route_that_fails_is_not_spared_for_those_without_room():
    """Where nothing else was tried there is nothing that all have in common."""
    one = house((98, 2, 0), budget("1/d"))
    one.policy.path = PathConfig(max_ready=2, connection_limit=Limit(1))
    one.by_name["c"].answer = lambda _: Deferred()
    for _ in range(3):
        one.insert(route="c")
    one.insert()
    one.by_name["b"].answer = lambda _: BUSY
    one.insert()
    assert carried(one.recorder.of("TransientFailure")) == {"b": 1}
    assert samples(one)["b"] == 1
    one.stop()
