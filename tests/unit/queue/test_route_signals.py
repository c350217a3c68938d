"""What outcomes say of a route: whose fault a failure is, and whether anybody answers."""

from functools import partial

import pytest
from support.fakes_queue import DELIVERED, FakeChannel, FakePolicy, House

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import BudgetConfig, RouteEntry, RouteTableConfig
from kumotwist.config.structure import structure
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response, internal
from kumotwist.queue.routes.breaker import FIRST_PAUSE, State
from kumotwist.queue.routes.signals import Signal, signal_of
from kumotwist.queue.routes.table import RouteTable

NOW = 1_800_000_000.0
RCPT = "RCPT TO:<ann@example.org>\r\n"


def failed(code, text, scope=Scope.MESSAGE, command=None, **more):
    verdict = Verdict.TRANSIENT if code < 500 else Verdict.PERMANENT
    return Outcome(verdict, Response.parse(code, text, command), scope, **more)


DEAD = failed(451, "cannot connect", Scope.SESSION)
MALFORMED = failed(550, "5.6.0 malformed")
UNKNOWN_USER = failed(550, "5.1.1 unknown", Scope.RECIPIENT, RCPT)


@pytest.mark.parametrize(
    ("outcome", "signal"),
    [
        (UNKNOWN_USER, Signal.ANSWERED),
        (failed(550, "no such user", Scope.RECIPIENT, RCPT), Signal.ANSWERED),
        (failed(450, "4.2.1 busy", Scope.RECIPIENT, RCPT), Signal.ANSWERED),
        (failed(451, "4.2.1 busy"), Signal.ANSWERED),
        (failed(550, "5.2.2 full"), Signal.ANSWERED),
        (failed(550, "410: BadDeviceToken", is_address_dead=True), Signal.ANSWERED),
        (Outcome(Verdict.PERMANENT, internal(553, "5.1.3 the address has control characters")), None),
        (failed(451, "4.3.2 not now", Scope.RECIPIENT, RCPT), None),
        (Outcome(Verdict.TRANSIENT, internal(400, "error in deliver_message")), None),
        (failed(550, "5.7.1 looks like spam", Scope.RECIPIENT, ".\r\n"), Signal.REFUSED),
        (failed(554, "5.6.0 malformed", Scope.RECIPIENT, ".\r\n"), Signal.REFUSED),
        (failed(554, "transaction failed", Scope.RECIPIENT, ".\r\n"), Signal.ANSWERED),
        (failed(450, "4.7.1 greylisted", Scope.RECIPIENT, RCPT), Signal.ANSWERED),
        (MALFORMED, Signal.REFUSED),
        (failed(550, "400: the template is broken"), Signal.REFUSED),
        (failed(550, "5.7.1 we do not know you"), Signal.FAILED),
        (failed(550, "nobody knows whether it was taken", is_ambiguous=True), Signal.FAILED),
        (failed(550, "5.6.0 malformed, and good bye", Scope.SESSION), Signal.FAILED),
        (failed(451, "503 Service Unavailable"), Signal.FAILED),
        (failed(421, "4.2.1 too many connections", Scope.SESSION), Signal.FAILED),
        (DEAD, Signal.FAILED),
    ],
)
def test_whose_fault_it_is(outcome, signal):
    """The recipient's is an answer all the same; the message's own is evidence; what is left is the route's."""
    assert signal_of(outcome) is signal


def table(*weights):
    routes = tuple(RouteEntry(name=f"r{number}", weight=weight) for number, weight in enumerate(weights))
    return RouteTable(RouteTableConfig(name="t", routes=routes, class_="all"))


def test_a_tenant_that_sends_what_nobody_takes_opens_no_breaker():
    """A burst of malformed messages between good ones leaves the others' way as it was."""
    one, told = table(70, 30), []
    one.changed = told.append
    for number in range(2_000):
        choice = one.choose("", NOW + number / 100)
        signal = Signal.REFUSED if number % 120 >= 100 else Signal.HANDED_OVER
        one.report("", choice.position, signal, NOW + number / 100)
    assert [change for change in told if change.what == "breaker"] == []
    assert one.shares("", NOW + 20) == pytest.approx((0.7, 0.3), abs=0.05)


