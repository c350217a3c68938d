"""What supervisor and workers say to each other: AMP over a socket pair.

The worker asks for listening sockets, for its share of machine-wide limits
and for everybody's metrics; it tells when it is ready. The supervisor asks
for metrics, passes questions on to everybody and so does control (a new policy epoch). Both ends hold the
pair from before the worker starts, so there is no name to find and nobody
else to let in; that the pair breaks means that the other process has died.

Public: `Answer`, `WorkerEnd`, `SupervisorEnd`, `Supervising` and the commands.
A call that cannot be answered fails with `ConnectionLost` or `ConnectionDone`.
"""

# mypy: disallow-untyped-calls=False
# ruff: noqa: N815 (AMP names its class variables in mixed case, and has no types)

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Throttle

log: Final = Logger()

#: Octets of one AMP value; the format's own limit is 65535.
_PIECE: Final = 60000
#: Answers a question about a topic with octets that the asker understands.
Answer = Callable[[str, bytes], Awaitable[bytes]]
_UNREACHABLE: Final = (ConnectionLost, ConnectionDone)


class LargeBytes(amp.Argument):
    """A byte string of any length, cut into pieces under names of their own."""

    def toBox(self, name: bytes, strings: Any, objects: Any, _: Any) -> None:
        """Put the pieces into the box."""
        value: bytes = objects.pop(name.decode())
        strings[name] = b"%d" % -(-len(value) // _PIECE)
        for start in range(0, len(value), _PIECE):
            strings[b"%s.%d" % (name, start // _PIECE)] = value[start : start + _PIECE]

    def fromBox(self, name: bytes, strings: Any, objects: Any, _: Any) -> None:
        """Take the pieces out of the box."""
        count = int(strings.pop(name))
        objects[name.decode()] = b"".join(strings.pop(b"%s.%d" % (name, index)) for index in range(count))


class NoNumbers(Exception):
    """A worker's metrics cannot be read: a defect of ours, told in its log. The others' are shown."""


class NoAnswer(Exception):
    """A worker cannot answer a question now; it has told why in its log."""


class Listen(amp.Command):
    """Worker: give me the listening socket of my listener `key`, wanted on `address`."""

    arguments = [(b"scheme", amp.Unicode()), (b"ordinal", amp.Integer()), (b"address", amp.Unicode())]
    response = [(b"descriptor", amp.Descriptor())]
    errors = {ConfigError: b"CONFIG"}


class Ready(amp.Command):
    """Worker: I take messages."""

    arguments: ClassVar[list[Any]] = []
    response: ClassVar[list[Any]] = []


class CannotStart(amp.Command):
    """Worker: I cannot start, and why."""

    arguments = [(b"why", LargeBytes())]
    response: ClassVar[list[Any]] = []


class Take(amp.Command):
    """Worker: give me up to `want` events of this rate."""

    arguments = [(b"key", amp.Unicode()), (b"spec", amp.Unicode()), (b"want", amp.Integer())]
    response = [(b"granted", amp.Integer()), (b"wait", amp.Float())]


class GiveBack(amp.Command):
    """Worker: I did not use `count` events."""

    arguments = [(b"key", amp.Unicode()), (b"spec", amp.Unicode()), (b"count", amp.Integer())]
    requiresAnswer = False


class Acquire(amp.Command):
    """Worker: give me one of `limit` slots."""

    arguments = [(b"key", amp.Unicode()), (b"limit", amp.Integer()), (b"waits", amp.Boolean())]
    response = [(b"granted", amp.Boolean())]


class Release(amp.Command):
    """Worker: here is a slot back."""

    arguments = [(b"key", amp.Unicode())]
    requiresAnswer = False


class Collect(amp.Command):
    """Worker: give me the numbers of all workers, a JSON list of strings."""

    arguments: ClassVar[list[Any]] = []
    response = [(b"snapshots", LargeBytes())]


class Snapshot(amp.Command):
    """Supervisor: give me your numbers."""

    arguments: ClassVar[list[Any]] = []
    response = [(b"snapshot", LargeBytes())]
    errors = {NoNumbers: b"NUMBERS"}


class AskAll(amp.Command):
    """Worker: put a question to every worker; the answers, as a msgpack list of byte strings."""

    arguments = [(b"topic", amp.Unicode()), (b"question", LargeBytes())]
    response = [(b"answers", LargeBytes())]


class Ask(amp.Command):
    """Supervisor: here is a question."""

    arguments = [(b"topic", amp.Unicode()), (b"question", LargeBytes())]
    response = [(b"answer", LargeBytes())]
    errors = {NoAnswer: b"ANSWER"}


class BumpEpoch(amp.Command):
    """Either way: the policy is to be read anew."""

    arguments: ClassVar[list[Any]] = []
    requiresAnswer = False


class Supervising(Protocol):
    """What a worker may ask; implemented by the supervisor."""

    def listening_descriptor(self, scheme: str, ordinal: int, address: str) -> int: ...

    def worker_ready(self, index: int) -> None: ...

    def worker_cannot_start(self, why: str) -> None: ...

    def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]: ...

    def give_back(self, key: str, spec: Throttle, count: int) -> None: ...

    def acquire(self, index: int, key: str, limit: int, waits: bool) -> bool: ...

    def release(self, index: int, key: str) -> None: ...

    async def collect(self) -> list[bytes]: ...

    async def ask(self, topic: str, question: bytes) -> list[bytes]: ...

    def bump_epoch(self) -> None: ...


class SupervisorEnd(amp.AMP):
    """The supervisor's end of the pair with worker `index`."""

    def __init__(self, supervisor: Supervising, index: int) -> None:
        super().__init__()
        self.supervisor = supervisor
        self.index = index

    async def snapshot(self) -> bytes | None:
        """The worker's numbers; None when it is gone."""
        try:
            answer = await self.callRemote(Snapshot)
        except (*_UNREACHABLE, NoNumbers):
            return None
        snapshot: bytes = answer["snapshot"]
        return snapshot

    async def ask(self, topic: str, question: bytes) -> bytes | None:
        """The worker's answer; None when it is gone or cannot say."""
        try:
            answer = await self.callRemote(Ask, topic=topic, question=question)
        except (*_UNREACHABLE, NoAnswer):
            return None
        answered: bytes = answer["answer"]
        return answered

    def bump_epoch(self) -> None:
        """Have the worker read the policy anew."""
        self.callRemote(BumpEpoch)

    @Listen.responder
    def _listen(self, scheme: str, ordinal: int, address: str) -> dict[str, object]:
        return {"descriptor": self.supervisor.listening_descriptor(scheme, ordinal, address)}

    @Ready.responder
    def _ready(self) -> dict[str, object]:
        self.supervisor.worker_ready(self.index)
        return {}

    @CannotStart.responder
    def _cannot_start(self, why: bytes) -> dict[str, object]:
        self.supervisor.worker_cannot_start(why.decode(errors="replace"))
        return {}

    @Take.responder
    def _take(self, key: str, spec: str, want: int) -> dict[str, object]:
        granted, wait = self.supervisor.take(key, _read_throttle(spec), want)
        return {"granted": granted, "wait": wait}

    @GiveBack.responder
    def _give_back(self, key: str, spec: str, count: int) -> dict[str, object]:
        self.supervisor.give_back(key, _read_throttle(spec), count)
        return {}

    @Acquire.responder
    def _acquire(self, key: str, limit: int, waits: bool) -> dict[str, object]:
        return {"granted": self.supervisor.acquire(self.index, key, limit, waits)}

    @Release.responder
    def _release(self, key: str) -> dict[str, object]:
        self.supervisor.release(self.index, key)
        return {}

    @Collect.responder
    def _collect(self) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._collected())

    async def _collected(self) -> dict[str, object]:
        return {"snapshots": msgspec.msgpack.encode(await self.supervisor.collect())}

    @AskAll.responder
    def _ask_all(self, topic: str, question: bytes) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._asked(topic, question))

    async def _asked(self, topic: str, question: bytes) -> dict[str, object]:
        return {"answers": msgspec.msgpack.encode(await self.supervisor.ask(topic, question))}

    @BumpEpoch.responder
    def _bump(self) -> dict[str, object]:
        self.supervisor.bump_epoch()
        return {}


