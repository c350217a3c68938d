"""A route table at work: what moves shares, what does not, and what opens a breaker."""

import random
from collections import Counter

import pytest

from kumotwist.config.option import Duration
from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.queue.routes.breaker import FIRST_PAUSE, State
from kumotwist.queue.routes.signals import Signal
from kumotwist.queue.routes.table import Choice, RouteTable

NOW = 1_800_000_000.0


def table(*weights, changed=lambda _: None, **learn):
    routes = tuple(RouteEntry(name=f"r{number}", weight=weight) for number, weight in enumerate(weights))
    return RouteTable(RouteTableConfig(name="t", routes=routes, learn=LearnConfig(**learn)), changed)


def feed(one, rates, count, start=NOW, name="x", seconds=60.0, good=Signal.HANDED_OVER, bad=Signal.FAILED):
    """`count` outcomes of each route over so many seconds, as often good as `rates` say; the time after."""
    chance = random.Random(7)
    for number in range(count):
        for position, rate in enumerate(rates):
            signal = good if chance.random() < rate else bad
            one.report(name, position, signal, start + seconds * number / count)
    return start + seconds


def test_at_first_the_weights_decide():
    """Nothing is known, nothing moves."""
    assert tuple(table(20, 10, 70).shares("x", NOW)) == pytest.approx((0.2, 0.1, 0.7))


def test_a_worse_route_gives_up_its_share_but_for_the_floor():
    """A route that fails a third of the time keeps its trial traffic only."""
    one = table(20, 10, 70)
    now = feed(one, (0.98, 0.98, 0.65), 300)
    shares = one.shares("x", now)
    assert shares[2] == pytest.approx(0.01)
    assert shares[0] == pytest.approx(2 * shares[1], rel=0.01), "the others keep their proportion"


def test_looking_moves_and_tells_nothing():
    """Explanations and metrics show the share that the next message finds; the record comes with that message."""
    told = []
    one = table(50, 50, changed=told.append)
    now = feed(one, (0.98, 0.65), 300)
    one.choose("x", now)
    assert told
    told.clear()
    now += 12 * 3600.0  # nothing is known any more
    seen = [one.shown("x", position, now).share for position in range(2)]
    assert seen == pytest.approx([0.5, 0.5]), "what it would be judged by now"
    first = one.would_choose("x", now)
    assert (one.would_choose("x", now), one.share_left("x", 1, now, only_looks=True)) == (first, seen[1])
    assert told == []
    assert one.choose("x", now).position == first[0]
    assert [(change.route, change.after) for change in told] == [("r0", "0.500"), ("r1", "0.500")]


def test_too_few_samples_move_nothing():
    """Forty failures in a row are not fifty samples; the breaker is there for those."""
    one = table(50, 50)
    now = feed(one, (1.0, 0.0), 40)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


@pytest.mark.parametrize("rate", [0.99, 0.5, 0.05])
def test_equally_good_or_bad_routes_rest(rate):
    """When all are alike nobody is worse, however bad they are."""
    one = table(20, 10, 70)
    now = feed(one, (rate, rate, rate), 2000)
    assert tuple(one.shares("x", now)) == pytest.approx((0.2, 0.1, 0.7), abs=0.05)


def test_a_difference_within_the_margin_does_not_matter():
    """98 and 97 percent are the same for us, on however many messages."""
    one = table(50, 50, margin=0.02)
    now = feed(one, (0.98, 0.97), 20_000)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


def test_receipts_count_as_hand_overs_do():
    """A route that takes everything and bounces it later is no better than one that refuses."""
    one = table(50, 50)
    now = feed(one, (1.0, 1.0), 300)
    now = feed(one, (0.97, 0.6), 300, now, good=Signal.ARRIVED, bad=Signal.LOST)
    assert one.shares("x", now)[1] == pytest.approx(0.01)


def test_a_route_without_receipts_is_not_worse_for_that():
    """Only routes that have receipts are compared by them."""
    one = table(50, 50)
    now = feed(one, (1.0, 1.0), 300)
    for number in range(300):
        one.report("x", 0, Signal.ARRIVED if number % 10 else Signal.LOST, now)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


def test_a_class_learns_by_itself_once_it_knows_enough():
    """A route that only gmail.com refuses keeps everybody else's mail; a class without evidence follows the others."""
    one = table(50, 50)
    now = feed(one, (0.99, 0.3), 200, name="gmail.com")
    now = feed(one, (0.99, 0.99), 2000, now, name="other.example", seconds=10.0)
    assert one.shares("gmail.com", now)[1] == pytest.approx(0.01)
    assert tuple(one.shares("other.example", now)) == (0.5, 0.5)


def test_it_comes_back():
    """A route that has recovered has its share again within minutes, on its trial traffic alone."""
    one = table(50, 50)
    now = feed(one, (0.98, 0.5), 1000, seconds=600.0)
    assert one.shares("x", now)[1] == pytest.approx(0.01)
    chance = random.Random(3)
    for second in range(600):
        for _ in range(25):
            choice = one.choose("x", now + second)
            one.report(
                "x", choice.position, Signal.HANDED_OVER if chance.random() < 0.98 else Signal.FAILED, now + second
            )
    assert one.shares("x", now + 600)[1] > 0.4


def test_sudden_death_opens_the_breaker_at_the_fourth_failure():
    """Within four messages nothing goes that way any more, long before there are samples enough for a judgement."""
    told = []
    one = table(50, 50, changed=told.append)
    feed(one, (1.0,), 30)
    lost = 0
    for number in range(200):
        choice = one.choose("x", NOW + 61 + number / 100)
        signal = Signal.FAILED if choice.position == 1 else Signal.HANDED_OVER
        lost += signal is Signal.FAILED
        one.report("x", choice.position, signal, NOW + 61 + number / 100)
    assert lost <= 5
    assert ("r1", "breaker", "closed", "open") in [(one.route, one.what, one.before, one.after) for one in told]


