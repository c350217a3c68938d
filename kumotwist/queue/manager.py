"""The queue manager: the queue as the rest of the house sees it.

A message that is due and whose route is known goes from `insert` to a waiting
dispatcher in one call, with no timer and no wait. Everything else happens once
a second: what has become due is taken up, the idle are sent home, the unused
is forgotten.

Public: `Manager`. What can go wrong: `insert` raises `PolicyError` when the
queue cannot be made or `throttle_insert_ready_queue` fails, and has then not
taken the message.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from twisted.logger import Logger

from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.stats import Sample
from kumotwist.core.suspect import Suspect
from kumotwist.core.way import Way
from kumotwist.net.clock import DelayedCall, sleep
from kumotwist.queue import reasons as why
from kumotwist.queue.announcer import Move
from kumotwist.queue.parts import Parts
from kumotwist.queue.present import Present
from kumotwist.queue.ready import Bodies
from kumotwist.queue.routes.classes import shown_name
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.told import Change
from kumotwist.queue.scheduled import name_of
from kumotwist.queue.stats import samples_of
from kumotwist.queue.surroundings import Knowledge, Surroundings

log: Final = Logger()

#: Seconds between two looks at everything: the grain of the timer wheel.
_TICK: Final = 1.0
#: Searches for a route that new messages may start at once; further messages wait their turn
#: among the due ones, without a body in memory. Ours.
_MAX_SEARCHES: Final = 4096
#: Seconds that `stop` waits for deliveries unless told otherwise. Ours: within the 90 s
#: that service managers customarily allow for stopping.
STOP_WITHIN: Final = 60.0
#: Seconds between looks for the end of route searches while stopping.
_STOP_POLL: Final = 0.05


class Manager:
    """Implements `core.interfaces.QueueManager`."""

    def __init__(
        self,
        around: Surroundings,
        known: Knowledge | None = None,
        *,
        chance: Callable[[], float] = random.random,
        bodies: Bodies | None = None,
        suspects: Mapping[SpoolId, Suspect] | None = None,
    ) -> None:
        """`known` is what this process alone knows, if absent; `chance` is random in [0, 1) and spreads retries.

        `bodies` is the budget of bodies in ready queues. `suspects` are messages that a process ended with.
        """
        self._store = around.store
        self._limits = around.limits
        self._clock = around.clock
        self._tasks = around.tasks
        known = known or Knowledge()
        self._announcer = known.announcer
        self._parts = Parts(around, known, self._route_changed, chance, bodies or Bodies(), suspects or {})
        self._next_tick: DelayedCall | None = None
        self._is_stopping = False

    # -- from start to stop -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch the time, and take up what the spool held at the start, in the background."""
        self._next_tick = self._clock.callLater(_TICK, self._tick)
        self._tasks.spawn("enumeration of the spool", self._parts.recovery.run())

    async def stop(self, within: float = STOP_WITHIN) -> None:
        """Take up nothing any more, finish what is on the wire within so many seconds, save the rest."""
        parts = self._parts
        self._is_stopping = True
        parts.recovery.stop()
        if self._next_tick is not None and self._next_tick.active():
            self._next_tick.cancel()
        parts.waiting.stop()
        parts.budgets.stop()
        deadline = self._clock.seconds() + within
        await parts.dispatchers.stop(within)
        while parts.direct.delivering and self._clock.seconds() < deadline:
            await sleep(self._clock, _STOP_POLL)
        unsaved = [message for ready in parts.ready_queues for message, _ in ready.messages if not message.is_spooled]
        if unsaved:
            await self._store.save(unsaved)
        await parts.tables.close()

    # -- QueueManager -----------------------------------------------------------------------------

    async def resolve(self, queue_name: str) -> None:
        """Make sure that the queue can be made. Raises PolicyError or ResolveError."""
        queues = self._parts.queues
        if queues.find(queue_name, self._clock.seconds()) is None:
            await queues.resolve(queue_name)

    async def insert(self, message: Message) -> None:
        """Take over a message that the store has; it goes out when due.

        Raises PolicyError, and has then not taken it.
        """
        parts, now = self._parts, self._clock.seconds()
        queue = parts.queues.find(name_of(message), now) or await parts.queues.resolve(name_of(message))
        if self._is_stopping:
            if not message.is_spooled:
                await self._store.save((message,))
        elif message.due > now:
            scheduled = (why.RECEIVED, why.SCHEDULED_FOR_LATER) if message.schedule is not None else (why.RECEIVED,)
            await parts.requeuer.wait(queue, message, scheduled)
        elif await parts.clearance.admit(queue, message, why.RECEIVED, now):
            if parts.promoter.place(queue, message, now):
                return
            if parts.promoter.searching < _MAX_SEARCHES or message.is_body_dirty:
                self._tasks.spawn("route of a message", parts.promoter.search(queue, message, why.RECEIVED))
            else:
                parts.park(queue, message)

    def samples(self) -> Iterator[Sample]:
        """The queue's numbers as they are now."""
        parts, ready_queues = self._parts, self._parts.ready_queues
        yield from parts.classes.samples()
        yield from parts.learning.samples()
        yield from samples_of(
            parts.queues, ready_queues, ready_queues.gone, parts.counters, parts.latency, len(parts.waiting)
        )

    def present(self) -> Present:
        """What is at work here, to look at."""
        parts = self._parts
        return Present(
            table=parts.tables.look_at,
            ready=parts.ready_queues.at_work,
            limits=self._limits,
            budgets=parts.budgets,
            classed=parts.classes.ask,
            way_of=self.way_of,
        )

    def table_at_work(self, name: str) -> RouteTable | None:
        """A route table that messages have used; None for any other."""
        return self._parts.tables.at_work(name)

    def way_of(self, message: Message) -> Way | None:
        """The way by a route table that a message is on now; None when no table placed it, and while it waits."""
        return self._parts.routing.way_of(message)

    def note_receipt(self, way: Way, event: ReceiptEvent, handed_over: float | None = None) -> None:
        """Learn from a receipt about a message that went by a route table, handed over at that time (Unix seconds)."""
        self._parts.learning.learn_receipt(way, event, handed_over)

    # -- what happens by itself -------------------------------------------------------------------

    def _tick(self) -> None:
        parts, now = self._parts, self._clock.seconds()
        self._next_tick = self._clock.callLater(_TICK, self._tick)
        parts.waiting.tick(now)
        parts.budgets.tick()
        parts.sleepers.tick(now)
        parts.dispatchers.tick(now)
        parts.ready_queues.tick(now)
        parts.learning.tick()
        parts.tables.tick(parts.routing.travelled)
        parts.under_way.tick(now)
        parts.counters.forget(parts.queues.reap(now))

    def _route_changed(self, table: RouteTable, change: Change) -> None:
        """A share that moved or a breaker that changed is told in the log and, by one worker, in a record."""
        table_name, text = table.config.name, change.in_words()
        log.info("route table {table}, class {name}: {text}", table=table_name, name=shown_name(change.name), text=text)
        move = Move(table_name, change, self._clock.seconds())
        if self._announcer is not None:
            self._announcer.note(move)
        else:
            self._tasks.spawn("record of a route's change", self._parts.ledger.note_move(move))
