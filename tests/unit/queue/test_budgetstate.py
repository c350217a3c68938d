"""What has been taken of budgets, over workers, restarts and clocks, in a real state file."""

from contextlib import asynccontextmanager

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from kumotwist.core.errors import StateUnavailable
from kumotwist.core.interfaces import Event, NoRoom
from kumotwist.core.units import Throttle
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.budgetstate import SCHEMA, BudgetState
from kumotwist.queue.throttle import LocalLimits

DAY = 86_400.0


class Now:
    """A clock that stands where it is put."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def seconds(self):
        return self.now


@asynccontextmanager
async def budgets_of(path, clock):
    file = await SqliteFile.open(path / "state.sqlite", reactor, SCHEMA)
    try:
        yield BudgetState(file, clock)
    finally:
        await file.close()


async def throttle(budgets, name, rate):
    """Seconds to wait for one event, 0.0 when it passes."""
    without = await budgets.take_all([Event(name, rate)])
    return without[0].wait if without else 0.0


async def passed(budgets, rate, count, name="k"):
    """How many of so many events pass."""
    return [await throttle(budgets, name, Throttle.parse(rate)) for _ in range(count)].count(0.0)


@ensureDeferred
async def test_a_restart_gives_nothing_back(tmp_path):
    """What a day allows is spent once, however often the daemon starts; then there is one per interval."""
    clock = Now()
    async with budgets_of(tmp_path, clock) as budgets:
        assert await passed(budgets, "10,000/d", 9_000) == 9_000
    async with budgets_of(tmp_path, clock) as budgets:
        assert await passed(budgets, "10,000/d", 1_200) == 1_000
        assert await throttle(budgets, "k", Throttle.parse("10,000/d")) == 9.0
        clock.now += 8.64
        assert await passed(budgets, "10,000/d", 2) == 1


@ensureDeferred
async def test_workers_share_one_budget(tmp_path):
    """To the event, and each sees what is left."""
    clock, rate = Now(), Throttle.parse("7/h")
    async with budgets_of(tmp_path, clock) as first, budgets_of(tmp_path, clock) as second:
        assert [await passed(one, "7/h", 2) for one in (first, second, first, second)] == [2, 2, 2, 1]
        assert rate.left(await first.until_full("k", rate)) == 0
        assert rate.left(await first.until_full("other", rate)) == 7
        clock.now += 1800
        assert rate.left(await second.until_full("k", rate)) == 3


@pytest.mark.parametrize("jump", [-1000 * DAY, -3600.0, 3600.0, 1000 * DAY])
@ensureDeferred
async def test_a_clock_that_jumps_locks_nobody_out(tmp_path, jump):
    """Forward it is time that has passed; back, the longest wait is the budget's own."""
    clock = Now()
    async with budgets_of(tmp_path, clock) as budgets:
        assert await passed(budgets, "24/d", 30) == 24
        clock.now += jump
        assert await passed(budgets, "24/d", 1) == (1 if jump > 0 else 0)
        clock.now += DAY
        assert await passed(budgets, "24/d", 30) == 24


@ensureDeferred
async def test_budgets_that_are_full_again_leave_no_rows(tmp_path):
    """The file does not grow with each number ever written to."""
    clock = Now()
    async with budgets_of(tmp_path, clock) as budgets:
        for number in range(50):
            await passed(budgets, "1/m", 1, str(number))
        clock.now += 61 + 15
        await passed(budgets, "1/m", 1, "last")
        count = await budgets.file.read(lambda one: one.execute("SELECT count(*) FROM budget_state").fetchone())
        assert count == (1,)


@ensureDeferred
async def test_what_cannot_be_counted_does_not_pass(tmp_path):
    """A state file that fails is an error and no free pass."""
    async with budgets_of(tmp_path, Now()) as budgets:
        await budgets.file.close()
        with pytest.raises(StateUnavailable):
            await throttle(budgets, "k", Throttle.parse("1/h"))


async def rows_of(budgets):
    """How many budgets have a row, and how many are said to."""
    query = "SELECT (SELECT count(*) FROM budget_state), counted FROM budget_count"
    return await budgets.file.read(lambda one: one.execute(query).fetchone())


@ensureDeferred
async def test_writing_to_many_numbers_gives_no_cap_back(tmp_path):
    """When too many budgets are counted none is forgotten: what is new waits, what is known is held to its rate."""
    clock = Now()
    async with budgets_of(tmp_path, clock) as budgets, budgets_of(tmp_path, clock) as other:
        budgets.max_counted = other.max_counted = 20
        for number in range(20):
            assert await passed((budgets, other)[number % 2], "2/h", 1, f"number {number}") == 1
        for one in (budgets, other):
            with pytest.raises(StateUnavailable, match="20 budgets are counted already"):
                await throttle(one, "another", Throttle.parse("2/h"))
        assert await rows_of(budgets) == (20, 20)
        assert await passed(budgets, "2/h", 2, "number 3") == 1
        clock.now += 1801  # all but number 3 are full again
        assert await passed(other, "2/h", 1, "another") == 1
        assert await rows_of(budgets) == (2, 2)
    async with budgets_of(tmp_path, clock) as budgets:
        assert await rows_of(budgets) == (2, 2)
        assert await passed(budgets, "2/h", 3, "number 3") == 1


@ensureDeferred
async def test_a_state_file_without_a_count_gets_one(tmp_path):
    """One of an earlier version is counted once."""
    clock = Now()
    async with budgets_of(tmp_path, clock) as budgets:
        assert await passed(budgets, "1/h", 1, "a") + await passed(budgets, "1/h", 1, "b") == 2
        await budgets.file.write(lambda one: one.execute("DROP TABLE budget_count"))
    async with budgets_of(tmp_path, clock) as budgets:
        assert await rows_of(budgets) == (2, 2)


@ensureDeferred
async def test_all_budgets_or_none(tmp_path):
    """What one of them refuses has cost the others nothing, in the file and in memory."""
    clock = Now()
    day, hour = (Event(name, Throttle.parse(rate)) for name, rate in (("day", "5/d"), ("hour", "1/h")))
    async with budgets_of(tmp_path, clock) as budgets:
        for counted in (budgets, LocalLimits(clock)):
            assert await counted.take_all([day, hour]) == ()
            for _ in range(10):
                assert await counted.take_all([day, hour]) == (NoRoom(1, 3600.0),)
            assert day.spec.left(await counted.until_full(day.key, day.spec)) == 4
            # Three of a kind are three; a fourth is one too many, and then none is taken.
            assert await counted.take_all([day, day, day]) == ()
            assert [one.position for one in await counted.take_all([day, day])] == [1]
            assert await counted.take_all([day]) == ()


@ensureDeferred
async def test_what_is_refused_makes_no_rows(tmp_path):
    """So messages to ever new numbers under a spent cap do not fill the file."""
    async with budgets_of(tmp_path, Now()) as budgets:
        spent = Event("all", Throttle.parse("1/d"))
        assert await budgets.take_all([spent]) == ()
        for number in range(20):
            assert await budgets.take_all([Event(str(number), Throttle.parse("3/h")), spent])
        count = await budgets.file.read(lambda one: one.execute("SELECT counted FROM budget_count").fetchone())
        assert count == (1,)
