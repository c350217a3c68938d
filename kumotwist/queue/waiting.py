"""What waits: parked messages on the timer wheel, taken up again when they are due.

A parked message is its id, due time and attempts; the spool has the rest. When
thousands become due in one second they are loaded and promoted in slices, with
turns of the reactor in between, and no more at once than can be looked after.

Public: `Waiting`. What can go wrong: a spool that cannot be read is logged and
its messages wait another minute; a message that the spool no longer has is
logged and forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import Message, Parked
from kumotwist.net.clock import Clock, DelayedCall, sleep
from kumotwist.net.tasks import Tasks
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.wheel import Wheel

log: Final = Logger()

#: Messages loaded in one go. Ours: a few milliseconds between two turns of the reactor.
_SLICE: Final = 64
#: Promotions under way at once, each perhaps waiting for DNS or policy. Ours: a few MiB, their bodies
#: being counted elsewhere, and room for many dead domains beside the living.
_MAX_PROMOTING: Final = 4096
#: Seconds to wait after the spool could not be read. Ours.
_AGAIN_AFTER: Final = 60.0

Promote = Callable[[ScheduledQueue, Message], Coroutine[Deferred[Any], Any, None]]


class Waiting:
    """All parked messages of this worker."""

    def __init__(self, store: MessageStore, clock: Clock, tasks: Tasks, promote: Promote) -> None:
        """`promote` takes a message that is due, and raises nothing."""
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._promote = promote
        self._wheel: Wheel[Parked, ScheduledQueue] = Wheel(clock.seconds())
        self._due: deque[tuple[Parked, ScheduledQueue]] = deque()
        #: Those on a fallback, which may have to be looked at before they are due.
        self._on_course: dict[SpoolId, Parked] = {}
        #: Those that may be called before they are due.
        self._held: dict[SpoolId, Parked] = {}
        self._promoting = 0
        self._is_taking = False
        self._is_stopping = False
        self._turn: DelayedCall | None = None

    def __len__(self) -> int:
        return len(self._wheel) + len(self._due)

    @property
    def has_courses(self) -> bool:
        """Whether any is on a fallback."""
        return bool(self._on_course)

    def park(self, queue: ScheduledQueue, message: Message, *, is_held: bool = False) -> None:
        """Keep `message` in mind until it is due; it is taken up in the next turn when it is due already.

        One that `is_held` may be woken before.
        """
        if not message.is_body_dirty:
            message.release_body()
        parked = Parked(message.id, message.due, message.attempts)
        if message.course is not None:
            self._on_course[message.id] = parked
        if is_held:
            self._held[message.id] = parked
        self.keep(queue, parked)

    def holds(self, spool_id: SpoolId) -> bool:
        """Whether a held message waits here."""
        return spool_id in self._held

    def wake(self, spool_id: SpoolId) -> bool:
        """Take up a held message, due now; False when it does not wait here."""
        parked = self._held.pop(spool_id, None)
        queue = self._wheel.cancel(parked) if parked is not None else None
        if parked is not None and queue is not None:
            parked.due = self._clock.seconds()
            self._take_in_turn(parked, queue)
        return parked is not None

    def look_at(self, spool_id: SpoolId) -> bool:
        """Take up a message on a fallback now, its due time as it is; False when it does not wait here."""
        parked = self._on_course.pop(spool_id, None)
        queue = self._wheel.cancel(parked) if parked is not None else None
        if parked is not None and queue is not None:
            self._take_in_turn(parked, queue)
        return parked is not None

    def put_off(self, queue: ScheduledQueue, message: Message, seconds: float) -> None:
        """Have `message` taken up again after so many seconds, uncharged and told to nobody.

        For what is not its fault, as a policy or a ledger that fails.
        """
        message.release_body()
        self.keep(queue, Parked(message.id, self._clock.seconds() + seconds, message.attempts))

    def keep(self, queue: ScheduledQueue, parked: Parked) -> None:
        """The same for what is parked already."""
        queue.waiting += 1
        queue.used_at = now = self._clock.seconds()
        if parked.due > now:
            self._wheel.insert(parked, queue)
            return
        self._take_in_turn(parked, queue)

    def _take_in_turn(self, parked: Parked, queue: ScheduledQueue) -> None:
        self._due.append((parked, queue))
        if self._turn is None and not self._is_stopping:
            self._turn = self._clock.callLater(0, self._take_turn)

    def tick(self, now: float) -> None:
        """Once a second: take up what has become due."""
        self._due.extend(self._wheel.advance(now))
        self._take_up()

    def stop(self) -> None:
        """Take nothing up any more."""
        self._is_stopping = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _take_turn(self) -> None:
        self._turn = None
        self._take_up()

    def _take_up(self) -> None:
        if self._due and not self._is_taking and not self._is_stopping:
            self._is_taking = True
            self._tasks.spawn("promotion of due messages", self._take())

    async def _take(self) -> None:
        try:
            while self._due and self._promoting < _MAX_PROMOTING and not self._is_stopping:
                taken = [self._due.popleft() for _ in range(min(_SLICE, len(self._due)))]
                for parked, queue in taken:
                    queue.waiting -= 1
                    if self._on_course:
                        self._on_course.pop(parked.id, None)
                    if self._held:
                        self._held.pop(parked.id, None)
                await self._take_slice(taken)
                await sleep(self._clock, 0)
        finally:
            self._is_taking = False

    async def _take_slice(self, taken: list[tuple[Parked, ScheduledQueue]]) -> None:
        try:
            messages = await self._store.load([parked.id for parked, _ in taken])
        except CancelledError:
            raise
        except Exception:
            log.failure("messages that are due cannot be read")
            for parked, queue in taken:
                parked.due = self._clock.seconds() + _AGAIN_AFTER
                self.keep(queue, parked)
            return
        for (parked, queue), message in zip(taken, messages, strict=True):
            if message is None:
                log.error("message {id} of {queue} is gone from the spool", id=parked.id.hex(), queue=queue.name.text)
                continue
            message.due, message.attempts = parked.due, parked.attempts
            self._promoting += 1
            self._tasks.spawn("promotion", self._promote(queue, message)).addBoth(self._promoted)

    def _promoted(self, _: object) -> None:
        self._promoting -= 1
        self._take_up()
