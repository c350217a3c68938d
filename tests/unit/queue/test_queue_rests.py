"""A route whose account has to rest: its mail goes by another route that is well, and waits where there is none."""

from collections import Counter
from functools import partial

import pytest
from attrs import evolve
from support.fakes_queue import DELIVERED, PEER, REFUSED, UNREACHABLE, FakeChannel, FakePolicy, House, now
from twisted.internet.defer import Deferred

from kumotwist.config.egress import UNSPECIFIED, PathConfig, PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig, SmtpProtocol
from kumotwist.config.routes import BudgetConfig, FallbackStage, LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.outcome import SOURCE_REST, Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.explain import explain_way
from kumotwist.queue.rest import Rest
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.signals import Signal
from kumotwist.queue.routes.table import RouteTable

NO_CREDIT = Outcome(Verdict.TRANSIENT, Response(421, "401 Unauthorized: no credit"), Scope.SOURCE, PEER)
BUSY = Outcome(Verdict.TRANSIENT, Response(451, "503 Service Unavailable"), Scope.MESSAGE, PEER)
ON_FAILURE = pytest.mark.parametrize("on_failure", ["retry", "next_route"])


def slow_down(seconds):
    return Outcome(Verdict.TRANSIENT, Response(421, "429 Too Many Requests"), Scope.SOURCE, PEER, seconds)


def table(name="bulk", routes=None, **options):
    """A table of these routes, with their weights; a has 70 percent and b the rest."""
    entries = tuple(
        RouteEntry(name=route, weight=weight, protocol=CustomLuaProtocol(constructor=route))
        for route, weight in (routes or {"a": 70, "b": 30}).items()
    )
    return RouteTableConfig(name=name, routes=entries, **options)


def house(*tables, path=None, store=None, clock=None):
    """A house whose queue goes by the first of these tables; the channel of a route is `by_name`."""
    tables = tables or (table(),)
    one = House(policy=FakePolicy(QueueConfig(route_table=tables[0].name), path), store=store, clock=clock)
    one.by_name = {}
    for each in tables:
        one.policy.tables[each.name] = each
        for route in each.routes:
            one.by_name[route.name] = one.channels[route.protocol] = FakeChannel()
            one.by_name[route.name].protocol_name = f"fake-{route.name}"
    one.manager.start()
    one.turn()
    return one


def say(one, route, answer):
    """From now on the provider of that route answers so."""
    one.by_name[route].answer = answer if callable(answer) else partial(_always, answer)


def _always(answer, batch):
    return answer


def send(one, count, **meta):
    """By which routes so many further messages are delivered at once."""
    before = len(one.recorder.of("Delivery"))
    for _ in range(count):
        one.insert(**meta)
    return Counter(record.way.route for record in one.recorder.of("Delivery")[before:])


def breaker(one, route="a", name="bulk", class_=""):
    """That of a route as metrics show it, and its share."""
    labels = (("table", name), ("route", route), ("class", class_ or "all"))
    return one.numbers("route_breaker_open")[labels], one.numbers("route_share")[labels]


def changes(one):
    return [
        (one_.way.route, one_.way.name, one_.route_change["after"])
        for one_ in one.recorder.of("RouteChange")
        if one_.route_change["what"] == "breaker"
    ]


@ON_FAILURE
def test_a_provider_that_wants_money_is_left_at_the_first_answer(on_failure):
    """Nothing waits and nothing is charged: the message that met it, too, goes out by another route at once."""
    one = house(table(on_failure=on_failure))
    assert send(one, 10) == {"a": 7, "b": 3}
    say(one, "a", NO_CREDIT)
    assert send(one, 100) == {"b": 100}
    assert len(one.recorder.of("TransientFailure")) == 1, "one message found out for all"
    assert not one.recorder.of("Delayed")
    assert {record.attempts for record in one.recorder.of("Delivery")} == {0}
    assert changes(one) == [("a", "", "open")]
    (opened,) = one.recorder.of("RouteChange")
    assert opened.response.content.startswith("breaker of a from closed to open: the account rests until 20")
    assert opened.response.content.endswith("Z: 421 401 Unauthorized: no credit")
    assert breaker(one) == (1.0, 0.0)
    one.stop()


