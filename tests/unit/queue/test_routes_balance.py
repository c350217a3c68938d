"""Shares kept: in the long run, in the short, for each class and for the table as a whole."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.queue.routes.balance import MAX_AHEAD, Balance

SHARES = (0.2, 0.1, 0.7)


def test_a_hundred_messages_are_split_exactly():
    """20, 10 and 70 percent of 100 messages are 20, 10 and 70 messages; no run of eight has none for 70 percent."""
    balance = Balance(3)
    chosen = [balance.choose("x", SHARES) for _ in range(100)]
    assert Counter(chosen) == {0: 20, 1: 10, 2: 70}
    assert all(2 in chosen[start : start + 3] for start in range(98))


def test_the_split_is_the_tables_not_each_classs():
    """A hundred messages to a hundred domains are split just the same."""
    balance = Balance(3)
    assert Counter(balance.choose(f"c{number}", SHARES) for number in range(100)) == {0: 20, 1: 10, 2: 70}


def test_a_class_that_avoids_a_route_is_not_sent_there_for_another():
    """What one class owes a route is not paid by a class that has left it."""
    balance = Balance(2)
    chosen: dict[str, Counter] = {"well": Counter(), "avoids": Counter()}
    for number in range(1000):
        name = "avoids" if number % 2 else "well"
        chosen[name][balance.choose(name, (0.5, 0.5) if name == "well" else (0.99, 0.01))] += 1
    assert chosen["avoids"][1] <= 8
    assert abs(chosen["well"][0] - 250) <= 5


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6).filter(lambda one: sum(one) > 0.01), st.integers(1, 400))
def test_nobody_is_ever_far_from_its_share(weights, count):
    """After any number of messages each route is within two of what it should have had."""
    shares = [weight / sum(weights) for weight in weights]
    balance = Balance(len(shares))
    chosen = Counter(balance.choose("x", shares) for _ in range(count))
    for position, share in enumerate(shares):
        assert abs(chosen[position] - share * count) < 2.0
        assert share > 0 or chosen[position] == 0


def test_without_a_share_there_is_no_choice():
    """That is the caller's to prevent."""
    with pytest.raises(ValueError, match="no route"):
        Balance(2).choose("x", (0.0, 0.0))


def test_a_pinned_message_is_made_up_for():
    """Messages that a policy pinned to a route count: the others get the more of the rest."""
    balance = Balance(2)
    for _ in range(10):
        balance.note("x", 0, (0.5, 0.5))
    assert Counter(balance.choose("x", (0.5, 0.5)) for _ in range(10)) == {1: 10}


def test_thousands_of_pinned_messages_starve_nobody():
    """After a thousand pinned to it, a route of 10 percent has trial traffic again within a hundred messages."""
    balance = Balance(3)
    for _ in range(1_000):
        balance.note("x", 1, SHARES)
    for name in ("x", "y"):
        chosen = [balance.choose(name, SHARES) for _ in range(1_000)]
        assert 1 in chosen[:100]
        assert Counter(chosen)[0] == pytest.approx(200, abs=10)
        assert Counter(chosen)[1] == pytest.approx(100, abs=10)


def test_one_sticky_key_does_not_take_a_route_from_all_others():
    """What a thread sends by one route is made up for while it does, and not for long after."""
    balance = Balance(3)
    chosen = Counter()
    for _ in range(1_000):
        balance.note("x", 2, SHARES)
        chosen[balance.choose("x", SHARES)] += 1
    for _ in range(1_000):
        chosen[balance.choose("x", SHARES)] += 1
    assert chosen[2] >= 650


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from("xyz")), max_size=600))
def test_debts_stay_within_a_few_messages(steps):
    """Whatever is pinned and chosen in turn, no route is far ahead or behind in what is remembered."""
    balance = Balance(3)
    for is_pinned, position, name in steps:
        if is_pinned:
            balance.note(name, position, SHARES)
        else:
            balance.choose(name, SHARES)
        assert all(abs(debt) <= 4 * MAX_AHEAD for debt in balance.owed(name, (0.0, 0.0, 0.0)))
