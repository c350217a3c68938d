"""Budgets of routes: what is over waits, bounces or goes elsewhere, and the log says why."""

from collections import Counter

import pytest
from attrs import evolve
from support.fakes_queue import DELIVERED, START, FakeChannel, FakePolicy, House

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, RouteEntry, RouteTableConfig
from kumotwist.core.schedule import Schedule
from kumotwist.core.units import Throttle
from kumotwist.egress.protocols import protocol, route_table


def house(*budgets, weights=(100, 0), way=None):
    """A house with the routes a, which has these budgets, perhaps `way` as protocol, and b."""
    policy = FakePolicy(QueueConfig(route_table="bulk"))
    routes = [
        RouteEntry(name=name, weight=weight, protocol=CustomLuaProtocol(constructor=name))
        for name, weight in zip("ab", weights, strict=True)
    ]
    routes[0] = evolve(routes[0], budgets=budgets, protocol=way or routes[0].protocol)
    policy.tables["bulk"] = RouteTableConfig(name="bulk", routes=tuple(routes))
    one = House(policy=policy)
    for route in routes:
        one.channels[route.protocol] = FakeChannel(lambda _: DELIVERED)
    one.manager.start()
    return one


def budget(rate, **options):
    return BudgetConfig(rate=Throttle.parse(rate), **options)


def delivered(one):
    return Counter(record.way.route for record in one.recorder.of("Delivery"))


def test_what_is_over_waits_and_goes_out_by_itself():
    """Held, uncharged, with the reason in its record; released when there is room."""
    one = house(budget("3/h"))
    for _ in range(5):
        one.insert()
    assert delivered(one) == {"a": 3}
    text = one.recorder.of("Delayed")[0].response.content
    assert "RouteBudgetUsedUp" in text
    assert "route bulk/a: budget of 3/h by all, then hold is used up for all" in text
    one.pass_time(3700)
    assert delivered(one) == {"a": 5}
    assert {record.attempts for record in one.recorder.of("Delivery")} == {0}
    one.stop()


def test_what_is_over_bounces():
    """When the policy says so; the record names the budget and the route."""
    one = house(budget("1/m", over="reject"))
    for _ in range(3):
        one.insert()
    bounces = one.recorder.of("Bounce")
    assert (delivered(one), len(bounces), len(one.store)) == ({"a": 1}, 2, 0)
    assert bounces[0].response.code == 550
    assert "budget of 1/m by all, then reject is used up" in bounces[0].response.content
    assert bounces[0].way.route == "a"
    one.stop()


def test_no_two_budgets_are_one_because_of_their_names():
    """Route a-b of table `colon` and route b of table `colon-a` have each what their own caps allow."""
    one = house()
    for table, name in (("colon", "a-b"), ("colon-a", "b")):
        way = CustomLuaProtocol(constructor=name)
        route = RouteEntry(name=name, weight=1, protocol=way, budgets=(budget("1/d", over="reject"),))
        one.policy.tables[table] = RouteTableConfig(name=table, routes=(route,))
        one.channels[way] = FakeChannel(lambda _: DELIVERED)
        one.insert(route_table=table)
    assert delivered(one) == {"a-b": 1, "b": 1}
    one.stop()


def test_what_is_over_goes_by_the_next_route():
    """Also by a standby; a message that is pinned waits."""
    one = house(budget("2/d", over="next_route"))
    for _ in range(5):
        one.insert()
    assert delivered(one) == {"a": 2, "b": 3}
    one.insert(route="a")
    assert len(one.store) == 1
    one.stop()


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("tenant", [{"tenant": "acme"}, {"tenant": "other"}]),
        ("meta:account", [{"account": "x"}, {"account": "y"}]),
    ],
)
def test_each_has_a_budget_of_its_own(by, groups):
    """One tenant that is pumped takes nothing from another."""
    one = house(budget("2/h", by=by))
    for meta in groups:
        for _ in range(4):
            one.insert(**meta)
    assert delivered(one) == {"a": 4}
    one.stop()