@ON_FAILURE
def test_the_end_of_a_rest_is_the_trial(on_failure):
    """Each five minutes one message finds out whether there is money again; three that go well bring all back."""
    one = house(table(on_failure=on_failure))
    say(one, "a", NO_CREDIT)
    send(one, 10)
    for attempts in (2, 3):
        one.pass_time(SOURCE_REST - 1)
        assert send(one, 50) == {"b": 50}
        one.pass_time(2)
        assert send(one, 50) == {"b": 50}
        assert len(one.by_name["a"].batches) == attempts, "one message tried"
    say(one, "a", DELIVERED)
    one.pass_time(SOURCE_REST + 1)
    assert send(one, 100)["a"] == pytest.approx(70, abs=3)
    assert changes(one) == [("a", "", "open"), ("a", "", "closed")]
    assert breaker(one) == (0.0, pytest.approx(0.7, abs=0.02))
    assert {record.attempts for record in one.recorder.of("Delivery")} == {0}
    one.stop()


@ON_FAILURE
def test_what_waits_in_its_ready_queue_leaves_by_another_route(on_failure):
    """Also what had been given to that route before, in its order, each by one further route."""
    one = house(table(on_failure=on_failure), path=PathConfig(connection_limit=Limit(1)))
    answer = Deferred()
    say(one, "a", answer)
    assert send(one, 100) == {"b": 30}
    answer.callback(NO_CREDIT)
    one.turn()
    carried = one.recorder.of("Delivery")
    assert Counter(record.way.route for record in carried) == {"b": 100}
    assert [record.message.id for record in carried[30:]] == sorted(record.message.id for record in carried[30:])
    assert len(one.by_name["a"].batches) == 1
    assert not one.recorder.of("Delayed")
    one.stop()


@pytest.mark.parametrize("seconds", [1.0, 2.0, 10.0])
def test_a_short_rest_moves_no_share(seconds):
    """Who asks for a pace of two seconds gets his mail two seconds later."""
    one = house(path=PathConfig(connection_limit=Limit(1)))
    say(one, "a", slow_down(seconds))
    assert send(one, 10) == {"b": 3}
    say(one, "a", DELIVERED)
    one.pass_time(seconds + 2)
    assert Counter(record.way.route for record in one.recorder.of("Delivery")) == {"a": 7, "b": 3}
    assert not one.recorder.of("RouteChange")
    assert {record.attempts for record in one.recorder.of("Delivery")} == {0}
    one.stop()


