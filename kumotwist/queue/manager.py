"""The queue manager: the queue as the rest of the house sees it, and where its parts meet.

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

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.queue import Protocol
from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import Channel, Limits, MessageStore, QueuePolicy, Rates, ReceiptWatch, Recorder
from kumotwist.core.message import Message
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.stats import Histogram, Sample
from kumotwist.core.suspect import Suspect
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock, DelayedCall, sleep
from kumotwist.net.tasks import Tasks
from kumotwist.queue import reasons as why
from kumotwist.queue.answers import FAILURE_TTL
from kumotwist.queue.classes import Classes, MailHosts
from kumotwist.queue.counters import Counters
from kumotwist.queue.dispatchers import Dispatchers
from kumotwist.queue.hand import Means
from kumotwist.queue.learning import Learning
from kumotwist.queue.ledger import Ledger
from kumotwist.queue.overdue import HeardOf, Overdue
from kumotwist.queue.present import Present
from kumotwist.queue.promote import Promoter
from kumotwist.queue.ready import Bodies, Item, ReadyQueue
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.recovery import Recovery
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.routes.budget import Budgets
from kumotwist.queue.routes.table import Change, RouteTable
from kumotwist.queue.routestate import RouteState
from kumotwist.queue.routing import Routing
from kumotwist.queue.scheduled import ScheduledQueue, ScheduledQueues, name_of
from kumotwist.queue.settle import Settler
from kumotwist.queue.sources import Pools
from kumotwist.queue.stages import Stages
from kumotwist.queue.stats import samples_of
from kumotwist.queue.waiting import Waiting
from kumotwist.queue.watch import MemoryWatch

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
        store: MessageStore,
        policy: QueuePolicy,
        recorder: Recorder,
        limits: Limits,
        channel_for: Callable[[Protocol], Channel],
        clock: Clock,
        tasks: Tasks,
        chance: Callable[[], float] = random.random,
        bodies: Bodies | None = None,
        suspects: Mapping[SpoolId, Suspect] | None = None,
        route_state: RouteState | None = None,
        mail_hosts: MailHosts | None = None,
        heard_of: HeardOf | None = None,
        watch: ReceiptWatch | None = None,
        budgets: Rates | None = None,
    ) -> None:
        """`chance` is random in [0, 1) and spreads retries; `bodies` is the budget of bodies in ready queues.

        `suspects` are messages that a process ended with. `route_state` keeps
        what route tables learn; without it they forget with the process. `mail_hosts` tells who takes a domain's mail,
        for classes by mailbox provider; without it these are well-known domains or the domain itself. `heard_of` tells
        of which messages a receipt has come; without it nobody waits for one. `watch` knows what receipts said, for
        those on a fallback; without it they never say anything. `budgets` counts
        what has been taken of routes' budgets; without it `limits` does.
        """
        self._store = store
        self._policy = policy
        self._limits = limits
        self._budgets = budgets or limits
        self._clock = clock
        self._tasks = tasks
        self._counters = Counters()
        self._latency: dict[str, Histogram] = {}
        watch = watch or MemoryWatch()
        self._ledger = Ledger(store, recorder, clock, watch.forget)
        bodies = bodies or Bodies()
        pools = Pools(policy, clock, tasks)
        self._queues = ScheduledQueues(policy, pools, clock, tasks, self._way_changed)
        self._waiting = Waiting(store, clock, tasks, self._promote)
        classes = Classes(clock, mail_hosts) if mail_hosts is not None else Classes(clock)
        overdue = Overdue(heard_of, tasks) if heard_of is not None else None
        self._routing = Routing(policy, clock, tasks, self._route_changed, classes, route_state)
        self._learning = Learning(self._routing, clock, tasks, overdue)
        self._stages = Stages(
            self._routing, store, self._ledger, watch, self._waiting, clock, tasks, self._park, self._take_ready
        )
        self._requeuer = Requeuer(
            self._queues, policy, store, self._ledger, clock, self._park, chance, self._stages.failed
        )
        settler = Settler(
            self._ledger,
            store,
            policy,
            self._requeuer,
            self._routing,
            self._learning,
            lambda queue, message, traveller: self._promoter.go_on(queue, message, traveller),
            self._stages,
        )
        means = Means(store, limits, settler, self._requeuer, self._ledger, clock, self._latency)
        self._dispatchers = Dispatchers(means, tasks)
        self._ready_queues = ReadyQueues(
            policy, pools, channel_for, clock, tasks, bodies, self._dispatchers.serve, self._path_changed
        )
        self._promoter = Promoter(
            store,
            policy,
            limits,
            self._ready_queues,
            self._requeuer,
            settler,
            self._ledger,
            clock,
            self._counters,
            bodies,
            self._routing,
            self._stages,
            Budgets(self._budgets),
        )
        self._recovery = Recovery(
            store, policy, self._queues, self._requeuer, self._waiting, self._ledger, clock, suspects or {}
        )
        self._next_tick: DelayedCall | None = None
        self._is_stopping = False

    # -- from start to stop -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch the time, and take up what the spool held at the start, in the background."""
        self._next_tick = self._clock.callLater(_TICK, self._tick)
        self._tasks.spawn("enumeration of the spool", self._recovery.run())

    async def stop(self, within: float = STOP_WITHIN) -> None:
        """Take up nothing any more, finish what is on the wire within so many seconds, save the rest."""
        self._is_stopping = True
        self._recovery.stop()
        if self._next_tick is not None and self._next_tick.active():
            self._next_tick.cancel()
        self._waiting.stop()
        deadline = self._clock.seconds() + within
        await self._dispatchers.stop(within)
        while self._promoter.delivering and self._clock.seconds() < deadline:
            await sleep(self._clock, _STOP_POLL)
        unsaved = [message for ready in self._ready_queues for message, _ in ready.messages if not message.is_spooled]
        if unsaved:
            await self._store.save(unsaved)
        await self._routing.close()

    # -- QueueManager -----------------------------------------------------------------------------

    async def resolve(self, queue_name: str) -> None:
        """Make sure that the queue can be made. Raises PolicyError or ResolveError."""
        if self._queues.find(queue_name, self._clock.seconds()) is None:
            await self._queues.resolve(queue_name)

    async def insert(self, message: Message) -> None:
        """Take over a message that the store has; it goes out when due.

        Raises PolicyError, and has then not taken it.
        """
        now = self._clock.seconds()
        queue = self._queues.find(name_of(message), now) or await self._queues.resolve(name_of(message))
        if self._is_stopping:
            if not message.is_spooled:
                await self._store.save((message,))
        elif message.due > now:
            scheduled = (why.RECEIVED, why.SCHEDULED_FOR_LATER) if message.schedule is not None else (why.RECEIVED,)
            await self._requeuer.wait(queue, message, scheduled)
        elif await self._promoter.admit(queue, message, why.RECEIVED, now):
            if self._promoter.place(queue, message, now):
                return
            if self._promoter.searching < _MAX_SEARCHES or message.is_body_dirty:
                self._tasks.spawn("route of a message", self._promoter.search(queue, message, why.RECEIVED))
            else:
                self._park(queue, message)

    def samples(self) -> Iterator[Sample]:
        """The queue's numbers as they are now."""
        yield from self._learning.samples()
        yield from samples_of(
            self._queues, self._ready_queues, self._ready_queues.gone, self._counters, self._latency, len(self._waiting)
        )

    def present(self) -> Present:
        """What is at work here, to look at."""
        routing, ready_queues = self._routing, self._ready_queues
        return Present(routing.look_at, ready_queues.at_work, self._limits, self._budgets, routing.classes.ask)

    def table_at_work(self, name: str) -> RouteTable | None:
        """A route table that messages have used; None for any other."""
        return self._routing.at_work(name)

    def way_of(self, message: Message) -> Way | None:
        """The way by a route table that a message is on now; None when no table placed it, and while it waits."""
        traveller = self._routing.traveller(message)
        return traveller.way if traveller is not None else None

    def note_receipt(self, way: Way, event: ReceiptEvent, handed_over: float | None = None) -> None:
        """Learn from a receipt about a message that went by a route table, handed over at that time (Unix seconds)."""
        self._learning.learn_receipt(way, event, handed_over)

    # -- what happens by itself -------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._clock.seconds()
        self._next_tick = self._clock.callLater(_TICK, self._tick)
        self._waiting.tick(now)
        self._dispatchers.tick(now)
        self._ready_queues.tick(now)
        self._learning.tick()
        self._routing.tick()
        self._stages.tick(now)
        self._counters.forget(self._queues.reap(now))

    async def _promote(self, queue: ScheduledQueue, message: Message) -> None:
        """Take up a message that was parked and is due."""
        try:
            name = name_of(message)
            now = self._clock.seconds()
            queue = self._queues.find(name, now) or await self._queues.resolve(name)
        except CancelledError:
            raise
        except Exception as error:
            log.error("{queue} cannot be made; its message waits: {error}", queue=queue.name.text, error=error)
            self._waiting.put_off(queue, message, FAILURE_TTL)
            return
        if message.course is not None and not await self._take_up(queue, message):
            return
        try:
            is_admitted = await self._promoter.admit(queue, message, why.DUE_TIME_WAS_REACHED, now)
        except CancelledError:
            raise
        except Exception as error:
            log.error("throttle_insert_ready_queue failed for {queue}: {error}", queue=name, error=error)
            self._waiting.put_off(queue, message, FAILURE_TTL)
            return
        if is_admitted and not self._promoter.place(queue, message, now):
            await self._promoter.search(queue, message, why.DUE_TIME_WAS_REACHED)

    async def _take_up(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether a message on a fallback goes on; raises nothing."""
        try:
            return await self._stages.take_up(queue, message)
        except CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, KumotwistError):
                log.failure("the fallback of {id} failed", id=message.id.hex())
            log.error("{id} waits, for its fallback failed: {error}", id=message.id.hex(), error=error)
            self._waiting.put_off(queue, message, FAILURE_TTL)
            return False

    def _park(self, queue: ScheduledQueue, message: Message) -> None:
        """Let the message wait on the wheel; whatever way it was on, the next attempt chooses anew."""
        self._routing.arrive(message)
        self._waiting.park(queue, message)

    def _route_changed(self, table: RouteTable, change: Change) -> None:
        """A share that moved or a breaker that changed is told in the log and in a record."""
        table_name, text = table.config.name, change.in_words()
        log.info("route table {table}, class {name}: {text}", table=table_name, name=change.name or "all", text=text)
        self._tasks.spawn("record of a route's change", self._ledger.note_change(table_name, change))

    # -- changes of policy ------------------------------------------------------------------------

    def _way_changed(self, queue: ScheduledQueue, is_protocol_new: bool) -> None:
        route = self._ready_queues.routes.forget(queue)
        if route is not None and is_protocol_new:
            for ready in [one for one in route.ready if one is not None]:
                self._put_back(ready.take_of(queue), why.PROTOCOL_CHANGED)

    def _path_changed(self, ready: ReadyQueue) -> None:
        self._put_back(ready.take_excess(ready.max_ready), why.MAX_READY_WAS_REDUCED)

    def _take_ready(self, wanted: Callable[[Item], bool]) -> list[Item]:
        return [item for ready in self._ready_queues if ready.messages for item in ready.take_where(wanted)]

    def _put_back(self, items: list[Item], reason: str) -> None:
        if items:
            self._tasks.spawn("return to the scheduled queue", self._hold(items, reason))

    async def _hold(self, items: list[Item], reason: str) -> None:
        for message, queue in items:
            await self._requeuer.hold(queue, message, (reason,), 0.0)
