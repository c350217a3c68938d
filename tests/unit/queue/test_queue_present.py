"""What holds a message up now: an explanation looks at the queue at work, and takes nothing from it."""

import pytest
from attrs import evolve
from support.fakes_queue import FakePolicy, House, now

from kumotwist.admin.explanation import MessageShown, Told
from kumotwist.config.egress import UNSPECIFIED, PathConfig, PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.course import Course, Failure
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Throttle
from kumotwist.egress.api.options import CallOptions
from kumotwist.queue.consequences import consequences
from kumotwist.queue.explain import explain_way
from kumotwist.queue.routes.breaker import FIRST_PAUSE
from kumotwist.queue.routes.signals import Signal
from kumotwist.trial.explain import as_text

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


def test_an_explanation_writes_no_record_of_a_share_that_has_faded():
    """A daemon that is asked after a quiet hour says what the next message finds, and logs nothing for being asked."""
    one = house(table(50, 50))
    one.insert()
    one.turn()
    bulk = one.manager.table_at_work("bulk")
    for number in range(600):
        signal = Signal.FAILED if number % 6 == 1 else Signal.HANDED_OVER
        bulk.report("example.com", number % 2, signal, one.clock.seconds())
    bulk.choose("example.com", one.clock.seconds())
    one.pass_time(5)
    assert one.recorder.of("RouteChange")
    one.pass_time(6 * 3600)
    before = len(one.recorder.records)
    way = explained(one)
    assert [route.share for route in way.routes] == [0.5, 0.5]
    one.turn()
    assert len(one.recorder.records) == before


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
    assert explained(one, tenant="acme").routes[0].holds == [
        "budget of 1/d by recipient, then reject is used up for user@to.example; there is room in 1day"
    ]
    one.stop()


def budgeted(weights, overs, **options):
    """A table of routes a, b, c, each with a budget of one message an hour that does `over`; None: without one."""
    named = zip("abc", weights, overs, strict=True)
    budgets = [(BudgetConfig(rate=Throttle.parse("1/h"), over=over),) if over else () for over in overs]
    routes = [
        RouteEntry(name=name, weight=weight, protocol=WAY, egress_pool=f"pool-{name}", budgets=one)
        for (name, weight, _), one in zip(named, budgets, strict=True)
    ]
    return RouteTableConfig(name="bulk", routes=tuple(routes), class_="all", **options)


def with_pools(one):
    """A pool for each route, so that their ready queues differ."""
    for name in "abc":
        pool = f"pool-{name}"
        one.policy.pools[pool] = PoolConfig(name=pool, entries=(PoolEntry(name=f"source-{name}"),))
    return one


@pytest.mark.parametrize("weights", [(71, 20, 9), (1, 0, 0), (40, 35, 25)])
def test_a_budget_that_is_used_up_is_gone_by(weights):
    """The marked route, its ready queue and the words are those of the route that the next message takes."""
    one = with_pools(house(budgeted(weights, ("next_route", "next_route", None), on_failure="next_route")))
    for number in range(9):
        way = explained(one)
        marked = next(route.name for route in way.routes if route.is_chosen)
        assert way.sources[0].source == f"source-{marked}"
        turn = max(way.routes, key=lambda route: route.owed).name
        is_passed = way.draw.startswith(f"it would be the turn of {turn} (it is")
        assert is_passed or (turn == marked and way.draw.startswith("it is furthest behind"))
        if number > 3:
            assert marked == "c"
            assert then(way)["no_connection"].startswith("no other route is left; again after 20m")
        one.insert()
        assert one.recorder.of("Delivery")[-1].way.route == marked
    one.stop()


def test_where_every_budget_is_used_up_it_waits_where_its_turn_comes_first():
    """The route that held the message up is the one that is marked, with what holds it."""
    one = with_pools(house(budgeted((60, 40, 0), ("next_route", "hold", "next_route"))))
    one.insert()
    one.insert()
    one.insert()
    way = explained(one)
    marked = next(route for route in way.routes if route.is_chosen)
    assert marked.name == "b"
    assert marked.holds == ["budget of 1/h by all, then hold is used up for all; there is room in 1h"], (
        "the one that waits is in the line of a"
    )
    assert then(way)["budget_used_up"] == "it waits, uncharged, until there is room"
    one.insert()
    assert one.recorder.of("Delivery")[-1].way.route == "b", "no more have gone"
    assert len(one.recorder.of("Delivery")) == 2
    one.stop()