@pytest.mark.parametrize(
    ("options", "numbers", "passed"),
    [
        ({"by": "country"}, ["+491711234567", "+491711234568", "+491711234569", "+447400123456"], 3),
        ({"by": "recipient"}, ["+491711234567"] * 3 + ["+491711234568"], 3),
        ({"prefixes": ("+49171", "+7")}, ["+491711234567"] * 3 + ["+447400123456"] * 3, 5),
        ({"by": "country"}, ["somebody", "anybody", "nobody"], 2),
    ],
)
def test_numbers_are_counted_by_country_prefix_or_themselves(options, numbers, passed):
    """Whatever is no number has one budget together, so nobody gets round it."""
    one = house(budget("2/h", **options))
    for number in numbers:
        one.insert(one.message(f"{number}@sms"))
    assert delivered(one) == {"a": passed}
    one.stop()


@pytest.mark.parametrize("options", [{"by": "recipient"}, {"by": "country"}, {"prefixes": ("+7",)}])
@pytest.mark.parametrize("place", [{"to_meta": "phone"}, {"to_header": "X-Phone"}])
def test_a_text_counts_by_the_number_that_it_goes_to(options, place):
    """Whatever mailbox it was addressed to, and though its body is only in the spool."""
    way = protocol({"telnyx": {"api_key": {"key_data": "x"}, "sender": "+15550001111", **place}}, "test")
    one = house(budget("1/h", over="reject", **options), way=way)
    for number in range(20):
        message = one.message(
            f"u{number}@d{number}.example",
            body=b"X-Phone: +79161234567\r\nSubject: x\r\n\r\nhi\r\n",
            phone="+79161234567",
        )
        one.insert(message)
    assert delivered(one) == {"a": 1}
    assert len(one.recorder.of("Bounce")) == 19
    one.stop()


def test_several_budgets_must_all_have_room():
    """What waits for one of them takes nothing of the others."""
    one = house(budget("3/d"), budget("1/m"))
    for _ in range(3):
        one.insert()
    assert delivered(one) == {"a": 1}
    one.pass_time(150)
    assert delivered(one) == {"a": 3}
    one.stop()


@pytest.mark.parametrize(("over", "ended"), [("reject", "Bounce"), ("hold", "Delayed"), ("next_route", "Delivery")])
def test_what_one_budget_refuses_costs_the_others_nothing(over, ended):
    """Whoever pumps one number does not use up the day of all, though each message asks for it first."""
    one = house(budget("5/d"), budget("1/h", by="recipient", over=over))
    for _ in range(20):
        one.insert(one.message("+491711234567@sms"))
    assert delivered(one)["a"] == 1
    assert len(one.recorder.of(ended)) >= 19
    for number in range(4):
        one.insert(one.message(f"+49171123450{number}@sms"))
    assert delivered(one)["a"] == 5
    one.stop()


@pytest.mark.parametrize(
    ("over", "here", "elsewhere", "bounced"), [("hold", 5, 0, 0), ("reject", 5, 0, 3), ("next_route", 5, 3, 0)]
)
def test_each_recipient_of_a_message_counts(over, here, elsewhere, bounced):
    """One message to eight is eight: what does not fit whole is split, and each has room or not by itself."""
    one = house(budget("5/h", over=over))
    one.insert(one.message(*(f"u{number}@to.example" for number in range(8))))
    one.pass_time(2)
    assert delivered(one) == Counter({"a": here} | ({"b": elsewhere} if elsewhere else {}))
    assert len(one.recorder.of("Bounce")) == bounced
    assert len(one.store) == 8 - here - elsewhere - bounced
    assert {record.fallback["reason"] for record in one.recorder.of("Fallback")} == {"split"}
    one.pass_time(3600)
    assert len(one.store) == 0
    assert len({recipient for record in one.recorder.of("Delivery") for recipient in record.recipients}) == 8 - bounced
    one.stop()


def test_a_message_that_fits_whole_is_not_split():
    """A provider gets its recipients together, as many as there are."""
    one = house(budget("5/h"))
    one.insert(one.message(*(f"u{number}@to.example" for number in range(4))))
    assert [len(record.recipients) for record in one.recorder.of("Delivery")] == [4]
    one.insert()
    one.insert()
    assert (delivered(one), one.recorder.of("Fallback")) == ({"a": 2}, [])
    one.stop()


def test_only_as_many_wake_as_places_come_free():
    """One record for each that is held, however long; out they go in the order in which they came."""
    one = house(budget("60/h"))
    messages = [one.insert() for _ in range(160)]
    one.pass_time(6600)
    assert [record.message.id for record in one.recorder.of("Delivery")] == [message.id for message in messages]
    assert len(one.recorder.of("Delayed")) == 100
    assert len(one.policy.asked("requeue_message")) == 100
    one.stop()