def test_trials_close_the_breaker_one_at_a_time():
    """After the pause one message tries; three that succeed one after the other close it."""
    one = table(50, 50)
    for _ in range(4):
        one.report("x", 1, Signal.FAILED, NOW)
    breaker = one.breaker("x", 1)
    assert breaker.state is State.OPEN
    assert {one.choose("x", NOW + 1).position for _ in range(10)} == {0}
    now = NOW + FIRST_PAUSE + 0.1
    for _ in range(3):
        chosen = [one.choose("x", now) for _ in range(10)]
        trials = [choice for choice in chosen if choice.position == 1]
        assert len(trials) == 1
        assert trials[0].is_trial
        one.report("x", 1, Signal.HANDED_OVER, now)
    assert breaker.state is State.CLOSED


def test_a_storm_that_hits_all_opens_no_breaker():
    """When every route fails nobody is better off elsewhere."""
    told = []
    one = table(50, 50, changed=told.append)
    now = feed(one, (0.9, 0.9), 400)
    told.clear()
    feed(one, (0.4, 0.4), 2000, feed(one, (0.6, 0.6), 200, now))
    assert not [change for change in told if change.what == "breaker"]


def test_a_standby_is_used_when_no_other_way_is_left():
    """Weight 0 gets nothing as long as anybody else is in order."""
    one = table(100, 0)
    assert {one.choose("x", NOW).position for _ in range(50)} == {0}
    for _ in range(4):
        one.report("x", 0, Signal.FAILED, NOW)
    assert {one.choose("x", NOW + 1).position for _ in range(10)} == {1}


def test_all_ways_down_is_the_weights_again():
    """Trying is better than waiting; and each route once for one message."""
    one = table(50, 50)
    for position in (0, 1):
        for _ in range(8):
            one.report("x", position, Signal.FAILED, NOW)
    first = one.choose("x", NOW)
    second = one.choose("x", NOW, tried={first.route})
    assert {first.position, second.position} == {0, 1}
    assert one.choose("x", NOW, tried={"r0", "r1"}) is None


