"""Moves of shares and breakers over several workers: each is told once, and none is lost with a worker."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.announcer import SCHEMA, Announcer, Move
from kumotwist.queue.routes.told import Change


class Now:
    """A clock that stands where it is put."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def seconds(self):
        return self.now


@asynccontextmanager
async def workers(path, clock, count=2):
    async with AsyncExitStack() as stack:
        made = []
        for worker in range(count):
            file = await SqliteFile.open(path / "state.sqlite", reactor, SCHEMA)
            stack.push_async_callback(file.close)
            made.append(Announcer(file, worker, clock))
        yield made


def share(before, after, route="a", name=""):
    return Change(route, name, "share", f"{before:.3f}", f"{after:.3f}", "evidence")


def breaker(before, after, **what):
    return Change("a", "", "breaker", before, after, "4 of 4 failed", **what)


async def told(one, *changes):
    """What a worker that sees `changes` tells."""
    for change in changes:
        one.note(Move("bulk", change, one.clock.seconds()))
    found = []

    async def record(move):
        found.append(move.change)

    await one.tell(record)
    return found


def ways(changes):
    return [(change.before, change.after) for change in changes]


@ensureDeferred
async def test_a_share_that_all_workers_see_move_is_told_once(tmp_path):
    """Also when they see it at slightly different moments, and for as long as it goes on."""
    clock = Now()
    async with workers(tmp_path, clock, 3) as (first, second, third):
        assert ways(await told(first, share(0.7, 0.5))) == [("0.700", "0.500")]
        assert await told(second, share(0.7, 0.5)) == []
        assert await told(third, share(0.7, 0.496)) == []
        clock.now += 1
        assert await told(second, share(0.5, 0.3)) == [], "it is the first one's turn"
        assert ways(await told(first, share(0.5, 0.3))) == [("0.500", "0.300")]
        for _ in range(20):
            clock.now += 1
            assert [await told(one) for one in (second, third)] == [[], []], "and nothing is left to tell"


@ensureDeferred
async def test_who_falls_silent_is_followed(tmp_path):
    """A worker that dies, or has nothing to send, takes no move with it: another one goes on where it ended."""
    clock = Now()
    async with workers(tmp_path, clock) as (first, second):
        await told(first, share(0.7, 0.5))
        clock.now += 2
        assert await told(second, share(0.7, 0.4)) == []
        clock.now += 2
        assert await told(second, share(0.4, 0.1)) == []
        clock.now += 10
        assert ways(await told(second)) == [("0.500", "0.100")]
        assert await told(first, share(0.5, 0.104)) == [], "it is back, and late"
        assert ways(await told(second, share(0.1, 0.2))) == [("0.100", "0.200")]


@ensureDeferred
async def test_routes_and_classes_are_told_of_apart(tmp_path):
    """What one worker tells of one class keeps nobody from another one."""
    clock = Now()
    async with workers(tmp_path, clock) as (first, second):
        assert len(await told(first, share(0.7, 0.5), share(0.3, 0.5, "b"))) == 2
        assert len(await told(second, share(0.7, 0.5, name="gmail.com"), share(0.3, 0.5, "b"))) == 1


@ensureDeferred
async def test_a_breaker_is_told_by_who_moved_it(tmp_path):
    """With its own evidence; who follows is silent, and who did the same in the same seconds as well."""
    clock = Now()
    async with workers(tmp_path, clock) as (first, second):
        assert len(await told(first, breaker("closed", "open"))) == 1
        clock.now += 1
        followed = evolve(breaker("closed", "open"), is_heard=True)
        assert await told(second, followed) == []
        assert await told(second, breaker("closed", "open")) == []
        clock.now += 1
        assert ways(await told(second, breaker("trial", "closed"))) == [("trial", "closed")], "whoever it is"
        clock.now += 1
        assert len(await told(first, breaker("closed", "open"))) == 1
        clock.now += 60
        assert len(await told(second, breaker("closed", "open"))) == 1, "this is another one"


@ensureDeferred
async def test_an_outage_of_all_routes_is_told_once(tmp_path):
    """It is one outage, though each worker lost another route last; it ends once, and the next one is told again."""
    clock = Now()

    def outage(before, after, route, name=""):
        return Change(route, name, "outage", before, after, "all routes fail")

    async with workers(tmp_path, clock, 3) as (first, second, third):
        assert ways(await told(first, outage("no", "yes", "a"))) == [("no", "yes")]
        assert await told(second, outage("no", "yes", "b")) == []
        assert await told(third, outage("no", "yes", "a")) == []
        assert len(await told(second, outage("no", "yes", "b", "gmail.com"))) == 1, "that is another class"
        clock.now += 3
        assert ways(await told(second, outage("yes", "no", "b"))) == [("yes", "no")], "whoever sees it first"
        assert await told(first, outage("yes", "no", "a")) == []
        clock.now += 3
        assert ways(await told(first, outage("no", "yes", "b"))) == [("no", "yes")]
        assert await told(third, outage("no", "yes", "c")) == []


@ensureDeferred
async def test_without_the_state_file_each_worker_tells_for_itself(tmp_path):
    """Twice is better than never."""
    clock = Now()
    async with workers(tmp_path, clock) as (first, second):
        await told(first, share(0.7, 0.5))
        await second.file.close()
        assert ways(await told(second, share(0.7, 0.5), breaker("closed", "open"))) == [
            ("0.700", "0.500"),
            ("closed", "open"),
        ]


@ensureDeferred
async def test_what_was_told_long_ago_is_no_beginning(tmp_path):
    """An hour later a move is told as this worker has seen it."""
    clock = Now()
    async with workers(tmp_path, clock) as (first, second):
        await told(first, share(0.7, 0.1))
        clock.now += 3700
        assert ways(await told(second, share(0.7, 0.5))) == [("0.700", "0.500")]


@ensureDeferred
async def test_a_record_that_fails_takes_no_other_with_it(tmp_path):
    """What was claimed with it is told the next time; nobody else would tell it."""
    clock, told_of = Now(), []

    async def record(move):
        told_of.append(move.change.route)
        if move.change.route == "a":
            raise RuntimeError("no room")

    async with workers(tmp_path, clock, 1) as (one,):
        for route in ("a", "b", "c"):
            one.note(Move("bulk", share(0.7, 0.5, route), clock.seconds()))
        with pytest.raises(RuntimeError):
            await one.tell(record)
        await one.tell(record)
        await one.tell(record)
    assert told_of == ["a", "b", "c"]