def test_a_pinned_message_goes_nowhere_else():
    """It waits for its own route, whatever fails there, and for its budget too."""
    pinned = budgeted((60, 40, 0), ("next_route", None, None), on_failure="next_route", next_when_unknown=True)
    one = with_pools(house(pinned))
    one.insert(route="a")
    way = explained(one, route="a")
    assert [route.name for route in way.routes if route.is_chosen] == ["a"]
    assert not [said for said in way.on_failure if "at once over" in said.then]
    assert then(way)["no_connection"].startswith("by no other route, since it is pinned; again after 20m")
    assert then(way)["no_reply"].startswith("by no other route, since it is pinned; again after 20m")
    assert then(way)["budget_used_up"] == "it waits, uncharged, until there is room"
    one.insert(route="a")
    assert len(one.recorder.of("Delivery")) == 1, "it waits"
    one.stop()


def test_those_that_wait_for_a_budget_are_ahead():
    """A message learns its own turn, and not only when one of them has room."""
    caps = (BudgetConfig(rate=Throttle.parse("1/m")),)
    capped = table(1)
    capped = evolve(capped, routes=(evolve(capped.routes[0], budgets=caps),))
    one = house(capped)
    for _ in range(4):
        one.insert()
    assert explained(one).routes[0].holds == [
        "budget of 1/m by all, then hold is used up for all; its turn is in 4m, behind those that wait for room"
    ]
    one.stop()


def test_the_draw_is_the_one_that_is_made():
    """The route that is marked is where the next message goes, by debt, by key and by pin."""
    one = house(table(60, 40, class_="all"))
    for _ in range(5):
        way = explained(one)
        marked = next(route.name for route in way.routes if route.is_chosen)
        assert way.draw.startswith("it is furthest behind its share; messages owed: a ")
        assert max(way.routes, key=lambda route: route.owed).name == marked
        one.insert()
        assert one.recorder.of("Delivery")[-1].way.route == marked
    assert explained(one, route="b").draw == "it is pinned by meta.route"
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
    assert explained(one).sources[0].holds == ["its source rests for 1m: 451 401 who are you"]
    one.stop()


def then(leg):
    """What is said of each kind of failure."""
    return {one.case: one.then for one in leg.on_failure}


def test_what_each_failure_leads_to():
    """The routes that are in order by name, the budget's own way, and the first stage of a fallback."""
    cap = BudgetConfig(rate=Throttle.parse("5/h"), over="reject")
    stage = FallbackStage(route_table="text", wait=120.0, alongside=True)
    both = table(60, 40, class_="all", on_failure="next_route", next_when_unknown=True, fallback=(stage,))
    both = evolve(both, routes=tuple(evolve(route, budgets=(cap,)) for route in both.routes))
    way = explained(house(both))
    told = then(way)
    onward = "it goes on by route table text"
    assert told["refused_for_good"] == f"{onward} at once"
    assert told["no_connection"].startswith("at once over b; if that fails, again after 20m")
    assert told["no_reply"].startswith("at once over b; if that fails, again after 20m")
    assert told["no_reply"].endswith("; it may arrive twice")
    assert told["budget_used_up"] == f"{onward} at once"
    assert told["not_handed_over"] == f"{onward} as well"
    assert told["no_receipt"] == onward
    words = {one.case: one.what for one in way.on_failure}
    assert words["no_receipt"] == "it is handed over, and no receipt says delivered within 2m"


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"wait": 120.0}, "there is no time for another try; it goes on by route table text after 2m"),
        ({"wait": 3700.0}, "again after 20m, 40m; it goes on by route table text after 1h 1m 40s"),
        ({"wait": 120.0, "alongside": True}, ", 10h 40m, …; it expires when it is 7days old"),
    ],
)
def test_retries_end_where_the_next_stage_begins(options, end):
    """What cannot be handed over goes on by the next stage at its deadline; beside one it is tried until it expires."""
    one = table(60, 40, class_="all", fallback=(FallbackStage(route_table="text", **options),))
    assert then(explained(house(one)))["refused_for_now"].endswith(end)