def test_a_clock_that_jumps_back_harms_nothing():
    """Time that goes backwards fades nothing, raises nothing, and keeps no route shut for the hour put back."""
    one = table(50, 50)
    now = feed(one, (0.98, 0.3), 300)
    before = tuple(one.shares("x", now))
    one.report("x", 0, Signal.HANDED_OVER, now - 86_400)
    assert tuple(one.shares("x", now - 86_400)) == pytest.approx(before, abs=0.05)
    for _ in range(15):  # it fails mostly, so four in a row are no news
        one.report("x", 1, Signal.FAILED, now)
    assert one.breaker("x", 1).state is State.OPEN
    chosen = [one.choose("x", now - 3600) for _ in range(200)]
    assert [choice.is_trial for choice in chosen if choice.position == 1] == [True]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"routes": [{"name": "a", "weight": -1}]}, "must be 0 or more"),
        ({"routes": [{"name": "a", "weight": float("nan")}]}, "must be 0 or more"),
        ({"routes": [{"name": "a", "weight": 0}]}, "at least one route with a weight above 0"),
        ({"routes": [{"name": "a", "weight": 1e308}, {"name": "b", "weight": 1e308}]}, "beyond all numbers"),
        ({"routes": []}, "at least one route"),
        ({"routes": [{"name": "a", "weight": 1}, {"name": "a", "weight": 2}]}, "two routes named 'a'"),
        ({"routes": [{"name": "a", "weight": 1}], "learn": {"half_life": 0}}, "'learn.half_life'"),
        ({"routes": [{"name": "a", "weight": 1}], "learn": {"floor": 0.5}}, "'learn.floor' must be between"),
        ({"routes": [{"name": "a", "wieght": 1}]}, "did you mean 'weight'"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(given, words):
    """The error says which option, and what is wrong with it."""
    with pytest.raises(ConfigError, match=words):
        structure(RouteTableConfig, {"name": "t", **given}, "kumo.make_route_table")


def test_learning_can_be_switched_off():
    """Then the weights are the split."""
    one = table(50, 50, enabled=False, half_life=Duration(60.0))
    now = feed(one, (1.0, 0.5), 500)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


ROUTES = ("r0", "r1", "r2")


def outage(one, now, seconds, down, next_route=True):
    """Ten messages a second, as the queue sends them: those that fail go on over the next route; by route, how many."""
    tried_by = [0] * len(one.config.routes)
    for _ in range(int(seconds * 10)):
        now += 0.1
        tried = []
        while (choice := one.choose("x", now, tried)) is not None:
            is_first = not tried
            tried.append(choice.route)
            tried_by[choice.position] += 1
            is_good = choice.position not in down
            signal = Signal.HANDED_OVER if is_good else Signal.FAILED
            one.report("x", choice.position, signal, now, since=now, is_first=is_first)
            if is_good or not next_route:
                break
        else:
            one.forgive("x", ROUTES.index(tried[0]), now)
    return now, tried_by


@pytest.mark.parametrize("next_route", [True, False])
def test_after_an_outage_of_all_routes_those_that_are_well_are_found_at_once(next_route):
    """While every way is shut messages go all the same, and what goes well opens it; the others are tried at once."""
    one = table(20, 10, 70)
    now, _ = outage(one, NOW, 30, down=())
    now, _ = outage(one, now, 60, {0, 1, 2}, next_route)
    now, _ = outage(one, now, 5, {2}, next_route)
    assert [one.breaker("x", position).state is State.CLOSED for position in (0, 1)] == [True, True]
    assert one.breaker("x", 2).state is not State.CLOSED
    now, tried_by = outage(one, now, 60, {2}, next_route)
    assert tried_by[2] <= 10, "four to notice, and its trials"


def test_a_storm_over_all_routes_blames_none_of_them():
    """What fails by every route says nothing about any: shares stay where they rest."""
    one = table(20, 10, 70)
    now, _ = outage(one, NOW, 30, down=())
    now, _ = outage(one, now, 20, {0, 1, 2})
    now, _ = outage(one, now, 20, down=())
    assert tuple(one.shares("x", now)) == pytest.approx((0.2, 0.1, 0.7), abs=0.02)


def trouble_after_training(weights, seconds, down, told=None):
    """A table that has been well for two minutes, and then one whose failures wait for a retry."""
    one = table(*weights, changed=told.append if told is not None else lambda _: None)
    now, _ = outage(one, NOW, 120, down=())
    if told is not None:
        told.clear()
    return one, outage(one, now, seconds, down, next_route=False)[0]


@pytest.mark.parametrize("weights", [(20, 10, 70), (50, 50), (34, 33, 33), (90, 5, 5)])
@pytest.mark.parametrize("seconds", [3, 30, 600])
def test_an_outage_of_all_routes_under_retry_blames_none(weights, seconds):
    """Whoever was the last way left fails for all of them: shares rest while it lasts, and after it."""
    everybody = set(range(len(weights)))
    rest = [weight / sum(weights) for weight in weights]
    one, now = trouble_after_training(weights, 0, ())
    for _ in range(seconds):
        now, _ = outage(one, now, 1.6, everybody, next_route=False)  # as long as it takes to see all of them fail
        assert tuple(one.shares("x", now)) == pytest.approx(rest, abs=0.02)
        assert tuple(one.shares("", now)) == pytest.approx(rest, abs=0.02)
    for _ in range(60):
        now, _ = outage(one, now, 1, (), next_route=False)
        assert tuple(one.shares("x", now)) == pytest.approx(rest, abs=0.02)
    assert tuple(one.open_shares("x", now)) == pytest.approx(rest, abs=0.02)


def test_an_outage_of_all_routes_is_told_with_its_end():
    """Weights decide while nobody is better: that this began and ended are changes of their own."""
    told = []
    one, now = trouble_after_training((20, 10, 70), 60, {0, 1, 2}, told)
    assert tuple(one.open_shares("x", now)) == pytest.approx((0.2, 0.1, 0.7), abs=0.001), "resting shares"
    outage(one, now, 10, (), next_route=False)
    moves = [(change.before, change.after) for change in told if change.what == "outage" and change.name == "x"]
    assert moves == [("no", "yes"), ("yes", "no")]
    assert not [change for change in told if change.what == "share"]


@pytest.mark.parametrize("still_dead", [0, 1, 2])
def test_after_an_outage_of_all_routes_one_that_stays_dead_is_seen_soon(still_dead):
    """The others are found within seconds, and it has but its trials."""
    one, now = trouble_after_training((20, 10, 70), 300, {0, 1, 2})
    now, _ = outage(one, now, 10, {still_dead}, next_route=False)
    now, tried_by = outage(one, now, 60, {still_dead}, next_route=False)
    assert tried_by[still_dead] <= 8
    assert one.open_shares("x", now)[still_dead] == 0.0
    others = [position for position in range(3) if position != still_dead]
    assert all(one.breaker("x", position).state is State.CLOSED for position in others)


def test_two_of_three_die_and_come_back():
    """The third gets all, and the two are back within minutes of their recovery."""
    one, now = trouble_after_training((20, 10, 70), 5, {0, 2})
    now, tried_by = outage(one, now, 60, {0, 2}, next_route=False)
    assert tried_by[1] >= 590
    now, _ = outage(one, now, 180, (), next_route=False)
    assert tuple(one.open_shares("x", now)) == pytest.approx((0.2, 0.1, 0.7), abs=0.05)


@pytest.mark.parametrize("rate", [0.5, 0.6, 0.7, 0.8])
def test_a_last_way_that_is_merely_poor_is_not_given_up_for_a_dead_one(rate):
    """Most messages still go out by it: better than the weights, which would send half to the dead one."""
    one, now = trouble_after_training((50, 50), 10, {0})
    chance, tried_by = random.Random(5), [0, 0]
    for number in range(2000):
        now += 0.1
        choice = one.choose("x", now)
        tried_by[choice.position] += 1
        is_good = choice.position == 1 and (number < 5 or chance.random() < rate)
        one.report("x", choice.position, Signal.HANDED_OVER if is_good else Signal.FAILED, now)
    assert tried_by[0] <= 20, "of 2,000"


def test_what_was_sent_during_an_outage_is_no_evidence_after_it():
    """Failures that come in when another route is well already belong to the outage; so do late successes."""
    one, now = trouble_after_training((20, 10, 70), 20, {0, 1, 2})
    sent = now - 0.5
    now, _ = outage(one, now, 3, {1, 2}, next_route=False)
    assert one.breaker("x", 0).state is State.CLOSED
    for _ in range(40):
        one.report("x", 2, Signal.FAILED, now, since=sent)
        one.report("x", 1, Signal.HANDED_OVER, now, since=sent)
    assert tuple(one.shares("x", now + 3)) == pytest.approx((0.2, 0.1, 0.7), abs=0.02)


def test_what_was_sent_before_a_breaker_closed_does_not_open_it_again():
    """A route that is back answers for what it does now."""
    one = table(50, 50)
    now = feed(one, (1.0, 1.0), 100)
    for _ in range(4):
        one.report("x", 1, Signal.FAILED, now, since=now)
    sent, now = now + 1, now + FIRST_PAUSE + 1
    for _ in range(3):
        one.report("x", 1, Signal.HANDED_OVER, now, since=now)
    assert one.breaker("x", 1).state is State.CLOSED
    for _ in range(10):
        one.report("x", 1, Signal.FAILED, now + 1, since=sent)
    assert one.breaker("x", 1).state is State.CLOSED


def test_an_outage_and_a_clock_put_back_leave_nobody_deaf():
    """What is learned by the clock as it is now counts, though it is before the outage ended."""
    one, now = trouble_after_training((50, 50), 20, {0, 1})
    now, _ = outage(one, now, 20, (), next_route=False)
    now = feed(one, (1.0, 0.2), 500, start=now - 86_400.0)
    assert one.open_shares("x", now)[1] < 0.1


def test_a_share_says_when_there_is_too_little_to_compare_it_by():
    """What comes back for want of samples does not come back because nobody is worse."""
    told = []
    one = table(50, 50, changed=told.append)
    now = feed(one, (1.0, 0.5), 100)
    assert one.shares("x", now)[1] < 0.05
    told.clear()
    one.shares("x", now + 40 * 60)
    assert told[-1].what == "share"
    assert told[-1].evidence.endswith("handed over; too few samples to compare it")


@pytest.mark.parametrize("seconds", [0, 1.5, 30, 500])
def test_a_route_whose_breaker_is_open_is_shown_with_no_share(seconds):
    """Also one that nothing is sent to, and whose next trial could be made at any time."""
    one = table(50, 50)
    now = feed(one, (1.0, 1.0), 100)
    for _ in range(4):
        one.report("x", 1, Signal.FAILED, now, since=now)
    for name in ("", "x"):
        assert [one.shown(name, position, now + seconds).share for position in (0, 1)] == [1.0, 0.0]
        assert one.shown(name, 1, now + seconds).breaker is State.OPEN


def mixed(one, dead, seconds=120):
    """Ten messages a second to good domains and, by the route at 1, some to dead ones; all by the table's choice."""
    now, chance = NOW, random.Random(3)
    for _ in range(seconds * 10):
        now += 0.1
        site = f"dead{chance.randrange(5)}.example" if chance.random() < dead else f"d{chance.randrange(50)}.example"
        at = one.choose(site, now).position
        is_good = at == 0 or not site.startswith("dead")
        signal = Signal.HANDED_OVER if is_good else Signal.FAILED
        one.report(site, at, signal, now, since=now, site=site if at == 1 else None)
    return now


@pytest.mark.parametrize("dead", [0.03, 0.1, 0.3])
def test_domains_that_do_not_answer_are_no_fault_of_the_route(dead):
    """Their exchangers are dead on any way that leads there: the mail of others stays where it rests."""
    told = []
    one = table(30, 70, changed=told.append)
    now = mixed(one, dead)
    assert tuple(one.open_shares("", now)) == pytest.approx((0.3, 0.7), abs=0.05)
    assert tuple(one.open_shares("d1.example", now)) == pytest.approx((0.3, 0.7), abs=0.05)
    assert not [change for change in told if change.name == "" and change.what == "breaker"]
    assert one.breaker("dead1.example", 1).state is not State.CLOSED, "they themselves are better off elsewhere"


def test_a_network_that_is_down_fails_for_one_domain_after_the_other():
    """The fourth opens the breaker of all, and they are back when it is."""
    one = table(30, 70)
    now = mixed(one, 0.1)
    for number in range(4):
        assert one.breaker("", 1).state is State.CLOSED
        one.report(f"d{number}.example", 1, Signal.FAILED, now, since=now, site=f"d{number}.example")
    assert one.breaker("", 1).state is State.OPEN
    for number in range(3):
        now += FIRST_PAUSE
        one.report(f"d{number}.example", 1, Signal.HANDED_OVER, now, since=now, site=f"d{number}.example")
    assert one.breaker("", 1).state is State.CLOSED


@pytest.mark.parametrize("name", ["", "tenant-7"])
def test_a_dead_domain_is_no_fault_in_a_class_of_many_domains(name):
    """With `class = 'all'`, or by tenant, one dead domain does not move the mail to those that answer."""
    one = table(50, 50)
    for number in range(20):
        one.report(name, 1, Signal.HANDED_OVER, NOW, since=NOW, site=f"d{number % 3}.example")
    for _ in range(10):
        one.report(name, 1, Signal.FAILED, NOW + 1, since=NOW, site="dead.example")
    assert one.breaker(name, 1).state is State.CLOSED


def test_a_class_of_one_domain_knows_no_others():
    """A single destination that fails is all that there is: it fails each time, also when it was well before."""
    one = table(50, 50)
    one.report("", 1, Signal.HANDED_OVER, NOW, since=NOW, site="only.example")
    for _ in range(5):
        one.report("", 1, Signal.FAILED, NOW + 1, since=NOW, site="only.example")
    assert one.breaker("", 1).state is State.OPEN


def test_what_is_sent_where_nobody_answers_any_more_counts_again():
    """A network that is down for two domains only is seen a minute after the last answer."""
    one = table(50, 50)
    for site in ("a.example", "b.example"):
        one.report("", 1, Signal.HANDED_OVER, NOW, since=NOW, site=site)
    for second in (1, 2, 61, 62, 63):
        for site in ("a.example", "b.example"):
            one.report("", 1, Signal.FAILED, NOW + second, since=NOW, site=site)
        assert (one.breaker("", 1).state is State.OPEN) is (second > 60)


def test_a_route_with_less_weight_than_the_floor_gets_its_weight():
    """The floor is trial traffic for one that gives up its share; a canary of 0.1 percent remains one."""
    one = table(0.1, 99.9)
    counted = [one.choose("x", NOW).position for _ in range(2_000)]
    assert counted.count(0) == 2
    feed(one, (1.0, 0.2), 100, start=NOW)
    assert min(one.shares("x", NOW + 61)) == pytest.approx(0.01), "and the other one, which is worse, the floor"


def learned_by_class():
    """The route at 0 fails for one class only, for 200 of 4,000 messages."""
    one, now = table(50, 50), NOW
    for number in range(4_000):
        now, name = now + 0.05, "bad" if number % 20 == 0 else "good"
        at = one.choose(name, now).position
        one.report(
            name, at, Signal.FAILED if (name, at) == ("bad", 0) and number % 60 == 0 else Signal.HANDED_OVER, now
        )
    assert one.shares("bad", now)[0] < 0.1
    return one, now


def test_a_restart_forgets_no_class():
    """What moved the share of one class holds from the first message on, not after another fifty."""
    one, now = learned_by_class()
    again = table(50, 50)
    for name, known in list(one.news()):
        again.recall(name, known, now)
    assert again.shares("bad", now + 1) == pytest.approx(one.shares("bad", now + 1), abs=0.01)
    assert again.shares("good", now + 1) == (0.5, 0.5)


def test_a_table_that_is_made_anew_forgets_no_class_nor_what_other_workers_know():
    """A reload that changes an option moves no share."""
    one, now = learned_by_class()
    follower = table(50, 50)
    for name, known in list(one.news()):
        follower.hear(1, name, known, now)
    for before in (one, follower):
        after = table(50, 50)
        after.remember(before)
        assert after.shares("bad", now + 1) == pytest.approx(before.shares("bad", now + 1), abs=0.01)
    turned = RouteTable(RouteTableConfig(name="t", routes=tuple(reversed(one.config.routes)), class_="domain"))
    turned.remember(follower)
    assert turned.shares("bad", now + 1)[1] < 0.1, "routes go by name"


def test_a_table_that_is_made_anew_knows_which_domains_are_dead():
    """Their retries after a reload are no news."""
    one = table(30, 70)
    now = mixed(one, 0.1)
    after = table(30, 70)
    after.remember(one)
    for number in range(5):
        after.report(f"dead{number}.example", 1, Signal.FAILED, now, since=now, site=f"dead{number}.example")
    assert after.breaker("", 1).state is State.CLOSED


def test_two_workers_and_a_clock_put_back_find_a_route_again():
    """It died while the clock was an hour ahead: what one worker finds out since, the other does not undo."""
    told = []
    workers = [table(50, 50, changed=told.append) for _ in range(2)]

    def work(now, seconds, is_dead):
        counted = Counter()
        for second in range(seconds):
            for one, other in (workers, workers[::-1]):
                for _ in range(4):
                    at = one.choose("x", now + second).position
                    counted[at] += 1
                    one.report("x", at, Signal.FAILED if is_dead and at == 0 else Signal.HANDED_OVER, now + second)
                for name, known in list(one.news()):
                    other.hear(0, name, known, now + second)
        return counted

    ahead = NOW + 3600
    work(ahead, 60, False)
    assert work(ahead + 60, 60, True)[0] < 40
    work(NOW, 20, False)
    assert {one.breaker("", 0).state for one in workers} == {State.CLOSED}
    told.clear()
    assert work(NOW + 20, 60, False)[0] > 20
    assert not [change for change in told if change.what == "breaker"]


@pytest.mark.parametrize("is_good", [False, True])
def test_a_trial_is_judged_by_itself_and_not_by_what_was_sent_before_the_breaker_opened(is_good):
    """Messages that were on the wire when the route died time out during its trials, or come through late."""
    one, now = table(50, 50), NOW + 61
    feed(one, (1.0, 1.0), 100)
    for _ in range(4):
        one.report("x", 0, Signal.FAILED, now, since=now - 1)
    trial = now + FIRST_PAUSE
    assert any(one.choose("x", trial) == Choice(0, "r0", True) for _ in range(5))
    for _ in range(3):
        one.report("x", 0, Signal.HANDED_OVER if is_good else Signal.FAILED, trial + 0.1, since=now - 0.5)
        assert one.breaker("x", 0).state is State.TRIAL
    one.report("x", 0, Signal.FAILED if is_good else Signal.HANDED_OVER, trial + 0.2, since=trial)
    waits = one.breaker("x", 0).until - trial - 0.2
    assert waits == pytest.approx(FIRST_PAUSE * 4 if is_good else 0.0, abs=0.01)


def test_a_breaker_says_which_messages_opened_it():
    """The numbers are those that the test rests on, counted from where suspicion arose."""
    told = []
    one = table(50, 50, changed=told.append)
    feed(one, (1.0, 1.0), 100)
    for signal in (Signal.FAILED, Signal.FAILED, Signal.HANDED_OVER, *[Signal.FAILED] * 3):
        one.report("x", 1, signal, NOW + 61)
    opened = next(change for change in told if change.after == "open")
    assert opened.evidence == "5 of the last 6 messages that this worker sent by it failed"


def told_shares(told, route):
    return [
        (change.before, change.after)
        for change in told
        if (change.route, change.name, change.what) == (route, "", "share")
    ]


def test_a_share_that_comes_back_little_by_little_is_told_as_well():
    """Each record begins where the one before it ended, and the last ends near where the share is."""
    told = []
    one = table(50, 50, changed=told.append, half_life=Duration(600.0))
    now = NOW
    for bad in (0.0, 0.12, 0.0):
        for number in range(4000):
            now += 0.5
            for position in (0, 1):
                is_good = position == 0 or number % 100 >= bad * 100
                one.report("x", position, Signal.HANDED_OVER if is_good else Signal.FAILED, now)
            one.shares("x", now)
            one.shares("", now)
    ways = told_shares(told, "r1")
    assert 10 < len(ways) < 100
    assert [before for before, _ in ways[1:]] == [after for _, after in ways[:-1]]
    assert abs(float(ways[-1][1]) - one.shares("", now)[1]) < 0.05


def test_a_table_that_is_made_anew_tells_no_move_that_was_told():
    """What it remembers has been told of, where it still has the route."""
    one = table(50, 50)
    now = feed(one, (1.0, 0.5), 500)
    assert max(one.shares(name, now)[1] for name in ("x", "")) < 0.1
    told = []
    anew = table(50, 50, changed=told.append)
    anew.remember(one)
    assert max(anew.shares(name, now)[1] for name in ("x", "")) < 0.1
    assert told == []


def test_a_class_is_noted_by_its_messages_and_not_by_questions():
    """One of which nothing is known is shown as all messages together are, and is no more in memory than before."""
    one = table(50, 50)
    now = feed(one, (1.0, 0.5), 500)
    before = one.classes()
    shares = one.shares("new", now)
    assert shares == one.shares("", now)
    assert one.shown("new", 1, now) == one.shown("", 1, now)
    assert one.breaker("new", 1).state is State.CLOSED
    assert not one.is_outage("new")
    assert one.others("new", (0,), now) == ["r1"]
    one.would_choose("new", now)
    assert one.classes() == before
    one.choose("new", now)
    assert "new" in one.classes()


def test_a_few_messages_of_the_last_minutes_take_no_share_away():
    """On fewer than `min_samples` nothing is taken from a route, however bad they were."""
    one = table(50, 50, min_samples=500)
    now = feed(one, (0.95, 1.0), 800) + 600
    assert tuple(one.shares("x", now)) == (0.5, 0.5)
    now = feed(one, (0.7, 1.0), 40, start=now)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


def test_all_that_fail_alike_from_one_moment_on_rest():
    """A small route has hardly a message of the last minutes: the large one is not measured by its last half-hour."""
    one = table(97, 3)
    chance, now = random.Random(3), NOW
    for number in range(12_000):
        now += 0.1
        at = one.choose("x", now).position
        is_bad = chance.random() < (0.3 if number > 6_000 else 0.01)
        one.report("x", at, Signal.FAILED if is_bad else Signal.HANDED_OVER, now)
        assert one.shares("x", now)[0] > 0.9, number
    assert all(one.breaker("x", at).state is State.CLOSED for at in (0, 1))


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0])
def test_a_route_that_stays_bad_stays_left_however_few_messages_there_are(rate):
    """Its samples fade to fewer than `min_samples`, as hardly any message goes there; it does not return for that."""
    told = []
    one = table(70, 30, changed=told.append)
    chance, now, counted = random.Random(5), NOW, Counter()
    for _ in range(int(4 * 3600 * rate)):
        now += 1 / rate
        at = one.choose("x", now).position
        counted[at] += 1
        one.report("x", at, Signal.FAILED if at == 1 and chance.random() < 0.3 else Signal.HANDED_OVER, now)
    assert counted[1] / counted.total() < 0.25
    assert len(told_shares(told, "r1")) < 200