@pytest.mark.parametrize("count", [1, 10, 40])
def test_what_waits_for_a_short_rest_keeps_its_turn(count):
    """However often a provider asks for a slower pace, its share of the messages is its own in the end."""
    one = house(table(learn=LearnConfig(enabled=False)), path=PathConfig(connection_limit=Limit(1)))
    answers = [slow_down(2.0), *[DELIVERED] * 9] * 5
    say(one, "a", lambda batch: answers.pop(0) if answers else DELIVERED)
    for _ in range(200 // count):
        for _ in range(count):
            one.insert()
        one.pass_time(count * 0.1)
    one.pass_time(20)
    carried = Counter(record.way.route for record in one.recorder.of("Delivery"))
    assert carried["a"] == pytest.approx(140, abs=2)
    assert sum(carried.values()) == 200 // count * count
    one.stop()


def test_a_rest_of_an_hour_is_an_hour():
    """Retry-After is obeyed as long as it says, and not asked about in between."""
    one = house()
    say(one, "a", slow_down(3600.0))
    send(one, 10)
    for _ in range(35):
        one.pass_time(100)
        assert send(one, 3) == {"b": 3}
    assert len(one.by_name["a"].batches) == 1
    say(one, "a", DELIVERED)
    one.pass_time(101)
    assert send(one, 10)["a"] >= 6
    one.stop()


@pytest.mark.parametrize("weights", [{"a": 70}, {"a": 70, "b": 30}])
def test_without_another_way_that_is_well_mail_waits_for_the_rest(weights):
    """As ever: uncharged, and told once each."""
    one = house(table(routes=weights))
    if "b" in weights:
        one.by_name["b"].on_connect = lambda: UNREACHABLE
        send(one, 60)
        assert ("b", "", "open") in changes(one)
    before = len(one.recorder.of("Delayed"))
    say(one, "a", NO_CREDIT)
    messages = [one.insert() for _ in range(10)]
    assert breaker(one)[0] == 0.0, "there is no better way"
    waiting = [record.message for record in one.recorder.of("Delayed")[before:]]
    assert {message.id for message in messages} >= {message.id for message in waiting}
    say(one, "a", DELIVERED)
    one.pass_time(SOURCE_REST + 3)
    delivered = {record.message.id: record for record in one.recorder.of("Delivery")}
    done = [delivered[message.id].attempts for message in waiting if message.id in delivered]
    assert len(waiting) >= 9
    assert done == [0] * len(done)
    assert len(done) >= len(waiting) - 1, "one may have been the other's trial"
    one.stop()


@pytest.mark.parametrize("rest", [NO_CREDIT, slow_down(3600.0)])
@ON_FAILURE
def test_mail_that_waits_leaves_when_another_way_is_well_again(on_failure, rest):
    """Within seconds, not when the account may be asked again; each is told of once, and none is charged."""
    one = house(table(on_failure=on_failure))
    one.by_name["b"].on_connect = lambda: UNREACHABLE
    send(one, 60)
    say(one, "a", rest)
    for _ in range(100):
        one.insert()
    one.pass_time(20)
    waiting = {record.message.id for record in one.recorder.of("Delayed") if "SourceRests" in record.response.content}
    assert len(waiting) > 60
    one.by_name["b"].on_connect = None
    while breaker(one, "b")[0]:
        one.pass_time(1)
        one.insert()
    assert breaker(one, "a")[0] == 0.0
    asked = len(one.by_name["a"].batches)
    one.pass_time(4)
    assert breaker(one, "a")[0] == 1.0
    delivered = {record.message.id: record for record in one.recorder.of("Delivery")}
    assert waiting <= set(delivered)
    assert {delivered[one_].way.route for one_ in waiting} == {"b"}
    assert len(one.by_name["a"].batches) == asked
    told = Counter(record.message.id for record in one.recorder.of("Delayed") if record.message.id in waiting)
    assert set(told.values()) == {1}
    one.stop()


def test_what_is_woken_in_vain_sleeps_longer():
    """Where only other classes have another way, mail waits and is told of once, and does not go round and round."""
    one = house(table(class_="domain"))
    say(one, "b", lambda batch: BUSY if batch[0].recipients[0].domain == "to.example" else DELIVERED)
    for number in range(300):
        one.insert(one.message(f"u@d{number % 3}.example"))
        if number % 5 == 0:
            one.insert()
    assert breaker(one, "b", class_="to.example")[0] == 1.0
    assert breaker(one, "b")[0] == 0.0
    say(one, "a", NO_CREDIT)
    for _ in range(20):
        one.insert()
    one.pass_time(5)
    waiting = {record.message.id for record in one.recorder.of("Delayed") if "SourceRests" in record.response.content}
    assert len(waiting) > 5
    looks = Counter()
    one.policy.on_throttle = lambda message: looks.update([message.id])
    one.pass_time(240)
    assert max(looks[one_] for one_ in waiting) <= 9
    told = Counter(record.message.id for record in one.recorder.of("Delayed") if record.message.id in waiting)
    assert max(told.values()) <= 2
    one.stop()


def test_when_all_rest_mail_waits_for_the_first_that_is_back():
    """Whichever provider is to be asked again first, that is when mail goes out."""
    one = house()
    say(one, "a", slow_down(60.0))
    say(one, "b", slow_down(250.0))
    for _ in range(10):
        one.insert()
    say(one, "a", DELIVERED)
    one.pass_time(63)
    assert Counter(record.way.route for record in one.recorder.of("Delivery"))["a"] >= 1
    one.pass_time(200)
    assert len(one.store) == 0
    one.stop()


def test_a_pinned_message_waits():
    """Who wants that route and no other gets it, when its rest is over."""
    one = house()
    say(one, "a", NO_CREDIT)
    send(one, 10)
    pinned = one.insert(route="a")
    assert len(one.store) == 1
    say(one, "a", DELIVERED)
    one.pass_time(SOURCE_REST + 3)
    (record,) = [record for record in one.recorder.of("Delivery") if record.message.id == pinned.id]
    assert (record.way.route, record.attempts) == ("a", 0)
    one.stop()


def test_sticky_messages_go_elsewhere_together_and_come_back():
    """What shares a key shares a route, during a rest and after it."""
    one = house(table(routes={"a": 40, "b": 30, "c": 30}, sticky_by="meta:thread"))
    before = {thread: send(one, 2, thread=f"t{thread}") for thread in range(12)}
    say(one, "a", NO_CREDIT)
    meanwhile = {thread: send(one, 2, thread=f"t{thread}") for thread in range(12)}
    for thread in range(12):
        assert len(meanwhile[thread]) == 1
        assert "a" not in meanwhile[thread]
        assert "a" in before[thread] or meanwhile[thread] == before[thread]
    say(one, "a", DELIVERED)
    one.pass_time(SOURCE_REST + 1)
    for thread in range(12):
        send(one, 1, thread=f"t{thread}")
    assert {thread: send(one, 2, thread=f"t{thread}") for thread in range(12)} == before
    one.stop()


def test_a_standby_takes_over():
    """It is what stands by for."""
    one = house(table(routes={"a": 100, "b": 0}))
    say(one, "a", NO_CREDIT)
    assert send(one, 20) == {"b": 20}
    one.stop()


def test_a_stage_of_a_fallback_has_other_routes_too():
    """On the way by text, the second provider takes over from the first as on any table."""
    stage = FallbackStage(route_table="text", wait=60.0, until_state="handed_over")
    mail, text = table("mail", {"m": 1}, fallback=(stage,)), table("text", {"x": 70, "y": 30})
    one = house(mail, text)
    say(one, "m", REFUSED)
    say(one, "x", NO_CREDIT)
    for _ in range(10):
        one.insert()
    one.pass_time(3)
    assert Counter(record.way.route for record in one.recorder.of("Delivery")) == {"y": 10}
    assert breaker(one, "x", "text")[0] == 1.0
    one.stop()


def test_one_account_behind_two_tables():
    """What the messages of one have found out, those of the other need not."""
    one = house(table(), table("own"))
    say(one, "a", NO_CREDIT)
    assert send(one, 10) == {"b": 10}
    assert send(one, 10, route_table="own") == {"b": 10}
    assert len(one.by_name["a"].batches) == 1
    assert breaker(one, name="own") == (1.0, 0.0)
    one.stop()


def test_a_pool_whose_other_source_is_at_work_is_not_out():
    """An address that rests is one of two; only when both do the route is left."""
    pooled = table()
    pooled = evolve(pooled, routes=(evolve(pooled.routes[0], egress_pool="two"), pooled.routes[1]))
    one = house(pooled)
    one.policy.pools["two"] = PoolConfig(name="two", entries=(PoolEntry(name="ip-1"), PoolEntry(name="ip-2")))
    is_out = {"ip-1": True, "ip-2": False}
    say(one, "a", lambda batch: NO_CREDIT if is_out[one.by_name["a"].sessions[-1].request.source.name] else DELIVERED)
    assert sum(send(one, 20).values()) == 20
    assert changes(one) == []
    assert send(one, 20)["a"] == 14, "by its other source"
    is_out["ip-2"] = True
    one.pass_time(SOURCE_REST - 30)
    assert send(one, 20) == {"b": 20}
    assert changes(one) == [("a", "", "open")]
    one.pass_time(40)
    send(one, 10)
    assert len(one.by_name["a"].batches) <= 40, "the first source's rest was over first, and made the trial"
    one.stop()


def test_recipients_of_their_own_place_leave_a_route_alone():
    """Where each domain has a place of its own, the one that says 401 is avoided, and the route has not failed."""
    one = house(table(class_="all"))
    channel = one.by_name["a"]
    channel.sites = {"dead.example": "dead.example", "well.example": "well.example"}
    say(one, "a", lambda batch: NO_CREDIT if batch[0].recipients[0].domain == "dead.example" else DELIVERED)
    for _ in range(10):
        one.insert(one.message("u@dead.example"))
    assert Counter(record.way.route for record in one.recorder.of("Delivery")) == {"b": 10}
    for _ in range(10):
        one.insert(one.message("u@well.example"))
    assert Counter(record.way.route for record in one.recorder.of("Delivery")[10:])["a"] >= 7
    assert changes(one) == []
    one.stop()


def test_the_recipients_own_exchangers_are_no_account():
    """Were one of them to say so, the route would be shut for its own domain only."""
    mail = table()
    mail = evolve(mail, routes=(evolve(mail.routes[0], protocol=SmtpProtocol()), mail.routes[1]), class_="all")
    one = house(mail)
    say(one, "a", lambda batch: NO_CREDIT if batch[0].recipients[0].domain == "dead.example" else DELIVERED)
    for domain in ("dead.example", "well.example"):
        for _ in range(10):
            one.insert(one.message(f"u@{domain}"))
    assert len(one.recorder.of("Delivery")) == 20
    assert changes(one) == []
    one.stop()


def test_classes_share_an_account():
    """What gmail.com's messages have found out holds for all others."""
    one = house()
    say(one, "a", NO_CREDIT)
    for number in range(40):
        one.insert(one.message(f"u@d{number}.example"))
    assert len(one.by_name["a"].batches) == 1
    assert changes(one) == [("a", "", "open")]
    assert Counter(record.way.route for record in one.recorder.of("Delivery")) == {"b": 40}
    one.stop()


def test_a_login_that_is_refused_is_a_rest_as_well():
    """A bind that the SMSC refuses, or a key that Vault does not give: there is not even a connection."""
    one = house()
    one.by_name["a"].on_connect = lambda: ConnectFailed(NO_CREDIT)
    assert send(one, 20) == {"b": 20}
    assert one.by_name["a"].connects == 1
    assert changes(one) == [("a", "", "open")]
    one.stop()


def test_of_several_recipients_those_that_are_left_go_elsewhere():
    """Who was refused is refused; who met the rest gets the message by another route."""
    one = house(table(routes={"a": 1000, "b": 1}))
    say(one, "a", lambda batch: [(REFUSED, NO_CREDIT)])
    one.insert(one.message("x@to.example", "y@to.example"))
    assert [record.recipients for record in one.recorder.of("Bounce")] == [("x@to.example",)]
    (delivery,) = one.recorder.of("Delivery")
    assert (delivery.recipients, delivery.way.route, delivery.attempts) == (("y@to.example",), "b", 0)
    one.stop()


def test_what_fails_on_the_way_that_it_took_instead_is_tried_again():
    """That failure is its own, charged as any; with `retry` it does not go round."""
    one = house(table(routes={"a": 40, "b": 30, "c": 30}))
    say(one, "a", NO_CREDIT)
    say(one, "b", BUSY)
    say(one, "c", BUSY)
    one.insert()
    assert [record.way.route for record in one.recorder.of("TransientFailure")] in (["a", "b"], ["a", "c"])
    assert len(one.store) == 1
    one.stop()


def test_a_route_with_budgets_is_left_as_well():
    """It takes the other route's part of the caps that are there."""
    capped = table()
    budget = BudgetConfig(rate=Throttle.parse("100/h"))
    capped = evolve(capped, routes=tuple(evolve(route, budgets=(budget,)) for route in capped.routes))
    one = house(capped)
    say(one, "a", NO_CREDIT)
    assert send(one, 20) == {"b": 20}
    one.stop()


def test_a_new_key_is_tried_at_once():
    """Who mends the policy does not wait five minutes for it to be used."""
    one = house()
    say(one, "a", NO_CREDIT)
    send(one, 10)
    before = one.policy.tables["bulk"]
    mended = evolve(before.routes[0], protocol=CustomLuaProtocol(constructor="mended"))
    one.by_name["mended"] = one.channels[mended.protocol] = FakeChannel()
    one.policy.tables["bulk"] = evolve(before, routes=(mended, before.routes[1]))
    one.policy.epoch += 1
    assert send(one, 20)["a"] >= 12
    assert changes(one)[-1] == ("a", "", "closed")
    one.stop()


def test_what_the_old_key_meets_says_nothing_about_the_new_one():
    """A message that was on the wire when the policy was mended comes back with the old key's answer."""
    one = house(path=PathConfig(connection_limit=Limit(1)))
    answer = Deferred()
    say(one, "a", answer)
    one.insert()
    before = one.policy.tables["bulk"]
    mended = evolve(before.routes[0], protocol=CustomLuaProtocol(constructor="mended"))
    one.by_name["mended"] = one.channels[mended.protocol] = FakeChannel()
    one.policy.tables["bulk"] = evolve(before, routes=(mended, before.routes[1]))
    one.policy.epoch += 1
    one.pass_time(3)
    answer.callback(NO_CREDIT)
    one.turn()
    assert changes(one) == []
    assert send(one, 20)["a"] >= 12
    one.stop()


def test_a_reload_that_changes_something_else_does_not_end_a_rest():
    """A weight that is edited says nothing about the account."""
    one = house()
    say(one, "a", NO_CREDIT)
    send(one, 10)
    before = one.policy.tables["bulk"]
    one.policy.tables["bulk"] = evolve(before, routes=(evolve(before.routes[0], weight=90), before.routes[1]))
    one.policy.epoch += 1
    assert send(one, 20) == {"b": 20}
    one.stop()


def test_a_clock_that_is_put_back_does_not_make_a_rest_longer():
    """An hour back, and the account is tried again within minutes, not after an hour."""
    one = house()
    say(one, "a", NO_CREDIT)
    send(one, 10)
    say(one, "a", DELIVERED)
    one.clock.rightNow -= 3600.0
    assert send(one, 20)["a"] >= 12
    one.stop()


def test_a_restart_brings_nothing_back_and_loses_nothing():
    """Mail that waits for a rest, since there is no other way, is in the spool."""
    one = house(table(routes={"a": 1}))
    say(one, "a", NO_CREDIT)
    send(one, 5)
    again = house(table(routes={"a": 1}), store=one.store.restarted())
    again.pass_time(SOURCE_REST + 3)
    assert [record.attempts for record in again.recorder.of("Delivery")] == [0] * 5
    again.stop()


def test_an_explanation_tells_of_the_rest():
    """Until when and why, and that what would wait goes by the other route."""
    one = house()
    one.policy.pools[UNSPECIFIED] = PoolConfig(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))

    def explained():
        message, channel = one.message(), one.channel
        return now(explain_way(message, one.policy, lambda _: channel, one.manager.present(), one.clock.seconds()))

    send(one, 1)
    (then,) = [each.then for each in explained().on_failure if each.case == "account_or_rate"]
    assert then.startswith("for more than 10s at once over a, if that is well; else all messages of its ready queue")
    say(one, "a", NO_CREDIT)
    send(one, 10)
    one.pass_time(60)
    way = explained()
    (route,) = [each for each in way.routes if each.name == "a"]
    assert (route.breaker, route.trial_in, route.share) == ("open", 240.0, 0.0)
    assert route.account_rests.startswith("the account rests until 20")
    assert route.account_rests.endswith(": 421 401 Unauthorized: no credit")
    assert not way.routes[1].account_rests
    one.stop()


