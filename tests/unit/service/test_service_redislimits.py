"""Limits that several machines share, on a real redis-server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from support.daemon import WAIT
from support.redisserver import RedisServer
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, eventAsText

from kumotwist.config.redis import RedisNode, RedisOptions
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.redis import Redis
from kumotwist.net.tasks import Tasks
from kumotwist.queue.throttle import LocalLimits
from kumotwist.service import redislimits
from kumotwist.service.redislimits import RedisDesk, SharedLimits

TEN_AN_HOUR = Throttle.parse("10/h")
SLOW = Throttle.parse("1/h")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server."""
    with RedisServer(tmp_path) as running:
        yield running


@asynccontextmanager
async def machine(node: str, **options: object) -> AsyncIterator[tuple[SharedLimits, RedisDesk, Redis]]:
    """One machine that shares its limits there."""
    tasks = Tasks()
    redis = Redis(RedisOptions(node=node, **options), reactor)
    house = LocalLimits(reactor)
    desk = RedisDesk(redis, house, tasks)
    limits = SharedLimits(house, reactor)
    limits.share(desk)
    try:
        yield limits, desk, redis
    finally:
        await until(lambda: not tasks)
        await tasks.close()
        await redis.close()


async def until(check: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = reactor.seconds() + WAIT
    while not check():
        assert reactor.seconds() < deadline, f"not within {WAIT} s"
        await deferLater(reactor, 0.01, lambda: None)


async def passing(limits: SharedLimits, key: str, rate: Throttle, tries: int) -> int:
    """How many of so many events may pass."""
    return [await limits.throttle(key, rate) for _ in range(tries)].count(0.0)


@ensureDeferred
async def test_a_rate_holds_for_all_machines_together(server: RedisServer) -> None:
    """Two machines get ten an hour between them; who is refused hears when it may try again."""
    async with machine(server.url) as (one, _, first), machine(server.url) as (two, _, second):
        assert await first.connected()
        assert await second.connected()
        assert await passing(one, "k", TEN_AN_HOUR, 4) == 4
        assert await passing(two, "k", TEN_AN_HOUR, 20) == 6
        assert await passing(one, "k", TEN_AN_HOUR, 20) == 0
        assert 300 <= await one.throttle("k", TEN_AN_HOUR) <= 360
        assert 3590 <= await two.until_full("k", TEN_AN_HOUR) <= 3600
        assert await one.until_full("unused", TEN_AN_HOUR) == 0
        # Another rate of that name has a count of its own, and a local one stays at home.
        assert await passing(two, "k", SLOW, 3) == 1
        local = Throttle.parse("local:1/h")
        assert [await passing(each, "here", local, 3) for each in (one, two)] == [1, 1]
        assert "here" not in server.command("KEYS", "*")


@ensureDeferred
async def test_fast_rates_are_drawn_in_slices(server: RedisServer) -> None:
    """Ten questions a second at the most for a rate, and what is not used goes back to the others."""
    rate = Throttle.parse("1000/s,max_burst=199")
    async with machine(server.url) as (one, desk, first), machine(server.url) as (two, _, second):
        assert await first.connected()
        assert await second.connected()
        asked = int(server.command("INFO", "commandstats").count("eval"))
        assert asked == 0
        assert await one.throttle("k", rate) == 0
        # 100 of 200 are in hand, one of them spent.
        key = "kumotwist:rate:k:1000:200:1"
        before = float(server.command("GET", key))
        desk.give_back("k", rate, 99)
        await until(lambda: float(server.command("GET", key) or before) == before - 99_000)
        assert await passing(two, "k", rate, 100) == 100


@ensureDeferred
async def test_slots_hold_for_all_machines_together(server: RedisServer) -> None:
    """A slot that one gives back is there for the other; a limit of nothing gives none."""
    async with machine(server.url) as (one, _, first), machine(server.url) as (two, _, second):
        assert await first.connected()
        assert await second.connected()
        held = [await one.acquire("site", Limit(3)) for _ in range(2)]
        other = await two.acquire("site", Limit(3), waits=True)
        assert other is not None
        assert await one.acquire("site", Limit(3)) is None
        assert await two.acquire("site", Limit(3)) is None
        assert await two.acquire("nothing", Limit(0)) is None
        assert await two.acquire("site", Limit(3, local=True)) is not None
        assert held[0] is not None
        held[0].release()
        held[0].release()
        await until(lambda: server.command("ZCARD", "kumotwist:slots:site") == "2")
        again = await two.acquire("site", Limit(3))
        assert again is not None
        assert held[1] is not None
        for lease in (held[1], other, again):
            lease.release()
        await until(lambda: server.command("ZCARD", "kumotwist:slots:site") == "0")


@ensureDeferred
async def test_slots_of_a_dead_machine_lapse(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody puts them off any more; those that are held are put off."""
    monkeypatch.setattr(redislimits, "SLOT_LIFE", 1)
    async with machine(server.url) as (one, desk, first), machine(server.url) as (two, _, second):
        assert await first.connected()
        assert await second.connected()
        lease = await one.acquire("site", Limit(1))
        assert lease is not None
        monkeypatch.setattr(redislimits, "SLOT_LIFE", 600)
        desk.renew()
        await until(lambda: int(server.command("TTL", "kumotwist:slots:site")) > 600)
        assert await two.acquire("site", Limit(1)) is None
        # As if its machine had been gone for long.
        member = server.command("ZRANGE", "kumotwist:slots:site", "0", "-1")
        server.command("ZADD", "kumotwist:slots:site", "1000", member)
        taken = await two.acquire("site", Limit(1))
        assert taken is not None
        taken.release()
        lease.release()


@ensureDeferred
async def test_without_redis_each_machine_is_by_itself(server: RedisServer, events: list[LogEvent]) -> None:
    """Mail goes on within the limits of the machine, told once; when Redis is back its slots are known there again."""
    async with machine(server.url) as (one, _, redis):
        assert await redis.connected()
        held = await one.acquire("site", Limit(2))
        assert held is not None
        assert await passing(one, "k", TEN_AN_HOUR, 20) == 10
        server.stop()
        await until(lambda: not redis.is_connected)
        assert await passing(one, "fresh", TEN_AN_HOUR, 20) == 10
        assert await one.until_full("other", TEN_AN_HOUR) == 0
        # What is held counts on, so the machine stays within its limit.
        more = await one.acquire("site", Limit(2))
        assert more is not None
        assert await one.acquire("site", Limit(2)) is None
        server.start()
        await until(lambda: redis.is_connected)
        assert await one.throttle("after", TEN_AN_HOUR) == 0
        await until(lambda: server.command("ZCARD", "kumotwist:slots:site") == "2")
        more.release()
        held.release()
    told = [text for text in map(eventAsText, events) if "limits hold for" in text]
    assert len(told) == 2
    assert f"no connection to Redis at 127.0.0.1:{server.port}; until it answers" in told[0]
    assert "limits hold for all machines together" in told[1]


@ensureDeferred
async def test_a_redis_that_hangs_is_left(server: RedisServer) -> None:
    """An answer that does not come in time is no answer, and the connection is made anew."""
    async with machine(server.url, response_timeout=0.3) as (one, _, redis):
        assert await redis.connected()
        server.freeze()
        assert await one.throttle("k", TEN_AN_HOUR) == 0
        await until(lambda: not redis.is_connected)
        assert await one.throttle("k", TEN_AN_HOUR) == 0
        server.thaw()
        await until(lambda: redis.is_connected)


@ensureDeferred
async def test_a_redis_that_cannot_write_is_done_without(server: RedisServer) -> None:
    """Full memory, or a replica: its errors are answers that say no more than silence."""
    async with machine(server.url) as (one, _, redis):
        assert await redis.connected()
        server.command("CONFIG", "SET", "maxmemory", "1")
        assert await passing(one, "k", TEN_AN_HOUR, 20) == 10
        server.command("CONFIG", "SET", "maxmemory", "0")


@ensureDeferred
async def test_who_has_no_right_is_told_at_the_start(tmp_path: Path, events: list[LogEvent]) -> None:
    """A wrong password ends the start with a sentence that does not hold it; the right one opens."""
    with RedisServer(tmp_path, ["--requirepass", "open sesame"]) as server:
        async with machine(f"redis://:wrong-word@127.0.0.1:{server.port}") as (_, _, redis):
            with pytest.raises(
                ConfigError, match=rf"kumo.configure_redis_throttles: 127\.0\.0\.1:{server.port}: .*auth"
            ):
                await redis.connected()
        async with machine(f"redis://:open%20sesame@127.0.0.1:{server.port}/3") as (one, _, redis):
            assert await redis.connected()
            assert await passing(one, "k", TEN_AN_HOUR, 20) == 10
    assert not [text for text in map(eventAsText, events) if "wrong-word" in text or "sesame" in text]


@ensureDeferred
async def test_a_server_that_is_not_ready_is_one_that_is_away(tmp_path: Path) -> None:
    """One that has no room, loads its data or hangs up has nothing against us: it is asked again until it is ready."""
    with (
        RedisServer(tmp_path, ["--maxclients", "1"]) as server,
        socket.create_connection(("127.0.0.1", server.port)) as other,
    ):
        other.sendall(b"PING\r\n")
        assert other.recv(100)
        async with machine(server.url) as (one, _, redis):
            assert not await redis.connected()
            assert await passing(one, "k", TEN_AN_HOUR, 20) == 10
            other.close()
            await until(lambda: redis.is_connected)


@ensureDeferred
async def test_a_server_that_is_away_does_not_stop_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for a little, then mail goes on without it."""
    monkeypatch.setattr("kumotwist.net.redis.START_PATIENCE", 0.1)
    async with machine(RedisServer(tmp_path).url) as (one, _, redis):
        assert not await redis.connected()
        assert await passing(one, "k", TEN_AN_HOUR, 20) == 10


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("redis://10.0.0.1/", RedisNode("10.0.0.1", 6379, None, False)),
        ("rediss://ann:p%40ss@cache.test:7000/2", RedisNode("cache.test", 7000, 2, True, "ann", "p@ss")),
        ("redis://:pw@[::1]", RedisNode("::1", 6379, None, False, None, "pw")),
    ],
)
def test_addresses(url: str, node: RedisNode) -> None:
    """KumoMTA's form of them; a list of one is one."""
    assert RedisNode.parse(url) == node
    assert structure(RedisOptions, {"node": [url]}, "x").server == node


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"node": "redis://:hush@h:x/"}, "'node' has a wrong port or database"),
        ({"node": "redis://:hush@h/first"}, "'node' has a wrong port or database"),
        ({"node": "http://:hush@h"}, "'node' must be like 'redis://"),
        ({"node": ["redis://a", "redis://:hush@b"]}, "Redis clusters are not supported"),
        ({"node": "redis://a", "cluster": True}, "Redis clusters are not supported"),
        ({"node": "redis://a", "response_timeout": "0s"}, "'response_timeout' must be longer than 0s"),
        ({}, "'node'"),
    ],
)
def test_wrong_options_are_told_without_secrets(given: dict[str, object], error: str) -> None:
    """The policy's author reads what is wrong, and a log nothing that is nobody's business."""
    with pytest.raises(ConfigError, match=error) as caught:
        structure(RedisOptions, given, "kumo.configure_redis_throttles")
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(RedisOptions(node="redis://:hush@h", password="hush"))