def test_what_failed_elsewhere_does_not_go_to_a_dead_route():
    """Its breaker keeps out hops as well, but for the trials; a message with no way left waits."""
    one, chance, now, dead = table(50, 50), random.Random(2), NOW, 0
    for _ in range(5_000):
        now += 0.04
        tried = ()
        while (choice := one.choose("x", now, tried)) is not None:
            is_bad = choice.position == 0 or chance.random() < 0.02
            dead += choice.position == 0
            one.report("x", choice.position, Signal.FAILED if is_bad else Signal.HANDED_OVER, now, is_first=not tried)
            if not is_bad:
                break
            tried = (*tried, choice.route)
    assert dead <= 10


def test_a_domain_that_refuses_our_mail_takes_the_route_from_no_other():
    """One message in ten goes there: their mail is refused on any way, and all others rest."""
    one, now = table(30, 70), NOW
    for number in range(1_500):
        now += 0.1
        site = "strict.example" if number % 10 == 0 else f"d{number % 50}.example"
        at = one.choose(site, now).position
        is_refused = at == 1 and site == "strict.example"
        signal = Signal.REFUSED if is_refused else Signal.HANDED_OVER
        one.report(site, at, signal, now, since=now, site=site if at == 1 else None)
    assert tuple(one.shares("other.example", now)) == pytest.approx((0.3, 0.7))
    assert one.shares("strict.example", now)[1] < 0.1, "they themselves go by the other one"


