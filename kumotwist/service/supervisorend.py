"""The supervisor's end of the socket pair with a worker.

It answers what the worker asks for (listening sockets, its share of machine-wide
limits, everybody's metrics and answers), and asks it in turn.

Public: `SupervisorEnd`, `Supervising`. A worker that is gone answers None.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.protocols import amp

from kumotwist.core.units import Throttle
from kumotwist.service import commands


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
            answer = await self.callRemote(commands.Snapshot)
        except (*commands.UNREACHABLE, commands.NoNumbers):
            return None
        snapshot: bytes = answer["snapshot"]
        return snapshot

    async def ask(self, topic: str, question: bytes) -> bytes | None:
        """The worker's answer; None when it is gone or cannot say."""
        try:
            answer = await self.callRemote(commands.Ask, topic=topic, question=question)
        except (*commands.UNREACHABLE, commands.NoAnswer):
            return None
        answered: bytes = answer["answer"]
        return answered

    def bump_epoch(self) -> None:
        """Have the worker read the policy anew."""
        self.callRemote(commands.BumpEpoch)

    @commands.Listen.responder
    def _listen(self, scheme: str, ordinal: int, address: str) -> dict[str, object]:
        return {"descriptor": self.supervisor.listening_descriptor(scheme, ordinal, address)}

    @commands.Ready.responder
    def _ready(self) -> dict[str, object]:
        self.supervisor.worker_ready(self.index)
        return {}

    @commands.CannotStart.responder
    def _cannot_start(self, why: bytes) -> dict[str, object]:
        self.supervisor.worker_cannot_start(why.decode(errors="replace"))
        return {}

    @commands.Take.responder
    def _take(self, key: str, spec: str, want: int) -> dict[str, object]:
        granted, wait = self.supervisor.take(key, Throttle.parse(spec), want)
        return {"granted": granted, "wait": wait}

    @commands.GiveBack.responder
    def _give_back(self, key: str, spec: str, count: int) -> dict[str, object]:
        self.supervisor.give_back(key, Throttle.parse(spec), count)
        return {}

    @commands.Acquire.responder
    def _acquire(self, key: str, limit: int, waits: bool) -> dict[str, object]:
        return {"granted": self.supervisor.acquire(self.index, key, limit, waits)}

    @commands.Release.responder
    def _release(self, key: str) -> dict[str, object]:
        self.supervisor.release(self.index, key)
        return {}

    @commands.Collect.responder
    def _collect(self) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._collected())

    async def _collected(self) -> dict[str, object]:
        return {"snapshots": msgspec.msgpack.encode(await self.supervisor.collect())}

    @commands.AskAll.responder
    def _ask_all(self, topic: str, question: bytes) -> Deferred[dict[str, object]]:
        return Deferred.fromCoroutine(self._asked(topic, question))

    async def _asked(self, topic: str, question: bytes) -> dict[str, object]:
        return {"answers": msgspec.msgpack.encode(await self.supervisor.ask(topic, question))}

    @commands.BumpEpoch.responder
    def _bump(self) -> dict[str, object]:
        self.supervisor.bump_epoch()
        return {}
