"""What a test must not leave behind, and how it is found: logged failures, delayed calls, sockets.

Public: `LoggedFailures`, `Reactor`, `Garbage`. A test that provokes a failure on purpose takes it out of
`LoggedFailures` with `expect`; everything else that is found fails the test (tests/conftest.py).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field
from twisted.internet import process, reactor
from twisted.internet.base import DelayedCall
from twisted.internet.task import deferLater
from twisted.internet.tcp import Port
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher

#: A connection that is being closed needs a few turns on both sides; a delayed call that is there after them stays.
TURNS = 50
#: So many it may take until a peer that is another process has its slice of a busy machine and closes its side, too.
PEER_TURNS = 2000
#: Tests between two looks at everything. Such a look takes about as long as a hundred small ones.
ROUND = 100
#: Seconds between turns: loopback answers in microseconds, the kernel's thread may need a slice of a busy machine.
TURN = 0.005


@define(eq=False)
class LoggedFailures:
    """Failures and critical events that the program logged during a test."""

    events: list[LogEvent] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("log_level") is LogLevel.critical:
            self.events.append(event)

    def expect(self, text: str) -> list[LogEvent]:
        """The failures logged so far whose text, traceback included, holds `text`; at least one. They are forgiven."""
        found = self.forgive(text)
        assert found, f"no logged failure holds {text!r}; logged: {self.texts()}"
        return found

    def forgive(self, text: str) -> list[LogEvent]:
        """Like `expect`, where there may be none."""
        found = [event for event in self.events if text in _text(event)]
        self.events = [event for event in self.events if event not in found]
        return found

    def texts(self) -> list[str]:
        """What was logged and not expected."""
        return [_text(event) for event in self.events]

    @contextmanager
    def watching(self) -> Iterator[LoggedFailures]:
        """Collects within the block."""
        globalLogPublisher.addObserver(self)
        try:
            yield self
        finally:
            globalLogPublisher.removeObserver(self)


def _text(event: LogEvent) -> str:
    return eventAsText(event, includeTimestamp=False, includeSystem=False)


@define(eq=False)
class Reactor:
    """What the reactor held when a test began; what it holds beyond that later was left behind by the test."""

    known: set[object] = field(factory=lambda: set(_held()))

    async def leftovers(self) -> list[str]:
        """What is there still after a few turns. It is taken away, so that the next test begins clean."""
        for turn in range(PEER_TURNS):
            left = self._new()
            if not left:
                return []
            if turn >= TURNS and not any(map(_has_a_peer, left)):
                break
            await deferLater(reactor, TURN)
        told = [repr(one) for one in left]
        for take_away in left.values():
            take_away()
        return told

    def _new(self) -> dict[object, Callable[[], object]]:
        return {one: take_away for one, take_away in _held().items() if one not in self.known}


def _has_a_peer(one: object) -> bool:
    """Whether it can still end by itself, by what another process does."""
    return not isinstance(one, DelayedCall | Port)


def _held() -> dict[object, Callable[[], object]]:
    """Delayed calls, selectables and child processes, each with the way to be rid of it."""
    held: dict[object, Callable[[], object]] = {call: call.cancel for call in reactor.getDelayedCalls()}
    for selectable in {*reactor.getReaders(), *reactor.getWriters()} - reactor._internalReaders:
        held[selectable] = lambda one=selectable: (reactor.removeReader(one), reactor.removeWriter(one))
    for pid, child in process.reapProcessHandlers.items():
        held[child] = lambda one=child, number=pid: one.signalProcess("KILL") if number else None
    return held


@define(eq=False)
class Garbage:
    """What is in cycles is freed after each test, so that an unread error in a Deferred is logged while its test runs.

    What has outlived many tests (modules, caches, pytest's reports) is looked at once in `ROUND` tests only: to look at
    all of it after each one would take longer than the tests.
    """

    _tests: int = field(default=0, init=False)

    def collect(self) -> None:
        """Free what the test that ends now left in cycles."""
        self._tests += 1
        if self._tests % ROUND:
            gc.collect()
        else:
            self.collect_all()

    def collect_all(self) -> None:
        """Free everything that is in cycles. What is left, the collections of this round pass over."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
