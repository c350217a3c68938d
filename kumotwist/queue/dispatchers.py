"""All dispatchers of a worker: starts, wakes, watches and ends them.

A message that enters a ready queue wakes a waiting dispatcher at once, or
starts one if the queue's length calls for more. Once a second the idle are
sent home, those without progress are ended, and queues that lost their
dispatchers get new ones.

Public: `Dispatchers`. What can go wrong: nothing that a dispatcher does ends
here; its failures are logged by the tasks it runs in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.net.clock import DelayedCall
from kumotwist.net.tasks import Tasks
from kumotwist.queue.dispatcher import Dispatcher
from kumotwist.queue.hand import Means
from kumotwist.queue.ready import ReadyQueue

log: Final = Logger()

#: Dispatchers that run inside one another's calls before the next gets a turn of its own.
#: Ours: each costs some twenty Python frames, of a thousand.
_MAX_DEPTH: Final = 8


class Dispatchers:
    """Every dispatcher at work, by ready queue."""

    def __init__(self, means: Means, tasks: Tasks) -> None:
        self._means = means
        self._tasks = tasks
        self._active: dict[ReadyQueue, set[Dispatcher]] = {}
        self._depth = 0
        self._later: deque[Callable[[], None]] = deque()
        self._turn: DelayedCall | None = None
        self._is_stopping = False
        self._all_ended: Deferred[None] | None = None

    def serve(self, ready: ReadyQueue) -> None:
        """See to it that somebody takes the message that `ready` just got."""
        if ready.idle:
            dispatcher = ready.idle.pop()
            self._nested(lambda: dispatcher.awaken(True))
        elif len(ready.dispatchers) < ready.wanted and not self._is_stopping:
            self._nested(lambda: self._start(ready))

    def tick(self, now: float) -> None:
        """Once a second: end who idled or stalled for too long, replace who is missing."""
        for ready, dispatchers in list(self._active.items()):
            while ready.idle and ready.idle[0].ends_at <= now:
                ready.idle[0].awaken(False)
            for dispatcher in [one for one in dispatchers if one.ends_at <= now and not one.is_waiting]:
                self._call_off(dispatcher)
            self._top_up(ready)
            if not dispatchers and not ready.messages:
                del self._active[ready]

    async def stop(self, within: float) -> None:
        """Have nothing further taken; wait for what is on the wire, `within` seconds at most.

        A path may say less by its `system_shutdown_timeout`.
        """
        self._is_stopping = True
        for dispatcher in self._everyone():
            dispatcher.is_stopping = True
            if dispatcher.is_waiting:
                dispatcher.awaken(False)
            elif not dispatcher.is_delivering and dispatcher.work is not None:
                dispatcher.work.cancel()
        if self._everyone():
            self._all_ended = Deferred()
            bounds = [
                self._means.clock.callLater(seconds, self._cut_off, seconds, within)
                for seconds in {within, *(_patience(dispatcher, within) for dispatcher in self._everyone())}
            ]
            await self._all_ended
            for bound in bounds:
                if bound.active():
                    bound.cancel()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _start(self, ready: ReadyQueue) -> None:
        dispatcher = Dispatcher(ready, self._means)
        if ready not in self._active:
            ready.dispatchers = self._active[ready] = set()
        self._active[ready].add(dispatcher)
        work = self._tasks.spawn(f"dispatcher of {ready.name}", dispatcher.run())
        dispatcher.work = work
        work.addBoth(self._ended, dispatcher)

    def _ended(self, _: object, dispatcher: Dispatcher) -> None:
        ready = dispatcher.ready
        self._active[ready].discard(dispatcher)
        if dispatcher.is_productive and ready.messages and not self._is_stopping:
            self._soon(lambda: self._top_up(ready))
        if self._all_ended is not None and not self._everyone():
            ended, self._all_ended = self._all_ended, None
            ended.callback(None)

    def _top_up(self, ready: ReadyQueue) -> None:
        for _ in range(ready.wanted - len(ready.dispatchers)):
            if self._is_stopping or not ready.messages:
                return
            self._start(ready)

    def _call_off(self, dispatcher: Dispatcher) -> None:
        log.warn("a session of {queue} makes no progress and is ended", queue=dispatcher.ready.name)
        dispatcher.is_overdue = True
        if dispatcher.work is not None:
            dispatcher.work.cancel()

    def _cut_off(self, seconds: float, within: float) -> None:
        """So many seconds of `stop` are over: what is on the wire too long stays in the spool and is tried again."""
        for dispatcher in [one for one in self._everyone() if _patience(one, within) <= seconds]:
            log.warn("a session of {queue} is cut off in mid-delivery", queue=dispatcher.ready.name)
            if dispatcher.work is not None:
                dispatcher.work.cancel()

    def _everyone(self) -> list[Dispatcher]:
        return [dispatcher for dispatchers in self._active.values() for dispatcher in dispatchers]

    def _nested(self, call: Callable[[], None]) -> None:
        """Call now; from deep inside other dispatchers, in a turn of its own."""
        if self._depth >= _MAX_DEPTH:
            self._soon(call)
            return
        self._depth += 1
        try:
            call()
        finally:
            self._depth -= 1

    def _soon(self, call: Callable[[], None]) -> None:
        self._later.append(call)
        if self._turn is None and not self._is_stopping:
            self._turn = self._means.clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        for _ in range(len(self._later)):
            self._later.popleft()()


def _patience(dispatcher: Dispatcher, within: float) -> float:
    """Seconds that a stop waits for what is on the wire here."""
    own = dispatcher.ready.path.system_shutdown_timeout
    return within if own is None else min(own, within)
