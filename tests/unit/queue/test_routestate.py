"""What route tables learn, over workers and restarts, in a real state file."""

from contextlib import asynccontextmanager

from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue import routestate
from kumotwist.queue.rest import Rest
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.signals import Signal
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routestate import SCHEMA, RouteState


class Now:
    """A clock that stands where it is put."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def seconds(self):
        return self.now

    def callLater(self, delay, call, *arguments):
        return reactor.callLater(delay, call, *arguments)


@asynccontextmanager
async def state_of(path, worker, clock):
    file = await SqliteFile.open(path / "state.sqlite", reactor, SCHEMA)
    try:
        yield RouteState(file, worker, clock)
    finally:
        await file.close()


def table(*names):
    routes = tuple(RouteEntry(name=name, weight=50.0) for name in names or ("a", "b"))
    return RouteTable(RouteTableConfig(name="t", routes=routes, learn=LearnConfig()))


def feed(one, clock, bad=0.4, count=100):
    for number in range(count):
        one.report("gmail.com", 0, Signal.HANDED_OVER, clock.now)
        one.report("gmail.com", 1, Signal.HANDED_OVER if number / count >= bad else Signal.FAILED, clock.now)


@ensureDeferred
async def test_what_one_worker_learns_the_others_know(tmp_path):
    """Shares move in a worker that has not sent a message by that route itself; together they are judged once."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        feed(mine, clock)
        await first.exchange([mine])
        await second.exchange([theirs])
        clock.now += 2
        assert theirs.shares("gmail.com", clock.now)[1] < 0.05
        assert mine.shown("", 1, clock.now).samples == theirs.shown("", 1, clock.now).samples
        await second.exchange([theirs])
        await first.exchange([mine])
        clock.now += 2
        assert round(mine.shown("", 1, clock.now).samples) == 100, "heard back, it is not counted twice"


@ensureDeferred
async def test_an_open_breaker_is_open_everywhere(tmp_path):
    """A route that died is left by every worker within a second or so."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        feed(mine, clock, bad=0.0, count=1)
        for _ in range(4):
            mine.report("gmail.com", 1, Signal.FAILED, clock.now)
        await first.exchange([mine])
        await second.exchange([theirs])
        assert theirs.breaker("gmail.com", 1).state is State.OPEN
        assert {theirs.choose("gmail.com", clock.now).position for _ in range(10)} == {0}


@ensureDeferred
async def test_a_clock_that_is_put_back_parts_no_workers(tmp_path):
    """They go on hearing of each other at once, not when the hour has come round again."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        feed(mine, clock, bad=0.0, count=1)
        await first.exchange([mine])
        await second.exchange([theirs])
        clock.now -= 3600
        feed(mine, clock)
        await first.exchange([mine])
        await second.exchange([theirs])
        clock.now += 2
        assert theirs.shares("gmail.com", clock.now)[1] < 0.05


