"""What supervisor and workers say to each other, over a real socket pair."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory

from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Throttle
from kumotwist.service import listeners
from kumotwist.service.limits import Ledger
from kumotwist.service.supervisorend import SupervisorEnd
from kumotwist.service.workerend import WorkerEnd


class House:
    """A supervisor without processes."""

    def __init__(self) -> None:
        self.ledger = Ledger(reactor)
        self.sock = listeners.bind("127.0.0.1:0")
        self.end: SupervisorEnd | None = None
        self.ready: list[int] = []
        self.bumps = 0

    def listening_descriptor(self, scheme: str, ordinal: int, address: str) -> int:
        if ordinal:
            raise ConfigError(f"cannot listen on {address}")
        return self.sock.fileno()

    def worker_ready(self, index: int) -> None:
        self.ready.append(index)

    def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        return self.ledger.take(key, spec, want)

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        self.ledger.give_back(key, spec, count)

    def acquire(self, index: int, key: str, limit: int, waits: bool) -> bool:
        return self.ledger.acquire(index, key, limit, waits)

    def release(self, index: int, key: str) -> None:
        self.ledger.release(index, key)

    async def collect(self) -> list[bytes]:
        snapshot = await self.end.snapshot()
        return [snapshot, b"other"]

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        answer = await self.end.ask(topic, question)
        return [] if answer is None else [answer, b"other"]

    def bump_epoch(self) -> None:
        self.bumps += 1
        self.end.bump_epoch()


@pytest.fixture
def pair():
    """A supervisor, the worker's end, and what the worker was told."""
    told, gone = [], Deferred()
    house = House()
    ends = socket.socketpair(socket.AF_UNIX)

    async def answer(topic: str, question: bytes) -> bytes:
        if topic != "length":
            raise KeyError(topic)
        return b"%d" % len(question)

    worker = WorkerEnd(lambda: b"\x00snap" * 50000, lambda: told.append("epoch"), lambda: gone.callback(None), answer)
    house.end = SupervisorEnd(house, 7)
    for sock, end in zip(ends, (house.end, worker), strict=True):
        sock.setblocking(False)
        reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda end=end: end))
        sock.close()
    yield house, worker, told
    house.end.transport.loseConnection()
    pytest_twisted.blockon(gone)
    house.sock.close()


@pytest_twisted.ensureDeferred
async def test_a_worker_gets_the_listening_socket(pair) -> None:
    """The supervisor binds, the worker accepts on the same socket; what cannot be bound is an error there."""
    house, worker, _ = pair
    with await worker.listening_socket("smtp", 0, "127.0.0.1:0") as sock:
        assert sock.getsockname() == house.sock.getsockname()
        assert sock.fileno() != house.sock.fileno()
    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:1"):
        await worker.listening_socket("smtp", 1, "127.0.0.1:1")


@pytest_twisted.ensureDeferred
async def test_limits_and_readiness(pair) -> None:
    """Rates, slots and readiness reach the supervisor under the worker's number."""
    house, worker, _ = pair
    await worker.ready()
    assert house.ready == [7]
    spec = Throttle.parse("10/h,max_burst=4")
    assert await worker.take("k", spec, 3) == (3, 0.0)
    worker.give_back("k", spec, 2)
    assert await worker.take("k", spec, 9) == (4, 0.0)
    granted, wait = await worker.take("k", spec, 1)
    assert granted == 0
    assert 300 < wait <= 360
    assert await worker.acquire("site", 1, waits=False)
    assert not await worker.acquire("site", 1, waits=False)
    worker.release("site")
    assert await worker.acquire("site", 1, waits=False)


@pytest_twisted.ensureDeferred
async def test_a_slot_that_nobody_waits_for_any_more_goes_back(pair) -> None:
    """A client that hangs up while its slot is asked for does not use it up."""
    _, worker, _ = pair
    asked = Deferred.fromCoroutine(worker.acquire("site", 1, waits=False))
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    await asked
    await worker.ready()
    assert await worker.acquire("site", 1, waits=False)


@pytest_twisted.ensureDeferred
async def test_a_question_to_everybody(pair, failures) -> None:
    """Each worker answers, questions of any length; one that cannot is left out and says so in its log."""
    _, worker, _ = pair
    assert await worker.ask("length", b"x" * 200_000) == [b"200000", b"other"]
    assert await worker.ask("unknown", b"") == []
    failures.expect("a question about unknown")


@pytest_twisted.ensureDeferred
async def test_everybodys_numbers_however_many(pair) -> None:
    """Snapshots larger than one AMP value (64 KiB) arrive whole."""
    _, worker, _ = pair
    assert await worker.collect() == [b"\x00snap" * 50000, b"other"]


@pytest_twisted.ensureDeferred
async def test_a_new_epoch_reaches_everybody(pair) -> None:
    """A worker's bump goes round by way of the supervisor."""
    house, worker, told = pair
    worker.spread_epoch()
    await worker.ready()
    await house.end.snapshot()
    assert house.bumps == 1
    assert told == ["epoch"]