def test_a_route_returns_although_a_worker_that_is_no_more_has_seen_it_bad():
    """Its evidence of the bad times fades for an hour; it does not send the route back and forth meanwhile."""
    former, told = table(70, 30), []
    now = feed(former, (1.0, 0.9), 2_000, seconds=600.0)
    one = table(70, 30, changed=told.append)
    for name, known in list(former.news()):
        one.hear(7, name, known, now)
    assert one.shares("x", now)[1] < 0.05
    for _ in range(20_000):
        now += 0.05
        at = one.choose("x", now).position
        one.report("x", at, Signal.HANDED_OVER, now)
    assert tuple(one.shares("x", now)) == (0.7, 0.3)
    assert len(told_shares(told, "r1")) <= 4


def returned(one, position, now, site, name="x", count=1):
    """Messages of a class were handed over by a route, and came back from `site`."""
    for _ in range(count):
        one.report(name, position, Signal.HANDED_OVER, now, site=site)
        one.report(name, position, Signal.LOST, now, site=site)


def test_a_storm_of_bounces_moves_the_share_away_from_a_route_beside_one_of_which_nothing_is_heard():
    """A provider without receipts is taken to lose one in ten: a storm is worse than that, a healthy route is not."""
    one = table(50, 50)
    for at in range(200):
        now = NOW + at / 10.0
        one.report("x", 0, Signal.HANDED_OVER, now)
        one.report("x", 1, Signal.HANDED_OVER, now)
        if at % 25 == 0:
            one.report("x", 1, Signal.LOST, now)
    assert tuple(one.shares("x", now)) == pytest.approx((0.5, 0.5)), "one in 25 is no storm"
    for _ in range(60):
        now += 0.1
        one.report("x", 1, Signal.LOST, now)
    now += 3.0
    assert one.shares("x", now)[1] == pytest.approx(0.01)
    assert one.shown("x", 0, now).health == 1.0, "nobody says that it loses any"
    for minute in range(90):
        for at in range(60):
            position = int(at % 20 == 0)
            one.report("x", position, Signal.HANDED_OVER, now + 60.0 * minute + at)
    now += 90 * 60.0
    assert one.shares("x", now)[1] == pytest.approx(0.5), "and it is back when they have ended"