@ensureDeferred
async def test_a_route_that_recovered_is_found_again_by_all_and_stays_found(tmp_path):
    """A worker whose trials went well tells the others, and one more trial that fails elsewhere changes nothing."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        states, tables = (first, second), (mine, theirs)
        feed(mine, clock, bad=0.0, count=1)
        for _ in range(4):
            mine.report("gmail.com", 1, Signal.FAILED, clock.now)
        for _ in range(2):
            for state, one in zip(states, tables, strict=True):
                await state.exchange([one])
        clock.now += 3
        for _ in range(3):
            mine.choose("gmail.com", clock.now, tried=["a"])
            mine.report("gmail.com", 1, Signal.HANDED_OVER, clock.now)
        theirs.choose("gmail.com", clock.now, tried=["a"])
        theirs.report("gmail.com", 1, Signal.FAILED, clock.now + 0.5)
        breakers = [one.breaker("gmail.com", 1) for one in tables]
        assert [one.state for one in breakers] == [State.CLOSED, State.OPEN]
        assert not breakers[1].allows(clock.now)
        clock.now += 1
        for _ in range(2):
            for state, one in zip(states, tables, strict=True):
                one.report("gmail.com", 0, Signal.HANDED_OVER, clock.now)
                await state.exchange([one])
        assert [one.state for one in breakers] == [State.CLOSED, State.CLOSED]
        clock.now += 1
        for _ in range(4):
            theirs.report("gmail.com", 1, Signal.FAILED, clock.now)
        for _ in range(2):
            for state, one in zip(states, tables, strict=True):
                await state.exchange([one])
        assert [one.state for one in breakers] == [State.OPEN, State.OPEN]


@ensureDeferred
async def test_workers_together_do_not_shut_the_last_way(tmp_path):
    """Each spares another route when all fail; what one has shut is not shut here where it is the only one left."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        for one, position in ((mine, 0), (theirs, 1)):
            for _ in range(4):
                one.report("gmail.com", position, Signal.FAILED, clock.now)
        for _ in range(2):
            clock.now += 1
            for state, one in ((first, mine), (second, theirs)):
                one.report("gmail.com", 0, Signal.ARRIVED, clock.now)
                await state.exchange([one])
        for one in (mine, theirs):
            assert State.CLOSED in [one.breaker("gmail.com", position).state for position in (0, 1)]


@ensureDeferred
async def test_a_trial_elsewhere_is_not_waited_for(tmp_path):
    """A worker that starts while another one tries a route makes its own trial, as soon as it has a message."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, new = table(), table()
        feed(mine, clock, bad=0.0, count=1)
        for _ in range(4):
            mine.report("gmail.com", 1, Signal.FAILED, clock.now)
        clock.now += 3
        mine.choose("gmail.com", clock.now, tried=["a"])
        assert mine.breaker("gmail.com", 1).state is State.TRIAL
        await first.exchange([mine])
        await second.recall(new)
        assert new.breaker("gmail.com", 1).state is State.OPEN
        assert new.breaker("gmail.com", 1).allows(clock.now)


@ensureDeferred
async def test_a_restart_forgets_nothing(tmp_path):
    """A worker finds its own rows, as old as they are by then; a route that was renamed begins anew."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as state:
        before = table()
        feed(before, clock)
        await state.exchange([before])
    clock.now += 60
    async with state_of(tmp_path, 0, clock) as state:
        after, renamed = table(), table("a", "new")
        await state.recall(after)
        await state.recall(renamed)
        assert after.shares("gmail.com", clock.now)[1] < 0.05
        assert 90 < after.shown("", 1, clock.now).samples < 100
        assert renamed.shown("", 1, clock.now).samples == 0


def note_many(one, clock, count, start=0):
    for number in range(start, start + count):
        one.report(f"d{number}.example", 0, Signal.HANDED_OVER, clock.now)


@ensureDeferred
async def test_many_classes_at_once_make_nobody_deaf(tmp_path):
    """However many rows come at once, all are read in the end, and what concerns whole routes at once."""
    clock, count = Now(), 5_000
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        await second.exchange([theirs])
        note_many(mine, clock, count)
        for _ in range(4):
            mine.report("d0.example", 1, Signal.FAILED, clock.now)
        await first.exchange([mine])
        await second.exchange([theirs])
        assert theirs.breaker("", 1).state is State.OPEN
        for _ in range(3):
            clock.now += 1
            await second.exchange([theirs])
        assert sum(bool(theirs._standings.of(f"d{number}.example").others) for number in range(count)) == count
        clock.now += 1
        feed(mine, clock)
        await first.exchange([mine])
        await second.exchange([theirs])
        assert theirs._standings.of("gmail.com").others[0].handed[0].slow.total > 90