def test_without_a_table_a_refusal_is_the_end():
    """Nothing is said of other routes or stages."""
    told = then(explained(house()))
    assert told["refused_for_good"] == "it is bounced"
    assert told["no_connection"].startswith("again after 20m")
    assert not {"not_handed_over", "no_receipt", "no_way"} & told.keys()


@pytest.mark.parametrize(
    ("choice", "said"),
    [("AssumeDelivered", "it counts as handed over"), ("Bounce", "it is bounced"), ("Retry", "again")],
)
def test_what_was_sent_without_a_reply_is_the_channels_choice(choice, said):
    """By its `on_unknown`, in words."""
    told = consequences(QueueConfig(), None, 0.0, CallOptions(on_unknown=choice), None)
    assert next(one.then for one in told if one.case == "no_reply").startswith(said)


def chain(*stages, **options):
    """A house whose table `bulk` falls back to `push` and `text`, of which only the second exists."""
    one = house(table(60, 40, class_="all", fallback=stages, **options))
    one.policy.tables["text"] = evolve(table(30, 70, class_="all", on_failure="next_route"), name="text")
    return one


def test_each_stage_is_shown_as_the_first_table_is():
    """Its routes with their shares, which of them is next, where it leaves, and what then."""
    last = FallbackStage(route_table="text", wait=60.0, until_state="handed_over", alongside=True)
    one = chain(last)
    way = explained(one)
    (stage,) = way.fallback
    assert stage.when == (
        "it has not been handed over within 1m, or at once when what comes before ends badly; "
        "what comes before goes on trying beside it"
    )
    assert (stage.route_table, stage.wait, stage.until_state, stage.alongside) == ("text", 60.0, "handed_over", True)
    assert [(route.name, route.resting, route.is_chosen) for route in stage.routes] == [
        ("a", 0.3, False),
        ("b", 0.7, True),
    ]
    assert stage.sources[0].ready_queue == way.sources[0].ready_queue
    told = then(stage)
    assert told["refused_for_good"] == "it is bounced"
    assert told["no_connection"].startswith("at once over a; if that fails, again after 20m")
    assert told["no_connection"].endswith("it expires when it is 7days old")
    assert not {"not_handed_over", "no_receipt"} & told.keys()
    assert way.warnings == []


def test_a_pin_is_one_to_a_route_of_the_first_table():
    """The stages choose for themselves, whatever their routes are called."""
    way = explained(chain(FallbackStage(route_table="text")), route="a")
    assert way.pinned
    assert not way.fallback[0].pinned
    assert way.fallback[0].draw.startswith("it is furthest behind its share")


def at(one, course, attempts=0):
    """The way of a message that has come so far."""
    message = one.message()
    message.set_course(course)
    message.attempts = attempts
    channel, seconds = one.channel, one.clock.seconds()
    return now(explain_way(message, one.policy, lambda _: channel, one.manager.present(), seconds))


def test_a_message_on_its_course_is_followed_from_there():
    """The stage that it is on, what it has left there, and the stages that still lie ahead."""
    one = chain(FallbackStage(route_table="text", wait=3600.0), FallbackStage(route_table="push", wait=7200.0))
    one.policy.tables["push"] = evolve(table(1, 1, class_="all"), name="push")
    began = one.clock.seconds() - 600
    first = Course(table="bulk", since=began, deadline=began + 3600, until="delivered")
    way = at(one, first, attempts=1)
    assert (way.route_table, [stage.route_table for stage in way.fallback]) == ("bulk", ["text", "push"])
    assert then(way)["refused_for_now"] == "again after 40m; it goes on by route table text after 50m"
    handed = at(one, evolve(first, is_handed_over=True), attempts=1)
    assert (handed.route_table, [stage.route_table for stage in handed.fallback]) == ("text", ["push"])
    assert then(handed)["refused_for_now"].startswith("again after 20m, 40m; it goes on by route table push after 2h")
    failed = at(one, evolve(first, failure=Failure("refused", "550")))
    assert failed.route_table == "text"
    last = at(one, Course(table="bulk", stage="push", since=began), attempts=2)
    assert (last.route_table, last.fallback) == ("push", [])
    assert then(last)["refused_for_now"].startswith("again after 1h 20m")
    released = at(one, Course(table="bulk", since=began, is_released=True))
    assert (released.route_table, released.fallback) == ("bulk", [])
    gone = at(one, Course(table="bulk", stage="elsewhere", since=began))
    assert (gone.route_table, len(gone.fallback)) == ("bulk", 2)
    one.policy.tables.pop("bulk")
    assert at(chain(), Course(table="nowhere", since=began)).problem == "no table nowhere"