def test_what_a_message_met_before_its_route_rested_is_no_evidence_of_its_end():
    """A slow success that was sent before the rest began does not open the way again, nor make a trial of it."""
    one = house(path=PathConfig(connection_limit=Limit(2)))
    slow = Deferred()
    answers = [slow, NO_CREDIT]
    say(one, "a", lambda batch: answers.pop(0))
    send(one, 20)
    slow.callback(DELIVERED)
    one.turn()
    assert send(one, 20) == {"b": 20}
    assert breaker(one) == (1.0, 0.0)
    one.stop()


def test_an_outage_that_ends_does_not_cut_a_rest_short():
    """That another provider is back says nothing about an account that was told to wait; nor do trials come sooner."""
    one = RouteTable(table())
    start = 1_800_000_000.0
    one.begin_rest(0, Rest(start, start + 600.0, "429"), start)
    for _ in range(60):
        one.report("x", 1, Signal.FAILED, start + 1)
    assert one.is_outage("")
    for _ in range(3):
        one.report("x", 1, Signal.HANDED_OVER, start + 5)
    assert not one.is_outage("")
    assert one.breaker("", 1).state is State.CLOSED
    for seconds in (6, 60, 599):
        assert one.choose("x", start + seconds).route == "b"
    assert one.choose("x", start + 601, tried=["b"]).is_trial