class WorkerEnd(amp.AMP):
    """A worker's end of the pair: a `LimitsDesk` and the rest that it may ask."""

    def __init__(
        self,
        snapshot: Callable[[], bytes],
        bump_epoch: Callable[[], object],
        orphaned: Callable[[], object],
        answer: Answer,
    ) -> None:
        """`orphaned` is called when the supervisor is gone."""
        super().__init__()
        self._answer_now = answer
        self._snapshot_now = snapshot
        self._bump_now = bump_epoch
        self._orphaned = orphaned

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The supervisor has died, or we are stopping."""
        super().connectionLost(reason)
        self._orphaned()

    async def listening_socket(self, scheme: str, ordinal: int, address: str) -> socket.socket:
        """The socket of our `ordinal`th listener. Raises ConfigError."""
        answer = await self.callRemote(Listen, scheme=scheme, ordinal=ordinal, address=address)
        return socket.socket(fileno=answer["descriptor"])

    async def ready(self) -> None:
        """Tell that we take messages."""
        await self.callRemote(Ready)

    async def cannot_start(self, why: str) -> bool:
        """Have the supervisor say why; False when it cannot be reached."""
        try:
            await self.callRemote(CannotStart, why=why.encode())
        except _UNREACHABLE:
            return False
        return True

    async def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        """Draw events; see `limits.LimitsDesk`."""
        try:
            answer = await self.callRemote(Take, key=key, spec=_write_throttle(spec), want=want)
        except _UNREACHABLE:
            return 0, 1.0
        return answer["granted"], answer["wait"]

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        """Give unused events back."""
        self._tell(GiveBack, key=key, spec=_write_throttle(spec), count=count)

    async def acquire(self, key: str, limit: int, waits: bool) -> bool:
        """Take one slot."""
        waiting: Deferred[bool] = Deferred()

        def answered(answer: dict[str, bool] | Failure) -> None:
            granted = not isinstance(answer, Failure) and answer["granted"]
            if not waiting.called:
                waiting.callback(granted)
            elif granted:
                # Whoever asked was cancelled meanwhile; the slot would be nobody's for ever.
                self.release(key)

        self.callRemote(Acquire, key=key, limit=limit, waits=waits).addBoth(answered)
        return await waiting

    def release(self, key: str) -> None:
        """Give one slot back."""
        self._tell(Release, key=key)

    async def collect(self) -> list[bytes]:
        """Everybody's numbers, ours among them."""
        answer = await self.callRemote(Collect)
        return msgspec.msgpack.decode(answer["snapshots"], type=list[bytes])

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """What all workers answer that can, ourselves among them."""
        answer = await self.callRemote(AskAll, topic=topic, question=question)
        return msgspec.msgpack.decode(answer["answers"], type=list[bytes])

    def spread_epoch(self) -> None:
        """Have all workers read the policy anew."""
        self._tell(BumpEpoch)

    @Snapshot.responder
    def _snapshot(self) -> dict[str, object]:
        try:
            return {"snapshot": self._snapshot_now()}
        except Exception as error:
            # Undeclared, it would cost the connection, and that our life.
            log.failure("the numbers cannot be read")
            raise NoNumbers(str(error)) from error

    @Ask.responder
    def _ask(self, topic: str, question: bytes) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._answered(topic, question))

    async def _answered(self, topic: str, question: bytes) -> dict[str, object]:
        try:
            return {"answer": await self._answer_now(topic, question)}
        except CancelledError:
            raise
        except Exception as error:
            log.failure("a question about {topic} cannot be answered", topic=topic)
            raise NoAnswer(str(error)) from error

    @BumpEpoch.responder
    def _bump(self) -> dict[str, object]:
        self._bump_now()
        return {}

    def _tell(self, command: type[amp.Command], **arguments: object) -> None:
        if self.transport is not None and self.transport.connected:
            self.callRemote(command, **arguments)


def _write_throttle(spec: Throttle) -> str:
    return str(spec)


def _read_throttle(text: str) -> Throttle:
    return Throttle.parse(text)
