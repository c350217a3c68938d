"""A worker's end of the socket pair with the supervisor.

Both ends hold the pair from before the worker starts, so there is no name to
find and nobody else to let in; that the pair breaks means that the other
process has died.

Public: `WorkerEnd`, `Answer`. What can go wrong: a call that cannot be answered fails with `ConnectionLost` or
`ConnectionDone`.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from kumotwist.core.units import Throttle
from kumotwist.service import commands

log: Final = Logger()

#: Answers a question about a topic with octets that the asker understands.
Answer = Callable[[str, bytes], Awaitable[bytes]]


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
        answer = await self.callRemote(commands.Listen, scheme=scheme, ordinal=ordinal, address=address)
        return socket.socket(fileno=answer["descriptor"])

    async def ready(self) -> None:
        """Tell that we take messages."""
        await self.callRemote(commands.Ready)

    async def cannot_start(self, why: str) -> bool:
        """Have the supervisor say why; False when it cannot be reached."""
        try:
            await self.callRemote(commands.CannotStart, why=why.encode())
        except commands.UNREACHABLE:
            return False
        return True

    async def take(self, key: str, spec: Throttle, want: int) -> tuple[int, float]:
        """Draw events; see `limits.LimitsDesk`."""
        try:
            answer = await self.callRemote(commands.Take, key=key, spec=str(spec), want=want)
        except commands.UNREACHABLE:
            return 0, 1.0
        return answer["granted"], answer["wait"]

    def give_back(self, key: str, spec: Throttle, count: int) -> None:
        """Give unused events back."""
        self._tell(commands.GiveBack, key=key, spec=str(spec), count=count)

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

        self.callRemote(commands.Acquire, key=key, limit=limit, waits=waits).addBoth(answered)
        return await waiting

    def release(self, key: str) -> None:
        """Give one slot back."""
        self._tell(commands.Release, key=key)

    async def collect(self) -> list[bytes]:
        """Everybody's numbers, ours among them."""
        answer = await self.callRemote(commands.Collect)
        return msgspec.msgpack.decode(answer["snapshots"], type=list[bytes])

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """What all workers answer that can, ourselves among them."""
        answer = await self.callRemote(commands.AskAll, topic=topic, question=question)
        return msgspec.msgpack.decode(answer["answers"], type=list[bytes])

    def spread_epoch(self) -> None:
        """Have all workers read the policy anew."""
        self._tell(commands.BumpEpoch)

    @commands.Snapshot.responder
    def _snapshot(self) -> dict[str, object]:
        try:
            return {"snapshot": self._snapshot_now()}
        except Exception as error:
            # Undeclared, it would cost the connection, and that our life.
            log.failure("the numbers cannot be read")
            raise commands.NoNumbers(str(error)) from error

    @commands.Ask.responder
    def _ask(self, topic: str, question: bytes) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._answered(topic, question))

    async def _answered(self, topic: str, question: bytes) -> dict[str, object]:
        try:
            return {"answer": await self._answer_now(topic, question)}
        except CancelledError:
            raise
        except Exception as error:
            log.failure("a question about {topic} cannot be answered", topic=topic)
            raise commands.NoAnswer(str(error)) from error

    @commands.BumpEpoch.responder
    def _bump(self) -> dict[str, object]:
        self._bump_now()
        return {}

    def _tell(self, command: type[amp.Command], **arguments: object) -> None:
        if self.transport is not None and self.transport.connected:
            self.callRemote(command, **arguments)
