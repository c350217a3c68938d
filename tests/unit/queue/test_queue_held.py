"""What a budget holds keeps its route: it goes out by that when there is room, unless the route is none any more."""

from collections import Counter

import pytest
from attrs import evolve
from support.fakes_queue import DELIVERED, PEER, FakeChannel, FakePolicy, House, now

from kumotwist.config.egress import UNSPECIFIED, PathConfig, PoolConfig, PoolEntry
from kumotwist.config.option import Duration
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.explain import explain_way

BUSY = Outcome(Verdict.TRANSIENT, Response(451, "503 Service Unavailable"), Scope.MESSAGE, PEER)
FIVE_MINUTES = 300.0


def budget(rate, **options):
    return BudgetConfig(rate=Throttle.parse(rate), **options)


def table(name="bulk", routes=None, **options):
    """A table of these routes: by name the weight, and budgets if there are any."""
    return RouteTableConfig(
        name=name,
        routes=tuple(
            RouteEntry(name=route, weight=weight, protocol=CustomLuaProtocol(constructor=route), budgets=tuple(budgets))
            for route, (weight, *budgets) in routes.items()
        ),
        class_="all",
        **options,
    )


def house(*tables, store=None, clock=None, max_age=7 * 86_400.0):
    """A house whose queue goes by the first of these tables."""
    policy = FakePolicy(QueueConfig(route_table=tables[0].name, max_age=Duration(max_age)))
    one = House(policy=policy, store=store, clock=clock)
    one.by_name = {}
    for each in tables:
        policy.tables[each.name] = each
        for route in each.routes:
            one.by_name[route.name] = one.channels[route.protocol] = FakeChannel()
            one.by_name[route.name].protocol_name = f"fake-{route.name}"
    one.manager.start()
    one.turn()
    return one


def load_anew(one, changed):
    one.policy.tables[changed.name] = changed
    one.policy.epoch += 1


def carried(one, since=0):
    return Counter(record.way.route for record in one.recorder.of("Delivery")[since:])


def owed(one, name="bulk"):
    return one.manager.table_at_work(name).would_choose("", one.clock.seconds())[1]


HALF = {"capped": (50, budget("1/m")), "free": (50,)}


def test_what_is_held_goes_out_by_its_route():
    """Twenty messages at half and half are ten and ten, each minute's place is used, and order is kept."""
    one = house(table(routes=HALF))
    messages = [one.insert() for _ in range(20)]
    assert carried(one) == {"free": 10, "capped": 1}
    held = [message.id for message in messages if message.id in one.store]
    for minute in range(1, 10):
        one.pass_time(60)
        assert 1 + minute - 1 <= carried(one)["capped"] <= 1 + minute
    one.pass_time(60)
    assert carried(one) == {"free": 10, "capped": 10}
    assert [record.message.id for record in one.recorder.of("Delivery")[11:]] == held
    one.stop()


def test_what_is_held_is_counted_once():
    """However often it looks for room: what comes meanwhile is shared out as the table says."""
    one = house(table(routes={"capped": (50, budget("1/d")), "b": (25,), "c": (25,)}))
    for _ in range(40):
        one.insert()
    before = owed(one)
    one.pass_time(3700)
    assert owed(one) == pytest.approx(before)
    for _ in range(40):
        one.insert()
        one.pass_time(61)
    assert carried(one) == {"capped": 1, "b": 20, "c": 20}
    one.stop()


def test_a_pinned_message_that_is_held_is_counted_once():
    """The others make up for it once, not each time that it looks for room."""
    one = house(table(routes={"capped": (50, budget("1/d")), "b": (50,)}))
    one.insert(route="capped")
    one.insert(route="capped")
    before = owed(one)
    one.pass_time(3700)
    assert owed(one) == pytest.approx(before)
    assert carried(one) == {"capped": 1}
    one.stop()


def test_a_restart_leaves_it_its_route():
    """It is stored with the message."""
    one = house(table(routes={"capped": (50, budget("1/m")), "free": (50,)}))
    for _ in range(20):
        one.insert()
    one.stop()
    other = house(table(routes=HALF), store=one.store.restarted(), clock=one.clock)
    other.pass_time(700)
    assert carried(other) == {"capped": 9}
    other.stop()


def test_sticky_messages_stay_together():
    """What a thread's route holds goes by that."""
    one = house(table(routes=HALF, sticky_by="meta:thread"))
    for thread in "abcdefgh":
        for _ in range(3):
            one.insert(thread=thread)
    one.pass_time(1800)
    by_thread = {}
    for record in one.recorder.of("Delivery"):
        by_thread.setdefault(record.message.meta["thread"], set()).add(record.way.route)
    assert (len(one.store), [len(routes) for routes in by_thread.values()]) == (0, [1] * 8)
    one.stop()


