"""Background work: coroutines that run beside the ones that wait for them.

Everything that no caller awaits (a dispatcher, a refresh loop, a renewal) is
spawned here under a name: it is logged when it fails and it is ended and
awaited at shutdown, so nothing is left hanging and no failure is lost.

Public: `Tasks`. What can go wrong: a coroutine that swallows `CancelledError`
and goes on holds `close` up; cancelled work must end promptly.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

log: Final = Logger()


@define(eq=False)
class Tasks:
    """The coroutines that one owner has running."""

    is_closing: bool = field(default=False, init=False)
    _running: dict[Deferred[None], str] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._running)

    @property
    def names(self) -> list[str]:
        """What runs now, oldest first; for diagnostics."""
        return list(self._running.values())

    def spawn(self, name: str, coroutine: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Start `coroutine` at once; it runs until its first wait before this returns.

        The Deferred always fires with None when the work has ended, however it
        ended; cancel it to end the work early. After `close` nothing is
        started any more: the coroutine is closed unrun.
        """
        if self.is_closing:
            coroutine.close()
            ended: Deferred[None] = Deferred()
            ended.callback(None)
            return ended
        work: Deferred[None] = Deferred.fromCoroutine(coroutine)
        if work.called and not work.paused and not isinstance(work.result, (Failure, Deferred)):
            return work
        self._running[work] = name
        work.addErrback(_report, name)
        work.addBoth(self._ended, work)
        return work

    async def close(self) -> None:
        """Cancel all that runs and wait until it has ended; what fails meanwhile is logged."""
        self.is_closing = True
        running = list(self._running)
        waiting = DeferredList([_when_ended(work) for work in running])
        for work in running:
            work.cancel()
        await waiting

    def _ended(self, _: object, work: Deferred[None]) -> None:
        self._running.pop(work, None)


def _report(failure: Failure, name: str) -> None:
    if not isinstance(failure.value, CancelledError):
        log.failure("background work {name} failed", failure, name=name)


def _when_ended(work: Deferred[None]) -> Deferred[None]:
    """A Deferred of its own, so that cancelling a wait does not cancel the work."""
    ended: Deferred[None] = Deferred()
    work.addCallback(ended.callback)
    return ended
