"""The whole machine as one worker sees it: who binds ports, shares limits, adds up.

Two houses: `Alone`, where this process is all there is, and `Supervised`,
where the supervisor answers over the control pair. The worker does not know
which of them it is in.

Public: `House`, `Alone`, `Supervised`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from kumotwist.core.interfaces import Limits
from kumotwist.net.clock import Clock
from kumotwist.queue.throttle import LocalLimits
from kumotwist.service import lifecycle, listeners
from kumotwist.service.balance import Board, Seat
from kumotwist.service.limits import LeasedLimits
from kumotwist.service.workerend import Answer, WorkerEnd


class House(Protocol):
    """What a worker asks of whoever sees the whole machine."""

    @property
    def index(self) -> int:
        """Our number among the workers, from 0."""
        ...

    @property
    def count(self) -> int:
        """How many workers there are."""
        ...

    @property
    def limits(self) -> Limits:
        """Rates and counts over all workers."""
        ...

    @property
    def seat(self) -> Seat:
        """Our place among the workers that share the listening sockets."""
        ...

    async def listening_socket(self, scheme: str, ordinal: int, address: str) -> socket.socket:
        """A listening socket, ours to close. Raises ConfigError."""
        ...

    def drop_privileges(self) -> None:
        """All ports are bound: be no more than we have to. Raises ConfigError."""
        ...

    async def ready(self) -> None:
        """We take messages."""
        ...

    async def cannot_start(self, why: str) -> None:
        """Tell the operator why we end."""
        ...

    async def collect(self) -> list[bytes]:
        """The metric snapshots of all workers, ours among them."""
        ...

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """The answers of all workers that have one, ours among them."""
        ...

    def spread_epoch(self) -> None:
        """Have every worker read the policy anew."""
        ...

    def sweep(self) -> None:
        """Give back what lies unused; called about once a second."""
        ...


@define(eq=False)
class Alone:
    """One process does it all."""

    clock: Clock
    user: str | None
    snapshot: Callable[[], bytes]
    bump_epoch: Callable[[], object]
    answer: Answer
    limits: Limits = field(init=False)
    seat: Seat = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = LocalLimits(self.clock)
        self.seat = Seat(Board.make(1), 0)

    @property
    def index(self) -> int:
        """The first."""
        return 0

    @property
    def count(self) -> int:
        """The only one."""
        return 1

    async def listening_socket(self, scheme: str, _ordinal: int, address: str) -> socket.socket:
        """Bind and tell."""
        sock = listeners.bind(address)
        lifecycle.announce(f"{scheme} listener on {listeners.printable(sock)}")
        return sock

    def drop_privileges(self) -> None:
        """Become the user that was asked for."""
        if self.user is not None:
            lifecycle.become(self.user)

    async def ready(self) -> None:
        """Tell whoever waits for us."""
        lifecycle.announce("initialization complete")

    async def cannot_start(self, why: str) -> None:
        """On stderr."""
        lifecycle.announce(f"kumotwist: {why}")

    async def collect(self) -> list[bytes]:
        """Our own."""
        return [self.snapshot()]

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """Our own."""
        return [await self.answer(topic, question)]

    def spread_epoch(self) -> None:
        """Ours alone."""
        self.bump_epoch()

    def sweep(self) -> None:
        """There is nothing to give back to."""


@define(eq=False)
class Supervised:
    """One of several workers under a supervisor."""

    index: int
    count: int
    end: WorkerEnd
    seat: Seat
    clock: Clock
    limits: Limits = field(init=False)
    _leased: LeasedLimits | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.count == 1:
            self.limits = LocalLimits(self.clock)
        else:
            self.limits = self._leased = LeasedLimits(self.end, self.clock)

    async def listening_socket(self, scheme: str, ordinal: int, address: str) -> socket.socket:
        """The one that the supervisor has bound."""
        return await self.end.listening_socket(scheme, ordinal, address)

    def drop_privileges(self) -> None:
        """We were started without any."""

    async def ready(self) -> None:
        """Tell the supervisor."""
        await self.end.ready()

    async def cannot_start(self, why: str) -> None:
        """Through the supervisor, which says it once for all workers."""
        if not await self.end.cannot_start(why):
            lifecycle.announce(f"kumotwist: {why}")

    async def collect(self) -> list[bytes]:
        """Everybody's, by way of the supervisor."""
        return await self.end.collect()

    async def ask(self, topic: str, question: bytes) -> list[bytes]:
        """Everybody's, by way of the supervisor."""
        return await self.end.ask(topic, question)

    def spread_epoch(self) -> None:
        """To all, by way of the supervisor."""
        self.end.spread_epoch()

    def sweep(self) -> None:
        """Give unspent events back."""
        if self._leased is not None:
            self._leased.sweep()
