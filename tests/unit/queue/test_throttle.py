"""Rates and limits within one process."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from support.fakes_queue import now, started_clock

from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.throttle import Cells, LocalLimits


def test_a_burst_of_the_limit_then_one_per_interval():
    """`10/s` lets ten through at once and then one each tenth of a second; the wait is in whole seconds."""
    cells, rate = Cells(), Throttle.parse("10/s")
    assert [cells.take("k", rate, 100.0) for _ in range(11)] == [0.0] * 10 + [1.0]
    assert cells.take("k", rate, 100.099) == 1.0
    assert cells.take("k", rate, 100.1) == 0.0
    assert cells.take("k", rate, 100.1) == 1.0


def test_max_burst_of_one_lets_two_through():
    """`100/h,max_burst=1`: two in one instant, as redis-cell counts, then one each 36 s."""
    cells, rate = Cells(), Throttle.parse("100/h,max_burst=1")
    assert [cells.take("k", rate, 0.0) for _ in range(3)] == [0.0, 0.0, 36.0]
    assert cells.take("k", rate, 35.9) == 1.0
    assert cells.take("k", rate, 36.0) == 0.0


def test_a_clock_put_back_makes_nobody_wait_longer_than_the_period():
    """An hour's rate that was used up a year ahead by mistake has room again within the hour."""
    cells, rate = Cells(), Throttle.parse("2/h")
    year = 365 * 86_400.0
    assert [cells.take("k", rate, year) for _ in range(3)] == [0.0, 0.0, 1800.0]
    assert cells.take("k", rate, 100.0) == 1800.0
    assert cells.until_full("k", rate, 100.0) == 3600.0


def test_a_changed_spec_and_another_name_start_afresh():
    """Changing a rate in the policy does not inherit the old one's debts."""
    cells = Cells()
    assert cells.take("k", Throttle.parse("1/h"), 0.0) == 0.0
    assert cells.take("k", Throttle.parse("1/h"), 0.0) == 3600.0
    assert cells.take("k", Throttle.parse("2/h"), 0.0) == 0.0
    assert cells.take("other", Throttle.parse("1/h"), 0.0) == 0.0


@given(
    limit=st.integers(1, 1000),
    period=st.integers(1, 86400),
    burst=st.none() | st.integers(0, 2000),
    steps=st.lists(st.integers(0, 5_000_000), max_size=200),
)
def test_never_more_than_the_rate_and_never_less_than_it_allows(limit, period, burst, steps):
    """Over any span, as many events pass as the rate and its burst allow, to the event."""
    cells, rate = Cells(), Throttle(limit, period, burst)
    interval = Fraction(period * 1_000_000, limit)
    allowance = min(limit if burst is None else burst, limit - 1) + 1
    at, level = 1_800_000_000_000_000, Fraction(0)
    for step in steps:
        at += step
        level = max(Fraction(0), level - step)
        passes = level + interval <= allowance * interval
        wait = cells.take("k", rate, at / 1_000_000)
        assert (wait == 0.0) == passes
        if passes:
            level += interval
        else:
            assert wait == -((level + interval - allowance * interval) // -1_000_000)


def test_full_cells_are_swept_out():
    """A key per recipient domain does not fill memory."""
    cells, rate = Cells(), Throttle.parse("1/s")
    for number in range(20_000):
        assert cells.take(f"key {number}", rate, float(number)) == 0.0
    assert len(cells) < 5_000


def test_slots_are_taken_and_given_back():
    """A connection limit holds, and a slot given back twice counts once."""
    limits = LocalLimits(started_clock())
    first, second = now(limits.acquire("k", Limit(2))), now(limits.acquire("k", Limit(2)))
    assert now(limits.acquire("k", Limit(2))) is None
    assert now(limits.acquire("other", Limit(1))) is not None
    first.release()
    first.release()
    assert now(limits.acquire("k", Limit(2))) is not None
    assert now(limits.acquire("k", Limit(2))) is None
    second.release()
    assert now(limits.acquire("k", Limit(0))) is None


def test_the_clock_refills_a_rate():
    """LocalLimits reads the clock it was given."""
    clock = started_clock()
    limits = LocalLimits(clock)
    rate = Throttle.parse("1/m")
    assert [now(limits.throttle("k", rate)) for _ in range(2)] == [0.0, 60.0]
    clock.advance(60)
    assert now(limits.throttle("k", rate)) == 0.0
