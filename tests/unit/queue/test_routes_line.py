"""What budgets hold: whose turn it is, over all workers, and that only as many wake as there are places."""

from contextlib import asynccontextmanager
from random import Random

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from support.fakes_queue import started_clock
from support.held import HeldBy, pass_time
from twisted.internet import reactor

from kumotwist.config.routes import BudgetConfig, RouteEntry
from kumotwist.core.errors import StateUnavailable
from kumotwist.core.ids import IdGenerator
from kumotwist.core.units import Throttle
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.budgetstate import SCHEMA, BudgetState
from kumotwist.queue.routes.line import LOOK_EVERY, Lines
from kumotwist.queue.throttle import LocalLimits


class Machine:
    """Workers with one budget of that rate; with a path they share a state file."""

    def __init__(self, rate, path=None, late=lambda: 0.0):
        self.rate = Throttle.parse(rate)
        self.entry = RouteEntry(name="a", weight=1, budgets=(BudgetConfig(rate=self.rate),))
        self.clock, self.path = started_clock(), path
        self.late = late
        self.began = self.clock.seconds()
        self.ids = IdGenerator(self.clock.seconds)
        self.order, self.workers, self.files = [], [], []

    async def start(self, index=0):
        rates = LocalLimits(self.clock)
        if self.path is not None:
            self.files.append(await SqliteFile.open(self.path / "state.sqlite", reactor, SCHEMA))
            rates = BudgetState(self.files[-1], self.clock, index)
        worker = HeldBy(rates, self.clock, self.entry, self.ids, self.order, 3 * index % 10, self.late)
        self.workers.append(worker)
        return worker

    def kill(self, worker):
        """Its memory is gone; the messages are in its spool."""
        self.workers.remove(worker)
        return list(worker.spool.values())

    async def pass_time(self, seconds, each_second=None):
        await pass_time(self.clock, self.workers, seconds, each_second)
        assert len(self.order) <= self.places(), "never over the cap"

    def places(self):
        """How many there have been since the beginning."""
        passed = self.clock.seconds() - self.began
        return self.rate.burst + int(passed * self.rate.limit / self.rate.period + 1e-6)

    def used(self, before=0):
        return len(self.order) / (self.places() - before)


@asynccontextmanager
async def machine(rate, path, count, late=lambda: 0.0):
    """With so many workers, whose messages come `late` seconds after they were woken."""
    one = Machine(rate, path, late)
    try:
        yield one, *[await one.start(index) for index in range(count)]
    finally:
        for file in one.files:
            await file.close()


async def rows_of(one):
    """By worker, how many are in line in the file."""
    query = "SELECT worker, count(*) FROM budget_line GROUP BY worker"
    return await one.files[0].read(lambda file: file.execute(query).fetchall())


async def come(workers, names):
    """Messages, a new one to each worker in turn, a millisecond apart."""
    for number, name in enumerate(names):
        worker = workers[number % len(workers)]
        worker.clock.advance(0.001)
        await worker.come(name)


def names(count, prefix="m"):
    return [f"{prefix}{number:05}" for number in range(count)]