@pytest.mark.parametrize(
    "routes",
    [
        {"free": (50,)},
        {"capped": (0, budget("1/d")), "free": (50,)},
        {"capped": (5, budget("1/d")), "free": (95,)},
        {"capped": (50,), "free": (50,)},
    ],
    ids=["gone", "standby", "less", "no budget"],
)
def test_a_policy_that_changes_moves_what_is_held(routes):
    """Within ten minutes: by the routes and the weights that there are now, and by its own once nothing caps it."""
    one = house(table(routes={"capped": (50, budget("1/d")), "free": (50,)}))
    for _ in range(40):
        one.insert()
    load_anew(one, table(routes=routes))
    one.pass_time(660)
    left = {"capped": 20} if "capped" in routes and len(routes["capped"]) == 1 else {"capped": 1, "free": 38}
    assert all(carried(one)[route] >= count for route, count in left.items())
    assert len(one.manager._parts.budgets.lines) == len(one.store) <= 2
    one.stop()


def test_a_route_that_dies_keeps_nothing():
    """While its breaker is open what it holds goes by the others, as what comes in does."""
    one = house(table(routes={"capped": (50, budget("10/h")), "free": (50,)}))
    one.by_name["capped"].answer = lambda _: BUSY
    for _ in range(40):
        one.insert()
    assert one.manager.table_at_work("bulk").breaker("", 0).state.value == "open"
    one.pass_time(660)
    assert (carried(one), len(one.store)) == ({"free": 36}, 4), "those that found out wait as after any failure"
    one.stop()


def test_what_a_makeshift_holds_goes_by_the_route_that_is_back():
    """An outage of the main route does not leave its messages with a capped one for days."""
    one = house(table(routes={"main": (90,), "capped": (10, budget("10/d"))}, on_failure="next_route"))
    one.by_name["main"].answer = lambda _: BUSY
    for _ in range(100):
        one.insert()
    one.pass_time(660)
    assert carried(one)["main"] == 0
    one.by_name["main"].answer = lambda _: DELIVERED
    one.pass_time(1300)
    assert carried(one)["main"] >= 75
    assert len(one.store) <= 10, "its own share waits on"
    one.stop()


def test_a_message_waits_where_the_next_route_is_capped_as_well():
    """It goes by whichever of the two has room, and never by the third, whose turn it was not."""
    capped = {"a": (60, budget("1/d", over="next_route")), "b": (40, budget("30/h"))}
    one = house(table(routes=capped))
    for _ in range(60):
        one.insert()
    before = owed(one)
    assert carried(one) == {"a": 1, "b": 30}
    one.pass_time(1790)
    assert owed(one) == pytest.approx(before)
    one.pass_time(2000)
    assert carried(one) == {"a": 1, "b": 59}
    one.stop()


@pytest.mark.parametrize("over", ["hold", "next_route"])
def test_of_two_capped_routes_it_waits_in_the_line_that_moves(over):
    """A standby with one a day does not keep what its route takes each minute, and nothing passes by it."""
    capped = {"a": (60, budget("60/h", over="next_route")), "b": (0, budget("1/d", over=over))}
    one = house(table(routes=capped))
    messages = [one.insert() for _ in range(80)]
    for minute in range(1, 10):
        one.pass_time(60)
        messages.append(one.insert())
        assert 59 + minute <= carried(one)["a"] <= 60 + minute
    one.pass_time(1800)
    sent = [record.message.id for record in one.recorder.of("Delivery")]
    assert sent == [message.id for message in messages]
    delayed = one.recorder.of("Delayed")
    assert len(delayed) == 28, "each is told once"
    assert all(f"route bulk/{record.way.route}: budget" in record.response.content for record in delayed)
    one.stop()


def test_a_message_that_has_its_part_keeps_it_while_a_ready_queue_is_full():
    """What it took of the budget is for that route, and is not lost to it."""
    one = house(table(routes={"capped": (50, budget("10/d")), "free": (50,)}))
    one.policy.path = PathConfig(max_ready=0, connection_limit=Limit(1))
    for _ in range(20):
        one.insert()
    one.policy.path = PathConfig()
    one.policy.epoch += 1
    one.pass_time(130)
    assert carried(one)["capped"] == 10
    one.stop()