def test_a_stage_that_is_not_there_is_a_warning():
    """The way is what it is; what comes to that stage waits, and goes on at its end."""
    one = chain(FallbackStage(route_table="push"), FallbackStage(route_table="text", wait=60.0))
    way = explained(one)
    assert [warning.partition(", which")[0] for warning in way.warnings] == ["fallback names route table push"]
    missing, there = way.fallback
    assert missing.problem
    assert then(missing) == {
        "no_way": "the message waits: there is no time for another try; it goes on by route table text after 1m"
    }
    assert (there.problem, len(there.routes)) == ("", 2)


def test_what_is_split_is_said():
    """Each recipient has a course of its own; one of them is shown."""
    one = chain(FallbackStage(route_table="text"))
    message = one.message("ann@to.example", "bob@to.example")
    channel, seconds = one.channel, one.clock.seconds()
    way = now(explain_way(message, one.policy, lambda _: channel, one.manager.present(), seconds))
    assert way.warnings == [
        "it is split into 2 messages, one for each recipient; this is the way of the one to ann@to.example"
    ]


def test_looking_at_a_table_puts_it_to_no_use():
    """One that no message has used is shown, and is no more at work than before: neither in memory nor in metrics."""
    one = house(table(60, 40, class_="all"))
    assert [route.share for route in explained(one).routes] == [0.6, 0.4]
    assert one.manager.table_at_work("bulk") is None
    assert one.numbers("route_share") == {}
    one.insert()
    one.manager.table_at_work("bulk").would_choose("another.example", one.clock.seconds())
    assert one.manager.table_at_work("bulk").classes() == [""]
    one.policy.tables["bulk"] = table(10, 90, class_="all")
    one.policy.epoch += 1
    assert [route.resting for route in explained(one).routes] == [0.1, 0.9], "what the policy says now"
    at_work = one.manager.table_at_work("bulk")
    assert at_work.config.routes[0].weight == 60, "until a message comes"
    one.insert()
    assert one.manager.table_at_work("bulk").config.routes[0].weight == 10
    one.stop()


@pytest.mark.parametrize("fails", ["all", "to.example"])
def test_an_outage_of_all_routes_is_shown(fails):
    """For all messages or for those of one class, and a failed attempt goes on by the other weights all the same."""
    one = house(table(60, 40, on_failure="next_route"))
    one.insert()
    at_work = one.manager.table_at_work("bulk")
    assert explained(one).is_outage is False
    for _ in range(200):
        for position in (0, 1):
            at_work.report("" if fails == "all" else fails, position, Signal.FAILED, one.clock.seconds())
    way = explained(one)
    assert way.is_outage is True
    assert [(route.share, route.breaker) for route in way.routes] == [(0.6, "open"), (0.4, "open")]
    told = Told([], MessageShown("", ["a@b.example"], {}, 3), way)
    assert "outage: all routes fail; messages go by the resting shares, each as a trial" in as_text(told)
    assert then(way)["no_connection"].startswith("at once over ")
    one.stop()


def test_a_route_that_is_out_says_when_it_is_tried():
    """The operator need not guess when the breaker lets the next message through."""
    one = house(table(60, 40, class_="all", on_failure="next_route"))
    one.insert(route="b")
    at_work = one.manager.table_at_work("bulk")
    for _ in range(4):
        at_work.report("", 1, Signal.HANDED_OVER, one.clock.seconds())
        at_work.report("", 0, Signal.FAILED, one.clock.seconds())
    out, well = explained(one).routes
    assert (out.breaker, out.share, out.trial_in) == ("open", 0.0, FIRST_PAUSE)
    assert (well.breaker, well.share, well.trial_in) == ("closed", 1.0, None)
    assert explained(one).draw == "it is furthest behind its share; messages owed: a 1.20, b 0.80"
    one.clock.advance(FIRST_PAUSE + 1)
    assert explained(one).routes[0].trial_in == 0.0
    assert at_work.choose("", one.clock.seconds()).is_trial
    out = explained(one).routes[0]
    assert (out.breaker, out.share, out.trial_in) == ("trial", 0.0, None)
    one.stop()