def test_a_route_that_reports_its_bounces_is_no_worse_than_one_that_reports_each_delivery():
    """Both lose four of a hundred, of which one hears what arrives and the other only what does not."""
    one = table(50, 50)
    for at in range(500):
        now = NOW + at / 10.0
        is_lost = at % 25 == 0
        for position in (0, 1):
            one.report("x", position, Signal.HANDED_OVER, now)
        one.report("x", 0, Signal.LOST if is_lost else Signal.ARRIVED, now)
        if is_lost:
            one.report("x", 1, Signal.LOST, now)
    assert tuple(one.shares("x", now)) == pytest.approx((0.5, 0.5))
    assert [one.shown("x", at, now).health for at in (0, 1)] == pytest.approx([0.96, 0.96], abs=0.01)


def test_a_domain_that_returns_our_mail_takes_the_route_from_no_other():
    """One message in ten comes back from there: their class leaves the route, all others keep it."""
    one = table(30, 70)
    for at in range(1_500):
        now, strict = NOW + at / 10.0, at % 10 == 0
        site = "strict.test" if strict else f"d{at % 7}.test"
        position = 0 if at % 10 < 3 else 1
        one.report(site, position, Signal.HANDED_OVER, now, site=site if position else None)
        if strict:
            returned(one, 1, now, site, site)
    assert one.shares("fresh.test", now)[1] == pytest.approx(0.7, abs=0.01)
    assert one.shares("strict.test", now)[1] < 0.1