def test_a_stage_of_a_fallback_holds_as_a_table_does():
    """What its budget holds goes out by its route, each in its time."""
    mail = table("mail", {"api": (1,)}, fallback=(FallbackStage(route_table="text", wait=Duration(60.0)),))
    one = house(mail, table("text", HALF))
    for _ in range(20):
        one.insert()
    one.pass_time(62)
    assert carried(one) == {"api": 20, "free": 10, "capped": 1}
    one.pass_time(660)
    assert carried(one) == {"api": 20, "free": 10, "capped": 10}
    one.stop()


def test_the_next_stage_takes_what_is_held_for_too_long():
    """It waits in no line any more."""
    mail = table(
        "mail",
        {"capped": (1, budget("1/d"))},
        fallback=(FallbackStage(route_table="text", wait=Duration(FIVE_MINUTES)),),
    )
    one = house(mail, table("text", {"sms": (1,)}))
    for _ in range(5):
        one.insert()
    one.pass_time(FIVE_MINUTES + 2)
    assert carried(one) == {"capped": 1, "sms": 5}, "none has been heard to be delivered"
    assert len(one.manager._parts.budgets.lines) == 0
    one.stop()


def test_what_is_too_old_expires_where_it_waits():
    """`hold` means that it goes by no other route."""
    one = house(table(routes={"capped": (50, budget("1/d")), "free": (50,)}), max_age=1800.0)
    for _ in range(10):
        one.insert()
    one.pass_time(1900)
    assert (carried(one), len(one.recorder.of("Expiration"))) == ({"capped": 1, "free": 5}, 4)
    one.stop()


def test_policy_may_send_what_is_held_another_way():
    """What `requeue_message` says of the route counts, and there it begins anew."""
    one = house(table(routes={"capped": (50, budget("1/d")), "free": (50,)}))
    one.policy.on_requeue = lambda message: message.set_meta("route", "free")
    for _ in range(20):
        one.insert()
    one.pass_time(660)
    assert carried(one) == {"capped": 1, "free": 19}
    assert len(one.manager._parts.budgets.lines) == 0
    one.stop()


def test_a_message_whose_table_is_another_one_begins_there():
    """Nothing of the old one holds it."""
    one = house(table(routes={"capped": (50, budget("1/d")), "free": (50,)}), table("new", {"capped": (1,)}))
    for _ in range(20):
        one.insert()
    one.policy.config = evolve(one.policy.config, route_table="new")
    one.policy.epoch += 1
    one.pass_time(660)
    assert Counter(record.way.table for record in one.recorder.of("Delivery")) == {"bulk": 11, "new": 9}
    assert len(one.manager._parts.budgets.lines) == 0
    one.stop()


def explained(one, message):
    stored = now(one.store.load((message.id,)))[0]
    present, at = one.manager.present(), one.clock.seconds()
    one.policy.pools[UNSPECIFIED] = PoolConfig(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))
    return now(explain_way(stored, one.policy, lambda protocol: one.channels[protocol], present, at))


@pytest.mark.parametrize(
    ("routes", "marked", "draw"),
    [
        (HALF, "capped", "it was that route's turn when it began to wait for room"),
        ({"capped": (0, budget("1/m")), "free": (50,)}, "free", "it is furthest behind its share; "),
    ],
    ids=["kept", "given up"],
)
def test_an_explanation_tells_which_route_is_kept(routes, marked, draw):
    """And when it is none any more, by which one the message goes instead."""
    one = house(table(routes=HALF))
    message = next(message for message in [one.insert() for _ in range(5)][::-1] if message.id in one.store)
    one.policy.tables["bulk"] = table(routes=routes)
    one.policy.epoch += 1
    way = explained(one, message)
    assert way == explained(one, message), "asking moves nothing"
    assert [route.name for route in way.routes if route.is_chosen] == [marked]
    assert way.draw.startswith(draw)
    one.stop()


@pytest.mark.parametrize(
    ("rate", "marked", "draw"),
    [
        ("1/d", "a", "WAITED; it waits there, since the budget of b is used up as well"),
        ("1/h", "b", "it would be the turn of a (WAITED), but the budget of a is used up"),
    ],
)
def test_an_explanation_follows_what_waits_behind_a_budget_that_was_passed_by(rate, marked, draw):
    """The route in whose line it stands is the one that is marked."""
    capped = {"a": (60, budget("1/d", over="next_route")), "b": (30, budget(rate)), "c": (10,)}
    one = house(table(routes=capped))
    messages = [one.insert() for _ in range(12)]
    message = next(message for message in messages if message.id in one.store)
    assert now(one.store.load((message.id,)))[0].kept.routes == ("a", "b")
    way = explained(one, message)
    assert [route.name for route in way.routes if route.is_chosen] == [marked]
    assert way.draw == draw.replace("WAITED", "it was that route's turn when it began to wait for room")
    one.stop()
