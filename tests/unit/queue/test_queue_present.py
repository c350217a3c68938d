"""What holds a message up now: an explanation looks at the queue at work, and takes nothing from it."""

import pytest
from attrs import evolve
from support.fakes_queue import FakePolicy, House, now

from kumotwist.config.egress import UNSPECIFIED, PathConfig, PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Throttle
from kumotwist.queue.explain import explain_way

WAY = CustomLuaProtocol(constructor="way")


def house(table=None, path=None, **queue):
    policy = FakePolicy(QueueConfig(protocol=WAY, **queue), path)
    if table is not None:
        policy.tables["bulk"] = table
        policy.config = evolve(policy.config, route_table="bulk")
    policy.pools[UNSPECIFIED] = PoolConfig(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))
    one = House(policy=policy)
    one.manager.start()
    return one


def explained(one, **meta):
    """The way of a message as the queue stands; asked twice, since asking must not move anything."""
    message = one.message(**meta)

    def ask():
        channel = one.channel
        return now(explain_way(message, one.policy, lambda _: channel, one.manager.present(), one.clock.seconds()))

    way = ask()
    assert ask() == way
    assert way.problem == ""
    return way


def table(*weights, **options):
    routes = [RouteEntry(name=name, weight=weight, protocol=WAY) for name, weight in zip("ab", weights, strict=False)]
    return RouteTableConfig(name="bulk", routes=tuple(routes), **options)


def test_what_budgets_have_left():
    """For this message's own tenant and number, counted down by what has gone."""
    caps = (
        BudgetConfig(rate=Throttle.parse("5/h"), by="tenant"),
        BudgetConfig(rate=Throttle.parse("1/d"), by="recipient", over="reject"),
    )
    capped = table(1)
    capped = evolve(capped, routes=(evolve(capped.routes[0], budgets=caps),))
    one = house(capped)
    one.insert(tenant="acme")
    assert explained(one, tenant="acme").routes[0].budgets == [
        "5/h by tenant, then hold: acme has 4 of 5 left",
        "1/d by recipient, then reject: user@to.example has 0 of 1 left",
    ]
    assert explained(one, tenant="other").routes[0].budgets[0].endswith("other has 5 of 5 left")
    one.stop()


def test_the_draw_is_the_one_that_is_made():
    """The route that is marked is where the next message goes, by debt, by key and by pin."""
    one = house(table(60, 40, class_="all"))
    for _ in range(5):
        way = explained(one)
        marked = next(route.name for route in way.routes if route.is_chosen)
        assert way.draw.startswith("it is owed most: a ")
        assert max(way.routes, key=lambda route: route.owed).name == marked
        one.insert()
        assert one.recorder.of("Delivery")[-1].way.route == marked
    assert explained(one, route="b").draw == "pinned by meta.route"
    one.stop()


def test_a_sticky_key_is_followed():
    """What has a key is shown the route that the key stays on."""
    one = house(table(50, 50, sticky_by="meta:thread"))
    for number in range(8):
        way = explained(one, thread=f"t{number}")
        assert way.draw == f"what has meta:thread 't{number}' stays there as long as the shares do"
        one.insert(thread=f"t{number}")
        marked = next(route.name for route in way.routes if route.is_chosen)
        assert one.recorder.of("Delivery")[-1].way.route == marked
    one.stop()


def test_rates_that_are_used_up():
    """Of the scheduled queue and of the ready queue's path, with the time until they let one pass."""
    one = house(path=PathConfig(max_message_rate=Throttle.parse("1/m")), max_message_rate=Throttle.parse("2/h"))
    assert explained(one).holds == []
    one.insert()
    assert explained(one).sources[0].holds == ["the rate of 1/m is used up for 60.0 s"]
    one.pass_time(30)
    assert explained(one).sources[0].holds == ["the rate of 1/m is used up for 30.0 s"]
    one.insert()
    assert explained(one).holds == ["the rate of 2/h is used up for 1770.0 s"]
    one.stop()


@pytest.mark.parametrize(("count", "told"), [(3, "1 are ahead in it"), (9, "it is full: 2 of 2")])
def test_a_ready_queue_with_others_in_it(count, told):
    """Others are ahead, or it is full."""
    one = house(path=PathConfig(max_ready=2, max_message_rate=Throttle.parse("1/3s")))
    for _ in range(count):
        one.insert()
    assert explained(one).sources[0].holds[0] == told
    one.stop()


def test_a_source_that_rests():
    """An account at fault: for how long nothing leaves by it."""
    refused = Outcome(Verdict.TRANSIENT, Response(451, "401 who are you"), scope=Scope.SOURCE, retry_after=90.0)
    one = house()
    one.channel.answer = lambda _: refused
    one.insert()
    one.pass_time(30)
    assert explained(one).sources[0].holds == ["its source rests for 1m"]
    one.stop()


def test_what_each_failure_leads_to():
    """The routes that are in order by name, the budget's own way, and the first stage of a fallback."""
    cap = BudgetConfig(rate=Throttle.parse("5/h"), over="reject")
    stage = FallbackStage(route_table="text", wait=120.0, alongside=True)
    both = table(60, 40, class_="all", on_failure="next_route", next_when_unknown=True, fallback=(stage,))
    both = evolve(both, routes=tuple(evolve(route, budgets=(cap,)) for route in both.routes))
    way = explained(house(both))
    assert way.fallback == ["text, unless delivered within 2m, alongside what comes before"]
    told = way.on_failure
    assert told["recipient refused for good"] == "by route table text at once"
    assert told["no connection, server at fault"].startswith("at once over b; if that fails, again after 20m")
    assert told["no reply to what was sent"].startswith("at once over b; if that fails, as the channel's on_unknown")
    assert told["a budget of a (reject) is used up"] == "by route table text at once"
    assert told["not handed over within 2m"] == "by route table text as well"
    assert told["handed over, and no receipt says delivered within 2m"] == "by route table text"


def test_retries_end_where_the_next_stage_begins():
    """What cannot be handed over goes on by the next stage at its deadline; beside one it is tried until it expires."""
    for alongside, end in ((False, "; by route table text at 2m"), (True, "; expired at 7days")):
        stage = FallbackStage(route_table="text", wait=120.0, alongside=alongside)
        told = explained(house(table(60, 40, class_="all", fallback=(stage,)))).on_failure
        assert told["recipient refused for now"].endswith(end)


def test_without_a_table_a_refusal_is_the_end():
    """Nothing is said of other routes or stages."""
    told = explained(house()).on_failure
    assert told["recipient refused for good"] == "bounced"
    assert told["no connection, server at fault"].startswith("again after 20m")
    assert "handed over" not in "".join(told)
