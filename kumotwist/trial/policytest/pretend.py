"""Time as a test sees it, and the parts of a reactor that libraries of a policy ask for.

Nothing waits for the real world: the clock moves when the test says so, and
what would run in a thread runs at once.

Public: `PretendClock`, `InlineThreads`. Raises Failed when something waits for what never comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from kumotwist.core.errors import Overload
from kumotwist.net.blocking import BlockingThreads
from kumotwist.trial.policytest.faults import Failed

P = ParamSpec("P")
R = TypeVar("R")

#: When tests begin unless they say otherwise: a Monday, 09:00 UTC.
START: Final = 1_767_603_600.0
#: Pretended seconds that an answer to the test may take: what handlers may wait for DNS or a provider, doubled.
PATIENCE: Final = 120.0
#: Turns within one moment, after which something calls itself for ever. Ours.
_MAX_TURNS: Final = 100_000
#: Pretended seconds of one `advance`: the queue looks around each second, and a month takes minutes.
MAX_ADVANCE: Final = 31 * 86400.0


class PretendClock(Clock):
    """A clock that stands until it is moved. It moves for `patience` real seconds and then no more."""

    def __init__(self, start: float = START, patience: float = 60.0) -> None:
        super().__init__()
        self.rightNow = start
        self._patience = patience
        self._real_end = time.monotonic() + patience

    def check_patience(self) -> None:
        """Raises Failed when what is under way takes too long in real time."""
        if time.monotonic() > self._real_end:
            raise Failed(f"it was stopped after {self._patience:g} real seconds; --timeout allows more")

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002
        """There are no threads: at once."""
        return callable(*args)

    def getThreadPool(self) -> ThreadPool:
        """None is to be had."""
        raise Overload("a policy's test has no threads")

    def settle(self) -> None:
        """Let happen what is due now."""
        for _ in range(_MAX_TURNS):
            due = self._next()
            if due is None or due > self.rightNow:
                return
            self.check_patience()
            self.advance(0)
        raise Failed("the policy or the queue never comes to rest within one moment")

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and happen what falls due, each at its moment."""
        if not 0 <= seconds <= MAX_ADVANCE:
            raise Failed(f"time can be advanced by 0 seconds to {MAX_ADVANCE / 86400:.0f} days")
        end = self.rightNow + seconds
        self.settle()
        while (due := self._next()) is not None and due <= end:
            self.advance(max(0.0, due - self.rightNow))
            self.settle()
        self.advance(max(0.0, end - self.rightNow))

    def result(self, work: Coroutine[Deferred[Any], Any, R], what: str) -> R:
        """What `work` comes to; time passes only as far as it waits for it. Raises what it raises, and Failed."""
        deferred: Deferred[R] = Deferred.fromCoroutine(work)
        results: list[R] = []
        problems: list[BaseException] = []
        deferred.addCallbacks(results.append, lambda failure: problems.append(failure.value))
        end = self.rightNow + PATIENCE
        self.settle()
        while not results and not problems and (due := self._next()) is not None and due <= end:
            self.advance(max(0.0, due - self.rightNow))
            self.settle()
        if problems:
            raise problems[0]
        if not results:
            deferred.cancel()
            raise Failed(f"{what} still waits after {PATIENCE:.0f} pretended seconds")
        return results[0]

    def _next(self) -> float | None:
        calls: Any = self.getDelayedCalls()  # Twisted types them as the methods of the interface
        return min((call.getTime() for call in calls), default=None)


class InlineThreads(BlockingThreads):
    """Runs blocking calls where they are made."""

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the call."""
        return function(*args, **kwargs)

    async def close(self) -> None:
        """There is nothing to end."""
