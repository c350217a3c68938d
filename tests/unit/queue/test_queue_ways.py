"""What is known of a message's way: which records tell of it, and that it is forgotten when the message has ended."""

from collections import Counter

import pytest
from attrs import evolve
from support.fakes_queue import DEFERRED, DELIVERED, REFUSED, FakeChannel, FakePolicy, House
from twisted.internet.defer import Deferred

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, RouteEntry, RouteTableConfig
from kumotwist.core.errors import Rejection, ResolveError
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit, Throttle
from kumotwist.core.way import Way

ROUTE = RouteEntry(name="a", weight=1, protocol=CustomLuaProtocol(constructor="a"))
WAY = Way("bulk", "a", "to.example")
KEY_EXPIRED = Outcome(Verdict.TRANSIENT, Response(421, "401 Unauthorized"), Scope.SOURCE)


def house(answer=DELIVERED, budgets=(), path=None, **config):
    """A house whose queue goes by the table `bulk`, which has the one route a."""
    policy = FakePolicy(QueueConfig(route_table="bulk", **config))
    policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=(evolve(ROUTE, budgets=budgets),))
    policy.path = evolve(policy.path, **(path or {}))
    one = House(policy=policy)
    one.channels[ROUTE.protocol] = FakeChannel(lambda _: answer)
    one.manager.start()
    return one


def ways(one):
    """The ways of all records of a kind, by kind."""
    found = {}
    for record in one.recorder.records:
        found.setdefault(record.type.value, set()).add(record.way)
    return found


def under_way(one, messages):
    return [one.manager.way_of(message) for message in messages if one.manager.way_of(message) is not None]


# -- forgotten at the end -----------------------------------------------------------------------------


def test_what_expires_while_a_rate_holds_up_its_ready_queue_is_forgotten():
    """However many messages end there, none of them stays in memory."""
    one = house(path={"max_message_rate": Throttle.parse("1/h"), "connection_limit": Limit(1)}, max_age=1800.0)
    messages = [one.insert() for _ in range(50)]
    one.pass_time(10)
    kinds = Counter(record.type.value for record in one.recorder.records)
    assert kinds["Expiration"] == 49
    assert len(one.store) == 0
    assert under_way(one, messages) == []
    one.stop()


@pytest.mark.parametrize("limit", ["max_message_rate", "max_connection_rate"])
def test_what_policy_ends_when_it_is_put_back_is_forgotten(limit):
    """`requeue_message` may reject what a rate holds up; a rejected message is on no way any more."""
    one = house(path={limit: Throttle.parse("1/h"), "max_deliveries_per_connection": 1})

    def reject(message):
        raise Rejection(550, "5.0.0 no longer wanted")

    one.policy.on_requeue = reject
    messages = [one.insert() for _ in range(10)]
    one.pass_time(10)
    assert len(one.recorder.of("Bounce")) == 9
    assert len(one.store) == 0
    assert under_way(one, messages) == []
    one.stop()


def test_a_message_whose_settling_fails_is_on_no_way(failures):
    """It is found again at the next start; until then nothing of it stays behind but its place in the spool."""
    one = house()
    one.recorder.fail_at("Delivery")
    message = one.insert()
    failures.expect("the recorder fails")
    assert under_way(one, [message]) == []
    assert len(one.store) == 1
    one.stop()


# -- told ---------------------------------------------------------------------------------------------


def test_records_of_attempts_tell_the_way():
    """Delivered, refused or deferred: by which table and route, and as which class."""
    for answer, kind in ((DELIVERED, "Delivery"), (REFUSED, "Bounce"), (DEFERRED, "TransientFailure")):
        one = house(answer)
        one.insert()
        assert ways(one) == {kind: {WAY}}
        one.stop()


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("RouteBudgetUsedUp", {"budgets": (BudgetConfig(rate=Throttle.parse("1/d")),)}),
        ("SourceRests", {"answer": KEY_EXPIRED}),
        ("ReadyQueueWasFull", {"answer": Deferred(), "path": {"connection_limit": Limit(1), "max_ready": 1}}),
        ("MessageRateThrottle", {"path": {"max_message_rate": Throttle.parse("1/h"), "connection_limit": Limit(1)}}),
        (
            "ConnectionRateThrottle",
            {"path": {"max_connection_rate": Throttle.parse("1/h"), "max_deliveries_per_connection": 1}},
        ),
    ],
)
def test_a_message_that_is_held_up_tells_on_which_way(reason, options):
    """A program can count what a budget, a rest, a full ready queue or a rate of a route holds up."""
    one = house(**options)
    for _ in range(4):
        one.insert()
    delayed = [record for record in one.recorder.of("Delayed") if reason in record.response.content]
    assert delayed
    assert {record.way for record in delayed} == {WAY}
    one.stop()


def test_a_message_that_expires_tells_its_last_way():
    """After its last attempt, and where a budget held it till its end."""
    tried = house(DEFERRED, max_age=60.0, retry_interval=20.0)
    tried.insert()
    tried.pass_time(120)
    assert ways(tried) == {"TransientFailure": {WAY}, "Expiration": {WAY}}
    tried.stop()
    held = house(budgets=(BudgetConfig(rate=Throttle.parse("1/d")),), max_age=600.0)
    for _ in range(2):
        held.insert()
    held.pass_time(700)
    assert ways(held) == {"Delivery": {WAY}, "Delayed": {WAY}, "Expiration": {WAY}}
    held.stop()


def test_a_failure_on_the_way_to_a_ready_queue_tells_the_route():
    """The site of a domain cannot be found: that is a failure by the route that was chosen."""
    one = house()
    one.channels[ROUTE.protocol].sites["to.example"] = ResolveError("no answer from DNS")
    one.insert()
    assert ways(one) == {"TransientFailure": {WAY}}
    one.stop()


def test_what_waits_before_a_route_is_chosen_tells_none():
    """The rate of its scheduled queue holds it up on no way in particular."""
    one = house(max_message_rate=Throttle.parse("1/h"))
    for _ in range(2):
        one.insert()
    assert ways(one) == {"Delivery": {WAY}, "Delayed": {None}}
    one.stop()
