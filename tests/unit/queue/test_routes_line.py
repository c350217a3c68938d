"""What budgets hold: whose turn it is, and that only as many wake as there are places."""

import heapq

import pytest

from kumotwist.core.interfaces import Event
from kumotwist.core.units import Throttle
from kumotwist.queue.routes.line import LOOK_EVERY, Lines
from kumotwist.queue.throttle import Cells

KEY = "route-budget"
T0 = 1_800_000_000.0


class Worker:
    """One worker's held messages: they wake when they are due, as on the wheel."""

    def __init__(self, cells, rate):
        self.cells, self.rate, self.lines = cells, Throttle.parse(rate), Lines()
        self.due, self.gone, self.wakes, self.told = [], [], 0, 0

    def come(self, name, now):
        behind = 0.0 if self.lines.is_due(name, now) else self.lines.behind(KEY, now)
        without = self.cells.take_all([Event(KEY, self.rate, behind)], now)
        if not without:
            self.lines.leave(name)
            self.gone.append(name)
            return
        turn = self.lines.turn(name, KEY, without[0].wait, now)
        self.lines.join(name, KEY, turn, self.rate.period / self.rate.limit, now)
        self.told += turn.is_new
        heapq.heappush(self.due, (now + min(turn.at - now, LOOK_EVERY), name))

    def pass_time(self, now):
        while self.due and self.due[0][0] <= now:
            self.wakes += 1
            self.come(heapq.heappop(self.due)[1], now)


def names(count, prefix="m"):
    return [f"{prefix}{number:05}".encode() for number in range(count)]


@pytest.mark.parametrize(("rate", "held", "seconds"), [("1/2s", 3000, 1200), ("60/h", 160, 6000), ("10/s", 3000, 60)])
def test_only_as_many_wake_as_there_are_places(rate, held, seconds):
    """Beside the look every ten minutes; all places are used, in order, and each message is told once."""
    one = Worker(Cells(), rate)
    waiting = names(held)
    for name in waiting:
        one.come(name, T0)
    for second in range(1, seconds + 1):
        one.pass_time(T0 + second)
    places = one.rate.burst + int(seconds * one.rate.limit / one.rate.period)
    assert places - 2 * max(one.rate.limit // one.rate.period, 1) <= len(one.gone) <= places
    assert one.gone == waiting[: len(one.gone)]
    assert one.told == held - one.rate.burst
    assert one.wakes <= len(one.gone) + held * (1 + seconds // LOOK_EVERY)
    if seconds < LOOK_EVERY:
        assert one.wakes == len(one.gone) - one.rate.burst


def test_who_comes_later_stays_behind():
    """A message that comes while others are held does not take the place that they wait for."""
    one = Worker(Cells(), "1/m")
    waiting = names(5)
    for name in waiting:
        one.come(name, T0)
    late = names(40, "x")
    for second in range(1, 400):
        if second % 10 == 0:
            one.come(late.pop(0), T0 + second - 0.5)
        one.pass_time(T0 + second)
    assert one.gone[:5] == waiting
    assert one.gone[5:] == sorted(one.gone[5:])


def test_workers_share_the_places_and_keep_their_order():
    """Each has its own line; a place that another took moves the whole line, and not one message to its end."""
    cells = Cells()
    workers = [Worker(cells, "60/h") for _ in range(3)]
    for name in names(120):
        for worker in workers:
            worker.come(name, T0)
    for second in range(1, 6 * 3600):
        for worker in workers:
            worker.pass_time(T0 + second)
    assert all(worker.gone == names(120) for worker in workers)
    assert sum(worker.wakes for worker in workers) < 120 * 3 * 6 * 6 + 120 * 3 * 40
    assert sum(worker.told for worker in workers) == 3 * 120 - 60


def test_places_of_those_that_have_gone_are_used():
    """Whoever was held and is bounced keeps nobody from his place."""
    one = Worker(Cells(), "60/h")
    for name in names(1000):
        one.come(name, T0)
    one.due = [entry for entry in one.due if entry[1] >= b"m00990"]
    heapq.heapify(one.due)
    one.come(b"new", T0 + 120)
    assert one.gone[-1] == b"new"
    for second in range(121, 1500):
        one.pass_time(T0 + second)
    assert len(one.gone) == 60 + 1 + 10


def test_one_that_comes_late_by_itself_delays_nobody():
    """As when its schedule kept it until the morning."""
    one = Worker(Cells(), "1/m")
    first, second, third = names(3)
    for name in (first, second, third):
        one.come(name, T0)
    turns = {name: at for at, name in one.due}
    one.due = [entry for entry in one.due if entry[1] == third]
    heapq.heapify(one.due)
    for passed in range(1, 200):
        one.pass_time(T0 + passed)
    assert one.gone == [first, third]
    late = T0 + 10_000
    one.come(b"other", late)
    one.come(second, late)
    assert turns[second] < late
    after = one.lines.turn(b"after", KEY, 60.0, late)
    assert after.at <= late + 121


def test_what_is_remembered_has_a_bound():
    """Beyond it messages are tried now and then; those that are gone are forgotten after a while."""
    lines = Lines(max_turns=100)
    for name in names(500):
        lines.join(name, KEY, lines.turn(name, KEY, 1.0, T0), 1.0, T0)
    assert len(lines) == 100
    later = T0 + 500 + 3 * LOOK_EVERY
    lines.join(b"new", "other", lines.turn(b"new", "other", 1.0, later), 1.0, later)
    assert len(lines) == 1
    assert lines.behind(KEY, later) == 0.0
