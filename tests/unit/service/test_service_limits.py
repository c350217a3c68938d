"""Limits that hold over all workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.core.units import Limit, Throttle
from kumotwist.service.limits import Bucket, LeasedLimits, Ledger


class Desk:
    """Asks a ledger in the same process."""

    def __init__(self, ledger: Ledger, index: int) -> None:
        self.ledger = ledger
        self.index = index
        self.questions = 0

    async def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        self.questions += 1
        return self.ledger.take(key, spec, want)

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        self.ledger.give_back(key, spec, count)

    async def acquire(self, key: str, limit: int, waits: bool) -> bool:
        return self.ledger.acquire(self.index, key, limit, waits)

    def release(self, key: str) -> None:
        self.ledger.release(self.index, key)


def now(coroutine):
    """The result of a coroutine that does not wait."""
    results = []
    Deferred.fromCoroutine(coroutine).addCallback(results.append)
    return results[0]


def workers(clock: Clock, count: int) -> tuple[Ledger, list[LeasedLimits]]:
    ledger = Ledger(clock)
    return ledger, [LeasedLimits(Desk(ledger, index), clock) for index in range(count)]


@pytest.mark.parametrize("spec", ["100/s", "1000/s", "50/s,max_burst=10", "6000/m,max_burst=100"])
def test_the_rate_holds_over_all_workers(spec: str) -> None:
    """However greedily three workers ask, together they pass what the rate allows, to 5 %."""
    clock, throttle = Clock(), Throttle.parse(spec)
    _, limits = workers(clock, 3)
    passed, seconds = 0, 30
    for _ in range(seconds * 100):
        for each in limits:
            while now(each.throttle("k", throttle)) == 0.0:
                passed += 1
        clock.advance(0.01)
        for each in limits:
            each.sweep()
    burst = throttle.limit if throttle.max_burst is None else throttle.max_burst
    wanted = throttle.limit / throttle.period * seconds + min(burst, throttle.limit - 1) + 1
    assert wanted * 0.95 <= passed <= wanted * 1.001


def test_an_idle_worker_gives_its_share_back() -> None:
    """A worker that took a slice and stopped does not keep the others from the full rate."""
    clock, throttle = Clock(), Throttle.parse("100/s,max_burst=9")
    _, (idle, busy) = workers(clock, 2)
    assert now(idle.throttle("k", throttle)) == 0.0
    assert now(busy.throttle("k", throttle)) > 0.0, "the slice took all that was there"
    clock.advance(1.1)
    idle.sweep()
    passed = sum(now(busy.throttle("k", throttle)) == 0.0 for _ in range(20))
    assert passed == 10


def test_a_throttled_worker_does_not_keep_asking() -> None:
    """Once refused, a worker knows how long asking is in vain."""
    clock, throttle = Clock(), Throttle.parse("1/m")
    ledger = Ledger(clock)
    desk = Desk(ledger, 0)
    limits = LeasedLimits(desk, clock)
    assert now(limits.throttle("k", throttle)) == 0.0
    assert [now(limits.throttle("k", throttle)) for _ in range(5)] == [60.0] * 5
    assert desk.questions == 2


def test_what_remains_is_told_over_all_workers() -> None:
    """A policy sees how much of its rate is left, whichever worker used the rest; what lies in a slice is left, too."""
    clock, throttle = Clock(), Throttle.parse("100/s,max_burst=49")
    _, (one, two) = workers(clock, 2)
    assert now(one.until_full("k", throttle)) == 0.0
    assert now(one.throttle("k", throttle)) == 0.0
    assert now(one.until_full("k", throttle)) == pytest.approx(0.01)
    for _ in range(10):
        assert now(two.throttle("k", throttle)) == 0.0
    assert now(two.until_full("k", throttle)) == pytest.approx(0.20)
    clock.advance(1)
    assert now(two.until_full("k", throttle)) == 0.0


def test_slots_are_counted_over_all_workers_and_freed_by_death() -> None:
    """A connection limit holds for the machine; what a dead worker held is free again."""
    ledger, (one, two) = workers(Clock(), 2)
    limit = Limit(3)
    held = [now(one.acquire("site", limit)), now(one.acquire("site", limit)), now(two.acquire("site", limit))]
    assert all(held)
    assert now(two.acquire("site", limit)) is None
    held[0].release()
    held[0].release()
    assert now(two.acquire("site", limit)) is not None
    assert now(two.acquire("site", limit)) is None
    ledger.forget(1)
    assert now(one.acquire("site", limit)) is not None
    assert now(one.acquire("site", limit)) is not None
    assert now(one.acquire("site", limit)) is None


@given(
    st.integers(1, 50),
    st.integers(1, 60),
    st.one_of(st.none(), st.integers(0, 60)),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=60),
)
def test_a_bucket_never_exceeds_its_rate(
    limit: int, period: int, burst: int | None, asks: list[tuple[float, int]]
) -> None:
    """In any stretch of time no more pass than the burst, one, and the rate's share."""
    bucket = Bucket(Throttle(limit, period, burst))
    time, passes = 1000.0, []
    for pause, want in asks:
        time += pause
        granted, wait = bucket.take(time, want)
        assert 0 <= granted <= want
        assert (granted == 0) == (wait > 0)
        passes.append((time, granted))
    for first in range(len(passes)):
        total = 0
        for at, granted in passes[first:]:
            total += granted
            assert total <= bucket.allowance + 1 + (at - passes[first][0]) / bucket.interval + 1e-6


def test_who_waits_gets_the_next_slot():
    """A worker with a steady backlog does not take its own slot again while another one has none."""
    clock = Clock()
    ledger = Ledger(clock)
    assert all(ledger.acquire("first", "site", 2, waits=True) for _ in range(2))
    assert not ledger.acquire("second", "site", 2, waits=True)
    ledger.release("first", "site")
    assert not ledger.acquire("first", "site", 2, waits=True), "it holds one, the other none"
    assert ledger.acquire("second", "site", 2, waits=True)
    ledger.release("second", "site")
    assert ledger.acquire("second", "site", 2, waits=True), "one each"


def test_with_one_slot_they_take_turns():
    """Who has waited longer is next, even with as many slots: none."""
    clock = Clock()
    ledger = Ledger(clock)
    assert ledger.acquire("first", "site", 1, waits=True)
    assert not ledger.acquire("second", "site", 1, waits=True)
    clock.advance(1)
    ledger.release("first", "site")
    assert not ledger.acquire("first", "site", 1, waits=True)
    clock.advance(1)
    assert ledger.acquire("second", "site", 1, waits=True)
    ledger.release("second", "site")
    assert ledger.acquire("first", "site", 1, waits=True)


def test_who_no_longer_asks_holds_nobody_up():
    """A worker whose queue is empty by now, or that died, loses its turn."""
    clock = Clock()
    ledger = Ledger(clock)
    assert ledger.acquire("first", "site", 1, waits=True)
    assert not ledger.acquire("second", "site", 1, waits=True)
    ledger.release("first", "site")
    clock.advance(3)
    assert ledger.acquire("first", "site", 1, waits=True)
    assert not ledger.acquire("second", "site", 1, waits=True)
    ledger.release("first", "site")
    ledger.forget("second")
    assert ledger.acquire("first", "site", 1, waits=True)


def test_listeners_do_not_wait_for_turns():
    """A client hears 421 only when all connections are taken, not because another worker asked before."""
    ledger = Ledger(Clock())
    assert ledger.acquire("first", "listener", 1)
    assert not ledger.acquire("second", "listener", 1)
    ledger.release("first", "listener")
    assert ledger.acquire("first", "listener", 1)