def test_bounces_from_everywhere_do_count_among_all():
    """A block list that hundreds of domains ask is the route's affair."""
    one = table(50, 50)
    for at in range(300):
        now = NOW + at / 10.0
        site = f"d{at}.test"
        one.report(site, 0, Signal.HANDED_OVER, now)
        returned(one, 1, now, site, site)
    assert one.shares("fresh.test", now + 3.0)[1] == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["", "x"])
@pytest.mark.parametrize("sites", [2, 10])
def test_a_storm_of_bounces_from_a_few_domains_is_no_domains_own(name, sites):
    """All that a hundred messages to ten domains get is a bounce: so the route is at fault, in any class."""
    one = table(50, 50)
    for at in range(100):
        one.report(name, 0, Signal.HANDED_OVER, NOW)
        one.report(name, 1, Signal.HANDED_OVER, NOW, site=f"d{at % sites}.test")
    for at in range(100):
        one.report(name, 1, Signal.LOST, NOW + 1.0, site=f"d{at % sites}.test")
    assert one.shares("fresh.test", NOW + 5.0)[1] == pytest.approx(0.01)


def test_a_domain_that_returns_mail_while_nothing_is_sent_takes_the_route_from_no_other():
    """Its bounces come at night, hours after the last mail to anybody."""
    one = table(50, 50)
    for at in range(200):
        site = "strict.test" if at % 2 else f"d{at % 7}.test"
        one.report(site, 0, Signal.HANDED_OVER, NOW)
        one.report(site, 1, Signal.HANDED_OVER, NOW, site=site)
    for at in range(100):
        one.report("strict.test", 1, Signal.LOST, NOW + 300.0 + at / 10.0, site="strict.test")
    assert one.shares("fresh.test", NOW + 320.0)[1] == pytest.approx(0.5, abs=0.02)
    assert one.shares("strict.test", NOW + 320.0)[1] == pytest.approx(0.01)


def arriving(one, rates, count, start, seconds=600.0, seed=4):
    """`count` messages by choice over so many seconds; by route how many are handed over, and arrive of these."""
    chance, shares = random.Random(seed), []
    for number in range(count):
        now = start + seconds * number / count
        at = one.choose("x", now).position
        handed, arrived = rates[at]
        if chance.random() >= handed:
            one.report("x", at, Signal.FAILED, now)
            continue
        one.report("x", at, Signal.HANDED_OVER, now)
        one.report("x", at, Signal.ARRIVED if chance.random() < arrived else Signal.LOST, now)
        shares.append(one.shares("x", now)[0])
    return start + seconds, shares


@pytest.mark.parametrize(
    ("rates", "share"), [(((0.9, 0.97), (0.98, 0.89)), 0.5), (((0.8, 0.97), (0.98, 0.5)), 0.99)], ids=["equal", "worse"]
)
def test_being_poor_at_hand_over_is_held_against_being_poor_at_arrival(rates, share):
    """One route fails more, of the other one more is lost: what arrives in the end is compared."""
    one = table(50, 50)
    now, _ = arriving(one, rates, 6_000, NOW)
    _, shares = arriving(one, rates, 6_000, now, seed=5)
    assert sum(shares) / len(shares) == pytest.approx(share, abs=0.15)