@ensureDeferred
async def test_another_worker_s_many_rows_do_not_hide_ours(tmp_path):
    """A worker that is started anew has all that it knew, and of the others at least what they know of the routes."""
    clock, count = Now(), 3_000
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        note_many(theirs, clock, count, start=count)
        await second.exchange([theirs])
        note_many(mine, clock, count)
        await first.exchange([mine])
        again = table()
        await second.recall(again)
        own = [again._standings.of(f"d{number}.example").handed[0].slow.total for number in range(count, 2 * count)]
        assert own == [1.0] * count
        assert again._standings.of("").others[0].handed[0].slow.total == count


@ensureDeferred
async def test_rows_have_a_most_and_an_age(tmp_path, monkeypatch):
    """Classes may be made up by clients; those used last stay."""
    clock = Now()
    monkeypatch.setattr(routestate, "_MOST", 100)
    async with state_of(tmp_path, 0, clock) as state:
        one = table()

        async def rows():
            query = "SELECT class FROM route_standing ORDER BY number"
            return [class_ for (class_,) in await state.file.read(lambda c: c.execute(query).fetchall())]

        for start in range(0, 500, 100):
            note_many(one, clock, 100, start)
            await state.exchange([one])
            clock.now += 20
        left = await rows()
        assert len(left) <= 201
        assert {"", "d499.example"} <= set(left)
        clock.now += routestate.KEPT
        await state.exchange([one])
        assert await rows() == []


@ensureDeferred
async def test_rows_that_cannot_be_read_are_passed_over(tmp_path):
    """Somebody else's or a later version's rows harm nothing."""
    clock = Now()
    async with state_of(tmp_path, 0, clock) as state:
        await state.file.write(
            lambda connection: connection.execute(
                "INSERT INTO route_standing VALUES (1, 7, 't', 'x', ?, ?)", (clock.now, b"\xc1 junk")
            )
        )
        one = table()
        await state.recall(one)
        await state.exchange([one])
        assert tuple(one.shares("x", clock.now)) == (0.5, 0.5)


@ensureDeferred
async def test_a_rest_is_known_to_all_workers_and_after_a_restart(tmp_path):
    """An account without money is left by every worker within a second, each knows until when and why."""
    clock = Now()
    rest = Rest(clock.now, clock.now + 3600.0, "421 402 Payment Required")
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs, again = table(), table(), table()
        mine.begin_rest(1, rest, clock.now)
        await first.exchange([mine])
        await second.exchange([theirs])
        await first.recall(again)
        for one in (mine, theirs, again):
            assert {one.choose("gmail.com", clock.now).position for _ in range(10)} == {0}
            assert one.breaker("", 1).rest == rest
        clock.now += 3599
        for one in (theirs, again):
            assert {one.choose("gmail.com", clock.now).position for _ in range(10)} == {0}
        clock.now += 2
        for _ in range(3):
            assert theirs.choose("gmail.com", clock.now, tried=["a"]).is_trial
            theirs.report("gmail.com", 1, Signal.HANDED_OVER, clock.now)
        await second.exchange([theirs])
        await first.exchange([mine])
        assert [one.breaker("", 1).state for one in (theirs, mine)] == [State.CLOSED] * 2


@ensureDeferred
async def test_a_worker_that_rests_longer_does_not_shut_the_others(tmp_path):
    """Where the account was asked a little later, its rest ends later; that others were well since is known there."""
    clock = Now()
    late = Rest(clock.now + 5.0, clock.now + 305.0, "421 429 Too Many Requests")
    async with state_of(tmp_path, 0, clock) as first, state_of(tmp_path, 1, clock) as second:
        mine, theirs = table(), table()
        mine.begin_rest(1, Rest(clock.now, clock.now + 300.0, late.said), clock.now)
        await first.exchange([mine])
        await second.exchange([theirs])
        clock.now += 301
        for _ in range(3):
            mine.choose("gmail.com", clock.now, tried=["a"])
            mine.report("gmail.com", 1, Signal.HANDED_OVER, clock.now)
        await first.exchange([mine])
        await second.exchange([theirs])
        theirs.begin_rest(1, late, clock.now)
        assert theirs.breaker("", 1).state is State.CLOSED