def test_a_held_message_has_its_whole_life():
    """A turn that would come too late is no reason to give it up before it is too old."""
    one = house(budget("1/h"))
    one.policy.config = evolve(one.policy.config, max_age=1800.0)
    one.insert()
    one.insert()
    one.pass_time(1700)
    assert len(one.store) == 1
    one.pass_time(200)
    assert (len(one.store), len(one.recorder.of("Expiration"))) == (0, 1)
    one.stop()


def test_a_place_at_a_forbidden_hour_is_another_ones():
    """Who may go by day only is not called in the evening, and goes on the next day."""
    one = house(budget("1/h"))
    one.insert()
    hours = {"dow": "Mon,Tue,Wed,Thu,Fri,Sat,Sun", "tz": "UTC", "start": "08:00:00", "end": "08:30:00"}
    by_day = one.message()
    by_day.set_schedule(Schedule.parse(hours))
    one.insert(by_day)
    one.pass_time(5)
    other = one.insert()
    one.pass_time(3640)
    assert [record.message.id for record in one.recorder.of("Delivery")][1:] == [other.id]
    one.clock.advance(86_400 - 3_640)
    one.pass_time(10)
    assert len(one.store) == 0
    one.stop()


def test_a_budget_that_is_raised_lets_those_go_that_wait():
    """Within ten minutes, though they wait for places of the old one."""
    one = house(budget("1/d"))
    for _ in range(20):
        one.insert()
    table = one.policy.tables["bulk"]
    raised = evolve(table.routes[0], budgets=(budget("100/d"),))
    one.policy.tables["bulk"] = evolve(table, routes=(raised, table.routes[1]))
    one.policy.epoch += 1
    one.pass_time(620)
    assert delivered(one) == {"a": 20}
    one.stop()


def test_what_becomes_too_old_in_line_costs_no_place():
    """Those behind it go in its turn."""
    one = house(budget("60/h,max_burst=0"))
    one.insert()
    for _ in range(24):
        short = one.message()
        short.set_schedule(Schedule(expires=START + 40))
        one.insert(short)
    behind = [one.insert() for _ in range(6)]
    one.pass_time(310)
    assert len(one.recorder.of("Expiration")) == 24
    assert [record.message.id for record in one.recorder.of("Delivery")][1:] == [message.id for message in behind[:5]]
    one.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": "0/h"}, "0"),
        ({"rate": "1/h", "by": "moon"}, "budgets.1.by'"),
        ({"rate": "1/h", "prefixes": ["49"]}, "budgets.1.prefixes'"),
        ({"rate": "1/h", "over": "drop"}, "over"),
    ],
)
def test_mistakes_are_told(options, words):
    """When the table is made."""
    routes = [{"name": "a", "weight": 1, "budgets": [options]}]
    with pytest.raises(Exception, match=words):
        route_table({"name": "bulk", "routes": routes}, "kumo.make_route_table")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"rate": "1/m"}, {"rate": "1/minute"}),
        ({"rate": "1/m"}, {"rate": "1/m", "over": "reject"}),
        ({"rate": "1/m", "prefixes": ["+7", "+88"]}, {"rate": "1/m", "prefixes": ["+88", "+7"]}),
    ],
)
def test_the_same_budget_twice_is_refused(first, second):
    """It would count each message twice, so that nothing ever passed; the error says what to do, and where."""
    routes = [{"name": "text", "weight": 1, "budgets": [first, second]}]
    with pytest.raises(Exception, match=r"budgets' of route 'text' has 1/m by all( to .*)? twice; keep one of them"):
        route_table({"name": "bulk", "routes": routes}, "kumo.make_route_table")


def test_budgets_that_differ_are_several():
    """By what they count, to whom, or how fast."""
    budgets = [
        {"rate": "1/m"},
        {"rate": "60/h"},
        {"rate": "1/m", "by": "tenant"},
        {"rate": "1/m", "prefixes": ["+7"]},
    ]
    routes = [{"name": "text", "weight": 1, "budgets": budgets}]
    made = route_table({"name": "bulk", "routes": routes}, "kumo.make_route_table")
    assert len(made.routes[0].budgets) == len(budgets)