def test_a_route_that_recovers_at_hand_over_is_not_condemned_for_bounces_of_before():
    """Both report only bounces, 5 percent; one deferred 30 percent for ten minutes and is as well as the other now."""
    one, chance, now = table(50, 50), random.Random(6), NOW

    def work(seconds, success):
        nonlocal now
        for _ in range(seconds * 10):
            now += 0.1
            at = one.choose("x", now).position
            if chance.random() >= (success if at == 0 else 0.98):
                one.report("x", at, Signal.FAILED, now)
                continue
            one.report("x", at, Signal.HANDED_OVER, now)
            if chance.random() < 0.05:
                one.report("x", at, Signal.LOST, now)

    work(1_200, 0.98)
    work(600, 0.7)
    assert one.shares("x", now)[0] < 0.05
    work(600, 0.98)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)


def test_a_class_in_which_a_route_is_well_gets_it_back():
    """The route fails all others; a few messages of the class that went well acquit it there."""
    one, chance, now = table(50, 50), random.Random(8), NOW
    for number in range(36_000):
        now += 0.1
        name = "good" if number % 5 == 0 and now > NOW + 300 else "bad"
        at = one.choose(name, now).position
        is_bad = chance.random() < (0.3 if (name, at) == ("bad", 0) else 0.02)
        one.report(name, at, Signal.FAILED if is_bad else Signal.HANDED_OVER, now)
    assert one.shares("good", now)[0] == pytest.approx(0.5)
    assert one.shares("bad", now)[0] < 0.1


def test_a_single_report_of_an_arrival_is_no_reporting_of_arrivals():
    """A test event on a route that reports only what bounces: what has not bounced has arrived all the same."""
    one, chance, now = table(50, 50), random.Random(9), NOW
    for number in range(12_000):
        now += 0.1
        at = one.choose("x", now).position
        one.report("x", at, Signal.HANDED_OVER, now)
        if chance.random() < 0.05:
            one.report("x", at, Signal.LOST, now)
        if number == 6_000:
            one.report("x", 0, Signal.ARRIVED, now)
    assert tuple(one.shares("x", now)) == (0.5, 0.5)
    assert one.shown("x", 0, now).health > 0.9


def test_a_worker_that_only_hears_receipts_does_not_send_a_route_back():
    """Messages come by one worker, their receipts reach another: what recovered is back, and stays."""
    told = []
    sends, hears = table(50, 50, changed=told.append), table(50, 50)
    chance, now = random.Random(10), NOW
    for number in range(30_000):
        now += 0.1
        at = sends.choose("x", now).position
        sends.report("x", at, Signal.HANDED_OVER, now)
        is_bad = chance.random() < (0.4 if at == 0 and 6_000 < number < 12_000 else 0.02)
        hears.report("x", at, Signal.LOST if is_bad else Signal.ARRIVED, now)
        if number % 10 == 0:
            for one, other in ((sends, hears), (hears, sends)):
                one.judge_news(now)
                for name, known in list(one.news()):
                    other.hear(1, name, known, now)
    assert tuple(sends.shares("x", now)) == (0.5, 0.5)
    assert len(told_shares(told, "r0")) < 20


def test_a_failure_that_does_not_count_is_nothing_to_forgive():
    """Else a message to a dead domain that fails by every route would take back the failure of another one."""
    one = table(50, 50)
    assert one.report("dead.example", 1, Signal.FAILED, NOW, site="dead.example")
    assert not one.report("dead.example", 1, Signal.FAILED, NOW, site="dead.example")
    assert one.report("live.example", 1, Signal.FAILED, NOW, site="live.example")


def test_a_dozen_receipts_take_no_share_away():
    """There are messages enough, and receipts of few: these may acquit, and not condemn."""
    one = table(50, 50)
    for number in range(55):
        for position in (0, 1):
            one.report("x", position, Signal.HANDED_OVER, NOW + number)
    for number in range(12):
        one.report("x", 0, Signal.LOST if number % 2 else Signal.ARRIVED, NOW + 60)
        one.report("x", 1, Signal.ARRIVED, NOW + 60)
    assert tuple(one.shares("x", NOW + 61)) == (0.5, 0.5)


def test_small_classes_leave_a_route_with_all_others():
    """What they have shown before the trouble began acquits nobody of it."""
    one, chance, now, bad = table(70, 30), random.Random(11), NOW, 0
    for number in range(45_000):
        now += 0.04
        name = f"d{chance.randrange(500)}.example"
        at = one.choose(name, now).position
        is_bad = chance.random() < (0.3 if at == 0 and number > 30_000 else 0.01)
        bad += is_bad and number > 30_000
        one.report(name, at, Signal.FAILED if is_bad else Signal.HANDED_OVER, now)
    assert bad < 700, "of 3,150 with fixed weights"


def test_what_is_reported_may_differ_from_class_to_class():
    """One country's carriers report what arrives, another's what has failed: both routes are equally good in both."""
    one, chance, now = table(50, 50), random.Random(12), NOW
    for _ in range(20_000):
        now += 0.05
        name = "de" if chance.random() < 0.5 else "in"
        at = one.choose(name, now).position
        one.report(name, at, Signal.HANDED_OVER, now)
        if chance.random() < 0.05:
            one.report(name, at, Signal.LOST, now)
        elif (name, at) != ("in", 0):
            one.report(name, at, Signal.ARRIVED, now)
    for name in ("de", "in"):
        assert tuple(one.shares(name, now)) == (0.5, 0.5)
