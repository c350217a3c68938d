"""A thread for one kind of blocking work: commits of the spool, blocks of log segments.

Work runs in the order given, one piece at a time, and each end is reported on
the reactor thread in one call. That is all the threading that spool and
records have; everything else of theirs happens on the reactor thread.

Public: `ReactorClock`, `SerialThread`. What can go wrong: work that hangs (a
dead disk) holds up what is behind it and `close`; the thread is a daemon, so
the process can still end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from kumotwist.net.clock import Clock


class ReactorClock(Clock, Protocol):
    """A clock that other threads can reach: the real reactor."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:  # noqa: A002
        """Call `callable(*args)` on the reactor thread, soon."""
        ...


@define(eq=False)
class SerialThread:
    """Runs work in order on a thread of its own, started with the first piece."""

    name: str
    reactor: ReactorClock
    _work: SimpleQueue[tuple[Callable[[], None], Callable[[BaseException | None], None]] | None] = field(
        factory=SimpleQueue, init=False
    )
    _thread: threading.Thread | None = field(default=None, init=False)

    def submit(self, work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        """Run `work()` on the thread, then `done(error)` on the reactor thread; `error` is None when all went well."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        self._work.put((work, done))

    async def close(self) -> None:
        """Return when all work given so far is done and the thread has ended."""
        if self._thread is None:
            return
        ended: Deferred[None] = Deferred()
        self.submit(_nothing, lambda _: ended.callback(None))
        self._work.put(None)
        await ended
        self._thread.join()
        self._thread = None

    def _run(self) -> None:
        while (piece := self._work.get()) is not None:
            work, done = piece
            error: BaseException | None = None
            try:
                work()
            except BaseException as caught:  # it is handed over, not lost
                error = caught
            self.reactor.callFromThread(done, error)
            # Nothing may keep a message's body alive until the next piece comes.
            del piece, work, done, error


def _nothing() -> None:
    pass