def test_a_route_that_refuses_what_others_take_is_left_for_that():
    """Refusals of content count as evidence: it takes a few messages more than sudden death does, not many."""
    one, lost = table(50, 50), 0
    for number in range(3_000):
        now = NOW + number / 100
        choice = one.choose("", now)
        is_refused = choice.position == 0 and number >= 1_000
        lost += is_refused
        one.report("", choice.position, Signal.REFUSED if is_refused else Signal.HANDED_OVER, now)
    assert one.shares("", NOW + 30)[0] == pytest.approx(0.01)
    assert lost < 100


def test_an_answer_about_a_recipient_is_no_evidence():
    """Unknown users, however many on one route, move no share."""
    one = table(50, 50)
    for _ in range(500):
        one.report("", 0, Signal.ANSWERED, NOW)
        one.report("", 1, Signal.HANDED_OVER, NOW)
    assert one.shares("", NOW + 5) == (0.5, 0.5)
    assert one.shown("", 0, NOW + 5).samples == 0


def test_trials_that_meet_unknown_users_close_the_breaker():
    """A 550 about the recipient proves that the route is alive again."""
    one = table(50, 50)
    for _ in range(4):
        one.report("", 0, Signal.FAILED, NOW)
    now = NOW + FIRST_PAUSE + 1
    for _ in range(3):
        trial = next(choice for choice in iter(lambda: one.choose("", now), None) if choice.position == 0)
        one.report("", trial.position, Signal.ANSWERED, now)
    assert one.breaker("", 0).state is State.CLOSED


def house(answers, budgets=(), **options):
    """Routes `a` and `b`, each with a channel of its own, half and half."""
    policy = FakePolicy(QueueConfig(route_table="t"))
    protocols = [CustomLuaProtocol(constructor=name) for name in answers]
    routes = tuple(
        RouteEntry(name=name, weight=1.0, protocol=protocol, budgets=budgets if name == "a" else ())
        for name, protocol in zip(answers, protocols, strict=True)
    )
    policy.tables["t"] = RouteTableConfig(name="t", routes=routes, class_="all", **options)
    one = House(policy=policy)
    for name, protocol in zip(answers, protocols, strict=True):
        one.channels[protocol] = FakeChannel(partial(lambda name, batch: answers[name], name))
    one.manager.start()
    return one


def breaker_of_a(one):
    return one.manager.table_at_work("t").breaker("", 0)


def kill_and_mend(one, answers):
    for number in range(20):
        one.insert(one.message(who=f"first{number}"))
    assert breaker_of_a(one).state is State.OPEN
    answers["a"] = DELIVERED
    one.pass_time(FIRST_PAUSE)


@pytest.mark.parametrize("over", ["next_route", "hold", "reject"])
def test_a_trial_that_a_budget_stops_is_made_by_another_message(over):
    """Before, nobody tried the route again for five minutes."""
    answers = {"a": DEAD, "b": DELIVERED}
    budgets = (structure(BudgetConfig, {"rate": "1/h", "by": "meta:who", "over": over}, "a budget"),)
    one = house(answers, budgets, on_failure="next_route")
    one.insert(one.message(who="greedy", route="a"))
    kill_and_mend(one, answers)
    for second in range(20):
        one.insert(one.message(who="greedy"))
        one.insert(one.message(who=f"modest{second}"))
        one.pass_time(1)
    assert breaker_of_a(one).state is State.CLOSED
    one.stop()


def test_a_trial_that_shows_nothing_is_made_anew_after_a_pause():
    """A refusal of content is no trial; nor does the route take every message until there has been one."""
    answers = {"a": DEAD, "b": DELIVERED}
    one = house(answers)
    kill_and_mend(one, answers)
    answers["a"] = MALFORMED
    for _ in range(10):
        one.insert()
        one.insert()
        one.pass_time(1)
    assert breaker_of_a(one).state is State.TRIAL
    assert 4 <= len([record for record in one.recorder.of("Bounce") if record.way.route == "a"]) <= 6
    answers["a"] = DELIVERED
    for _ in range(10):
        one.insert()
        one.insert()
        one.pass_time(1)
    assert breaker_of_a(one).state is State.CLOSED
    one.stop()