@pytest.mark.parametrize(("rate", "held", "seconds"), [("1/2s", 3000, 1200), ("60/h", 160, 6000), ("10/s", 3000, 60)])
@ensureDeferred
async def test_only_as_many_wake_as_there_are_places(rate, held, seconds):
    """Beside the look every ten minutes; all places are used, in order, and each message is told once."""
    one = Machine(rate)
    worker, waiting = await one.start(), names(held)
    for name in waiting:
        await worker.come(name)
    await one.pass_time(seconds)
    assert one.used() >= 0.95
    assert worker.gone == waiting[: len(worker.gone)]
    assert worker.told == held - one.rate.burst
    assert worker.wakes <= len(worker.gone) + held * (seconds // LOOK_EVERY)


@ensureDeferred
async def test_who_comes_later_stays_behind(tmp_path):
    """A message that comes while others are held takes no place that they wait for, whichever worker has it."""
    async with machine("1/m", tmp_path, 2) as (one, first, second):
        waiting, late = names(5), names(40, "x")
        for name in waiting:
            await first.come(name)

        async def one_more(passed):
            if passed % 10 == 0 and late:
                await second.come(late.pop(0))

        await one.pass_time(400, one_more)
        assert one.order[:5] == waiting
        assert one.order[5:] == sorted(one.order[5:]) != []


@pytest.mark.parametrize(
    ("rate", "count", "seconds"), [("1/2s", 2, 60), ("1/2s", 3, 60), ("60/h", 3, 900), ("5/s", 2, 20), ("1/s", 2, 30)]
)
@ensureDeferred
async def test_workers_get_places_in_the_order_of_arrival(tmp_path, rate, count, seconds):
    """So each gets as many as it has messages that are next; no place is wasted, and each message is told once."""
    async with machine(rate, tmp_path, count) as (one, *workers):
        waiting = names(one.rate.burst + 150)
        await come(workers, waiting)
        await one.pass_time(seconds)
        # To about a second: until then the others do not know of one that joins.
        apart = 1 + 2 * one.rate.limit / one.rate.period
        assert all(abs(waiting.index(name) - number) <= apart for number, name in enumerate(one.order))
        assert one.used() >= 0.95
        gone = [len(worker.gone) for worker in workers]
        assert max(gone) - min(gone) <= 1
        assert sum(worker.told for worker in workers) == 150
        assert sum(worker.wakes for worker in workers) <= len(one.order) + 150 * (1 + seconds // LOOK_EVERY)


@ensureDeferred
async def test_messages_that_come_late_to_their_places_change_no_shares(tmp_path):
    """On a busy machine a place may be taken some tenths of a second after it was free: then the next one is later."""
    late = Random(4)
    async with machine("1/2s", tmp_path, 3, lambda: late.random() * 0.15) as (one, *workers):
        waiting = names(150)
        await come(workers, waiting)
        await one.pass_time(120)
        assert one.order == waiting[: len(one.order)]
        assert one.used() >= 0.95


@ensureDeferred
async def test_a_line_for_each_recipient(tmp_path):
    """Thousands of lines at once are all dealt with, a few hundred at a time."""
    async with machine("1/m", tmp_path, 2) as (one, first, second):
        by = (BudgetConfig(rate=one.rate, by="recipient"),)
        first.entry = second.entry = evolve(one.entry, budgets=by)
        for worker in (first, second):
            for name in names(600):
                await worker.come(name)
        assert len(one.order) == 600
        one.clock.advance(60)
        for worker in (first, second):
            worker.budgets.tick()
            await worker.settled()
            one.clock.advance(0.1)
            await worker.go_on()
        one.clock.advance(0.1)
        for worker in (first, second):
            await worker.go_on()
        assert len(one.order) == 1200


@ensureDeferred
async def test_a_worker_that_holds_more_gets_more(tmp_path):
    """Three to one, when three of four messages are its own."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        await come([first, first, first, second], names(200))
        await one.pass_time(120)
        assert len(first.gone) == pytest.approx(3 * len(second.gone), abs=3)


@ensureDeferred
async def test_a_worker_that_is_killed_costs_no_places(tmp_path):
    """Within seconds the others go on without it; back again its messages are where they were, and nobody is over."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        waiting = names(200)
        await come([first, second], waiting)
        await one.pass_time(20)
        left, before = one.kill(second), one.places()
        await one.pass_time(60)
        assert len(one.order) >= before + 30 - 4
        back = await one.start(1)
        for message in left:
            await back.attempt(message)
        await one.pass_time(40)
        assert one.used() >= 0.9
        # The oldest are those that missed their turns.
        assert len(back.gone) >= 18
        assert back.gone == [name for name in waiting[1::2] if name not in second.gone][: len(back.gone)]
        assert len(set(one.order)) == len(one.order)


@ensureDeferred
async def test_a_worker_that_never_comes_back_leaves_nothing(tmp_path):
    """As after a start with fewer workers: its line is gone from the file, too, and later messages need not wait."""
    async with machine("60/h", tmp_path, 2) as (one, first, second):
        await come([first, second], names(90))
        await one.pass_time(3)
        assert await rows_of(one) == [(0, 15), (1, 15)]
        one.kill(second)
        await one.pass_time(630)
        assert await rows_of(one) == [(0, 15 - 10)]
        assert len(one.order) == 60 + 10


@ensureDeferred
async def test_a_restart_of_all_changes_no_turn(tmp_path):
    """Also with another number of workers: lines of before are forgotten, and formed anew by when messages came."""
    async with machine("1/2s", tmp_path, 3) as (one, *workers):
        waiting = names(90)
        await come(workers, waiting)
        await one.pass_time(20)
        left = [one.kill(worker) for worker in workers]
        one.clock.advance(2)
        new = [await one.start(0), await one.start(1)]
        for number, messages in enumerate(left):
            for message in messages:
                await new[number % 2].attempt(message)
        await one.pass_time(80)
        assert one.used() >= 0.9
        assert one.order == waiting[: len(one.order)]


@ensureDeferred
async def test_places_of_those_that_have_gone_are_used(tmp_path):
    """Whoever was held and is bounced keeps nobody from his place for long, here or on another worker."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        await come([first, second], names(100))
        await one.pass_time(10)
        for name, message in [(message.recipients[0].user, message) for message in first.parked.values()]:
            if name < "m00090":
                del first.parked[message.id]
        before, gone = one.places(), len(one.order)
        await one.pass_time(100)
        assert len(one.order) - gone >= one.places() - before - 6
        assert one.order[-1] >= "m00090"


@ensureDeferred
async def test_a_row_that_nobody_stands_for_holds_up_nobody_for_long(tmp_path):
    """As one of a worker that lives and has forgotten it."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        second.entry, second.order = evolve(one.entry, name="another"), []
        await come([first], names(60))
        await come([second], names(60, "x"))
        await one.pass_time(3)
        row = "INSERT INTO budget_line SELECT name, 1.0, x'00', 1 FROM budget_line WHERE worker = 0 LIMIT 1"
        await one.files[0].write(lambda connection: connection.execute(row))
        gone = len(first.gone)
        await one.pass_time(4)
        assert len(first.gone) <= gone + 1
        await one.pass_time(40)
        assert len(first.gone) - gone >= 18


@ensureDeferred
async def test_a_worker_that_was_out_of_breath_is_in_line_again(tmp_path):
    """It gave no sign of life for a while, and another one that started forgot it."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        await come([first, second], names(60))
        await one.pass_time(4)
        one.workers.remove(second)
        await one.pass_time(20)
        await one.start(2)
        await one.workers[-1].come("x")
        await one.pass_time(4)
        one.workers.append(second)
        gone = len(second.gone)
        await one.pass_time(30)
        assert len(second.gone) - gone >= 10


@ensureDeferred
async def test_a_clock_that_is_put_back_stops_no_line(tmp_path):
    """The longest wait is the budget's own."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        await come([first, second], names(60))
        await one.pass_time(10)
        gone = len(one.order)
        one.clock.rightNow -= 86_400
        one.began -= 86_400
        await one.pass_time(40)
        assert len(one.order) - gone >= 17


class Full:
    """Budgets in a file on a disk that is full."""

    async def take_all(self, events, leaves=None):
        raise StateUnavailable("the disk is full")

    async def deal(self, asks):
        raise StateUnavailable("the disk is full")


@ensureDeferred
async def test_what_could_not_be_asked_is_asked_again(tmp_path):
    """A disk that is full for a while loses nobody's turn."""
    async with machine("1/2s", tmp_path, 2) as (one, first, second):
        await come([first, second], names(20))
        rates = first.budgets.rates
        first.budgets.rates = Full()
        await one.pass_time(3)
        first.budgets.rates = rates
        await one.pass_time(30)
        assert one.order == names(len(one.order))
        assert one.used() >= 0.9


def test_what_is_in_line_has_a_bound():
    """Beyond it messages are tried now and then; those that are gone are forgotten when they are looked at."""
    lines, rate = Lines(max_waiters=100), Throttle.parse("1/s")
    for number in range(500):
        lines.join("key", (float(number), bytes([number % 256, number // 256])), rate, 1000.0)
    assert len(lines) == 100
    lines.asks(1000.0, lambda _: False)
    assert len(lines) == 100, "they may be on their way"
    lines.unheard([], 1000.0)
    lines.join("key", (0.0, b"\x00\x00"), rate, 1000.0)
    asks = lines.asks(1011.0, lambda _: False)
    assert (len(lines), len(asks[0].left)) == (1, 99)
