"""The parts of the queue: the page on which they are made and handed to each other.

They are made from the ground up. What has to call a part that is made further
down gets a function that looks it up when it is called.

Public: `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message
from kumotwist.core.stats import Histogram
from kumotwist.core.suspect import Suspect
from kumotwist.queue.classes import Classes
from kumotwist.queue.counters import Counters
from kumotwist.queue.dispatchers import Dispatchers
from kumotwist.queue.fallback.hearing import Hearing
from kumotwist.queue.fallback.stages import Stages
from kumotwist.queue.fallback.steps import Steps
from kumotwist.queue.fallback.underway import UnderWay
from kumotwist.queue.hand import Means
from kumotwist.queue.learning import Learning
from kumotwist.queue.ledger import Ledger
from kumotwist.queue.overdue import Overdue
from kumotwist.queue.promotion.clearance import Clearance
from kumotwist.queue.promotion.direct import Direct
from kumotwist.queue.promotion.offering import Offering
from kumotwist.queue.promotion.outset import Outset
from kumotwist.queue.promotion.promoter import Promoter
from kumotwist.queue.promotion.spending import Spending
from kumotwist.queue.ready import Bodies
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.recovery import Recovery
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.resting import Resting
from kumotwist.queue.routes.budget import Budgets
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.told import Change
from kumotwist.queue.routetables import RouteTables, nothing
from kumotwist.queue.routing import Routing
from kumotwist.queue.scheduled import ScheduledQueue, ScheduledQueues
from kumotwist.queue.settle import Settler
from kumotwist.queue.sleepers import Sleepers
from kumotwist.queue.sources import Pools
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.queue.throttle import LocalLimits
from kumotwist.queue.uptake import Uptake
from kumotwist.queue.waiting import Waiting
from kumotwist.queue.withdrawal import Withdrawal


class Parts:
    """The parts of one queue, by name."""

    def __init__(
        self,
        around: Surroundings,
        known: Knowledge,
        route_changed: Callable[[RouteTable, Change], None],
        chance: Callable[[], float],
        bodies: Bodies,
        suspects: Mapping[SpoolId, Suspect],
    ) -> None:
        """See `Manager`; `route_changed` hears of shares that move and breakers that change."""
        policy, clock, tasks = around.policy, around.clock, around.tasks
        self._around = around
        self._bodies = bodies
        self._pools = Pools(policy, clock, tasks)
        self.counters = Counters()
        #: Of deliveries, by protocol.
        self.latency: dict[str, Histogram] = {}
        self.ledger = self._make_ledger(known)
        self.queues = ScheduledQueues(
            policy, self._pools, clock, tasks, lambda *way: self._withdrawal.way_changed(*way)
        )
        self.waiting = Waiting(around.store, clock, tasks, lambda *due: self._uptake.take_up(*due))
        #: What counts how much has been taken of routes' budgets.
        self.budgets = Budgets(known.budgets or LocalLimits(clock), clock, tasks, self.waiting)
        self.classes = Classes(clock, known.mail_hosts)
        self.tables = self._make_tables(known, route_changed)
        self.routing = Routing(self.tables, clock)
        overdue = Overdue(known.heard_of, tasks) if known.heard_of is not None else None
        self.learning = Learning(self.tables, self.routing, clock, tasks, overdue)
        self.under_way = self._make_under_way(known)
        self.steps = Steps(around.store, self.ledger, clock, self.park)
        self.stages = self._make_stages(known)
        self.requeuer = self._make_requeuer(chance)
        self.sleepers = Sleepers(self.tables, self.waiting.wake)
        self._resting = Resting(self.routing, lambda *way: self.ready_queues.routes.find(*way), clock, self.sleepers)
        self._settler = self._make_settler()
        self.dispatchers = self._make_dispatchers()
        self.ready_queues = self._make_ready_queues()
        self._withdrawal = Withdrawal(self.ready_queues, self.routing, self.requeuer, tasks)
        self.direct = Direct(around.store, self.ready_queues, self._settler)
        self.clearance = self._make_clearance()
        self.promoter = self._make_promoter()
        self._uptake = Uptake(self.queues, self.waiting, self.stages, self.clearance, self.promoter, clock)
        self.recovery = self._make_recovery(suspects)

    def park(self, queue: ScheduledQueue, message: Message) -> None:
        """Let the message wait on the wheel; the next attempt chooses its way, unless it has one to keep."""
        self.routing.arrive(message)
        self.waiting.park(queue, message, is_held=message.id in self.budgets.lines or message.id in self.sleepers)

    # -- making them ------------------------------------------------------------------------------

    def _make_ledger(self, known: Knowledge) -> Ledger:
        return Ledger(
            store=self._around.store,
            recorder=self._around.recorder,
            clock=self._around.clock,
            ended=known.watch.forget,
            way_of=lambda message: self.routing.way_of(message),
            arrived=lambda message: self.routing.arrive(message),
        )

    def _make_tables(self, known: Knowledge, route_changed: Callable[[RouteTable, Change], None]) -> RouteTables:
        return RouteTables(
            policy=self._around.policy,
            clock=self._around.clock,
            tasks=self._around.tasks,
            changed=route_changed,
            ended=lambda *routes: self._withdrawal.routes_ended(*routes),
            state=known.route_state,
            tell=partial(known.announcer.tell, self.ledger.note_move) if known.announcer is not None else nothing,
        )

    def _make_under_way(self, known: Knowledge) -> UnderWay:
        return UnderWay(
            routing=self.routing,
            watch=known.watch,
            waiting=self.waiting,
            clock=self._around.clock,
            tasks=self._around.tasks,
            park=self.park,
            take_ready=lambda wanted: self._withdrawal.take(wanted),
        )

    def _make_stages(self, known: Knowledge) -> Stages:
        return Stages(
            store=self._around.store,
            tables=self.tables,
            watch=known.watch,
            hearing=Hearing(known.watch, self._around.clock),
            steps=self.steps,
            waiting=self.waiting,
            ledger=self.ledger,
            clock=self._around.clock,
        )

    def _make_requeuer(self, chance: Callable[[], float]) -> Requeuer:
        return Requeuer(
            queues=self.queues,
            policy=self._around.policy,
            store=self._around.store,
            ledger=self.ledger,
            clock=self._around.clock,
            park=self.park,
            chance=chance,
            failed=self.stages.failed,
        )

    def _make_settler(self) -> Settler:
        return Settler(
            ledger=self.ledger,
            store=self._around.store,
            policy=self._around.policy,
            requeuer=self.requeuer,
            routing=self.routing,
            resting=self._resting,
            learning=self.learning,
            go_on=lambda queue, message, traveller: self.promoter.go_on(queue, message, traveller),
            stages=self.stages,
        )

    def _make_dispatchers(self) -> Dispatchers:
        means = Means(
            store=self._around.store,
            limits=self._around.limits,
            settler=self._settler,
            requeuer=self.requeuer,
            resting=self._resting,
            ledger=self.ledger,
            clock=self._around.clock,
            latency=self.latency,
        )
        return Dispatchers(means, self._around.tasks)

    def _make_ready_queues(self) -> ReadyQueues:
        return ReadyQueues(
            policy=self._around.policy,
            pools=self._pools,
            channel_for=self._around.channel_for,
            clock=self._around.clock,
            tasks=self._around.tasks,
            bodies=self._bodies,
            serve=self.dispatchers.serve,
            path_changed=lambda ready: self._withdrawal.path_changed(ready),
        )

    def _make_clearance(self) -> Clearance:
        return Clearance(
            store=self._around.store,
            policy=self._around.policy,
            limits=self._around.limits,
            requeuer=self.requeuer,
            counters=self.counters,
            lines=self.budgets.lines,
        )

    def _make_promoter(self) -> Promoter:
        return Promoter(
            ready_queues=self.ready_queues,
            routing=self.routing,
            outset=Outset(self.tables, self.classes, self.routing, self.steps, self.under_way, self._around.store),
            spending=self._make_spending(),
            offering=Offering(self.ready_queues, self._around.limits, self._around.clock),
            direct=self.direct,
            resting=self._resting,
            requeuer=self.requeuer,
            ledger=self.ledger,
            counters=self.counters,
            bodies=self._bodies,
        )

    def _make_spending(self) -> Spending:
        return Spending(
            store=self._around.store,
            budgets=self.budgets,
            routing=self.routing,
            steps=self.steps,
            stages=self.stages,
            requeuer=self.requeuer,
            ledger=self.ledger,
        )

    def _make_recovery(self, suspects: Mapping[SpoolId, Suspect]) -> Recovery:
        return Recovery(
            store=self._around.store,
            policy=self._around.policy,
            queues=self.queues,
            requeuer=self.requeuer,
            waiting=self.waiting,
            ledger=self.ledger,
            clock=self._around.clock,
            suspects=suspects,
        )
