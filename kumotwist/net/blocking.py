"""A few threads for blocking calls that may run side by side: Vault, files of policies.

Public: `BlockingThreads`, `ThreadReactor`. What can go wrong: whatever the
call raises; Overload when too many wait already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from kumotwist.core.errors import Overload
from kumotwist.net.clock import Clock

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ThreadReactor(Clock, Protocol):
    """A clock that also takes calls from threads: the reactor."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002
        """Run `callable(*args)` on the reactor thread soon."""
        ...

    def getThreadPool(self) -> ThreadPool:
        """The reactor's own threads."""
        ...


@define(eq=False)
class BlockingThreads:
    """At most `size` threads, started when first needed; at most `max_waiting` calls in hand."""

    reactor: ThreadReactor
    name: str
    size: int
    max_waiting: int
    _pool: ThreadPool = field(init=False)
    _in_hand: int = field(default=0, init=False)
    _is_closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._pool = ThreadPool(0, self.size, name=self.name)

    @property
    def is_closed(self) -> bool:
        """Whether nothing further is taken; what runs should come to an end. Any thread may ask."""
        return self._is_closed

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the call. May be cancelled; the call itself then runs to its end, and counts until then.

        Raises what the call raises; Overload.
        """
        if self._is_closed or self._in_hand >= self.max_waiting:
            state = "are closed" if self._is_closed else f"have {self.max_waiting} calls waiting"
            raise Overload(f"the {self.name} threads {state}")
        if not self._pool.started:
            self._pool.start()
        self._in_hand += 1
        threads = cast("IReactorFromThreads", self.reactor)
        call, answer = deferToThreadPool(threads, self._pool, function, *args, **kwargs), Deferred[R]()
        call.addBoth(self._ended)
        call.addCallbacks(answer.callback, answer.errback)
        return await answer

    def _ended(self, result: T) -> T:
        self._in_hand -= 1
        return result

    async def close(self) -> None:
        """Wait for the calls that run, and end the threads."""
        self._is_closed = True
        if self._pool.started:
            threads = cast("IReactorFromThreads", self.reactor)
            await deferToThreadPool(threads, self.reactor.getThreadPool(), self._pool.stop)
