"""Promotion: from due to a place in a ready queue, or back with a reason.

In this order: the spool must be sound, the queue's own rate must allow it,
policy may hold the message up (`throttle_insert_ready_queue`), and a source
must be found whose ready queue has room. A message whose route is known goes
through without a wait; one whose route must be looked up waits for DNS and
policy by itself, holding up neither the client nor other messages.

Public: `Promoter`. What can go wrong: an error in `throttle_insert_ready_queue`
is raised to the caller; no route is a transient failure of the message.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError, PolicyError
from kumotwist.core.interfaces import Limits, MessageStore, OpenRequest, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.schedule import format_rfc3339
from kumotwist.core.units import format_duration
from kumotwist.net.clock import Clock
from kumotwist.proto.translate.whom import needs_body
from kumotwist.queue import reasons as why
from kumotwist.queue.counters import Counters
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.present import message_rate_key
from kumotwist.queue.ready import Bodies, ReadyQueue
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.route import Route
from kumotwist.queue.routes.budget import Budgets, Held, Over
from kumotwist.queue.routes.line import LOOK_EVERY
from kumotwist.queue.routing import Routing, Traveller, pin_of
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.settle import Settler
from kumotwist.queue.stages import Stages

log: Final = Logger()

#: Seconds to wait while the spool is unhealthy. Ours: a restart mends it, or an operator who makes room.
_UNHEALTHY_DELAY: Final = 60.0


@frozen
class _Refusal:
    """Why no source took a message; `rest` in seconds when some have to rest."""

    is_any_full: bool
    is_any_held_up: bool
    rest: float | None


@define(eq=False)
class Promoter:
    """Finds due messages their ready queue."""

    store: MessageStore
    policy: QueuePolicy
    limits: Limits
    ready_queues: ReadyQueues
    requeuer: Requeuer
    settler: Settler
    ledger: Ledger
    clock: Clock
    counters: Counters
    bodies: Bodies
    routing: Routing
    stages: Stages
    budgets: Budgets
    #: Searches for a route that are under way.
    searching: int = field(default=0, init=False)
    #: Deliveries without a ready queue that are under way.
    delivering: int = field(default=0, init=False)

    async def admit(self, queue: ScheduledQueue, message: Message, reason: str, now: float) -> bool:
        """Whether the message may go on to a ready queue; if not, it has been put back.

        Raises what `throttle_insert_ready_queue` raises.
        """
        if not self.store.is_healthy:
            response = internal(451, "4.3.2 the spool is unhealthy and delivery cannot safely proceed")
            await self.requeuer.postpone(queue, message, response, (reason, why.SPOOL_UNHEALTHY), _UNHEALTHY_DELAY)
            return False
        if queue.config.max_message_rate is not None and not await self._pass_rate(queue, message, reason):
            return False
        await self.policy.throttle_insert_ready_queue(message)
        if message.due <= now:
            return True
        name = queue.name.text
        self.counters.throttled_by_event[name] += 1
        text = (
            f"4.4.4 {name} throttle_insert_ready_queue event throttled message rate, due={format_rfc3339(message.due)}"
        )
        await self.requeuer.postpone(queue, message, internal(451, text), (reason, why.THROTTLED_BY_EVENT))
        return False

    def place(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        """Put an admitted message into its ready queue if that is known and has room."""
        if message.course is not None:
            return False  # `search` sets it out
        name = self.routing.own_table_name(queue, message)
        route = self.ready_queues.routes.find(queue) if name is None else self._known_route(queue, message, name)
        if route is None or now >= route.until:
            return False
        ready = route.sole
        return ready is not None and ready.put(message, queue, now)

    async def search(self, queue: ScheduledQueue, message: Message, reason: str) -> None:
        """Look up the route of an admitted message and place it, or put it back; raises nothing."""
        self.searching += 1
        try:
            traveller = await self._set_out(queue, message)
            await self._go(queue, message, reason, traveller)
        except CancelledError:
            raise
        except Exception as error:
            await self._lose_the_way(queue, message, reason, error)
        finally:
            self.searching -= 1

    async def go_on(self, queue: ScheduledQueue, message: Message, traveller: Traveller) -> None:
        """The same attempt over another route of the message's table; raises nothing."""
        try:
            await self._go(queue, message, why.NEXT_ROUTE, traveller)
        except CancelledError:
            raise
        except Exception as error:
            await self._lose_the_way(queue, message, why.NEXT_ROUTE, error)

    def _known_route(self, queue: ScheduledQueue, message: Message, name: str) -> Route | None:
        """The route that the message's table chooses, when table and route are at hand."""
        table = self.routing.fresh_table(name)
        if table is None or table.config.fallback:
            return None  # `search` asks policy, and begins what has stages
        class_ = self.routing.class_at_hand(table, message)
        if class_ is None:
            return None  # `search` asks for it
        try:
            traveller = self.routing.set_out(message, table, class_)
        except PolicyError:
            return None  # `search` will say so
        if traveller is None or traveller.entry.budgets:
            return None  # `search` asks whether there is room
        entry = traveller.entry
        route = self.ready_queues.routes.find(queue, (table.config.name, entry.name))
        return route if route is not None and route.leads(entry.protocol, entry.egress_pool) else None

    async def _set_out(self, queue: ScheduledQueue, message: Message) -> Traveller | None:
        """By the message's table, unless `place` did already; None without one."""
        name = self.routing.table_name(queue, message)
        if name is None:
            return None
        table = await self.routing.table(name)
        if table.config.fallback and message.course is None:
            await self.stages.begin(queue, message, table.config)
        traveller = self.routing.traveller(message)
        if traveller is None:
            traveller = self.routing.set_out(message, table, await self.routing.class_of(table, message))
        if message.course is not None:
            self.stages.set_out(message)
        return traveller

    async def _go(self, queue: ScheduledQueue, message: Message, reason: str, traveller: Traveller | None) -> None:
        """Place the message, over the next route of its table as long as the one at hand has no room."""
        while True:
            if traveller is not None and traveller.entry.budgets:
                traveller = await self._within_budget(queue, message, reason, traveller)
                if traveller is None:
                    return
            route = await self._route_of(queue, message, traveller)
            if route.channel.delivers_at_once:
                await self._deliver(queue, route, message)
                return
            refusal = await self._offer(queue, route, message)
            if refusal is None:
                return
            following = self.routing.after(message, traveller)
            if following is None:
                self.routing.arrive(message)
                await self._put_back(queue, route, message, reason, refusal)
                return
            traveller = following

    async def _within_budget(
        self, queue: ScheduledQueue, message: Message, reason: str, traveller: Traveller
    ) -> Traveller | None:
        """The traveller on a route whose budgets have room; None when the message has been put back or bounced."""
        while overs := await self._take(message, traveller):
            if len(message.recipients) > 1:
                # Some of them may have room; nobody is held up or refused for another.
                await self.stages.part(queue, message, traveller.table.config)
                continue
            over, way = overs[0], f"route {traveller.way.table}/{traveller.way.route}"
            if over.budget.over == "next_route" and pin_of(message) is None:
                following = self.routing.set_out(message, traveller.table, traveller.way.name, traveller.tried)
                if following is not None:
                    traveller = following
                    continue
            if over.budget.over == "reject":
                await self._reject(queue, message, traveller, internal(550, f"5.7.1 {way}: {over}"))
            else:
                held = self.budgets.hold(message, [one for one in overs if one.budget.over != "reject"])
                await self._hold(queue, message, reason, way, held)
            self.routing.arrive(message)
            return None
        return traveller

    async def _hold(self, queue: ScheduledQueue, message: Message, reason: str, way: str, held: Held) -> None:
        """Until its turn, or until it is looked at whether there is room sooner; told when it begins."""
        text, wait = f"{way}: {held.over}", min(held.wait, LOOK_EVERY)
        reasons = (reason, why.BUDGET_USED_UP, text)
        if not held.is_new:
            await self.requeuer.hold(queue, message, reasons, wait, is_news=False)
            return
        response = internal(451, f"4.4.4 {text}, delay={format_duration(math.ceil(held.wait))}")
        await self.requeuer.postpone(queue, message, response, reasons, wait)

    async def _take(self, message: Message, traveller: Traveller) -> tuple[Over, ...]:
        """Its part of the budgets of the route; those that have no room."""
        if message.body is None and needs_body(traveller.entry.protocol):
            await self.store.load_body(message)  # to whom it goes stands in its header
        return await self.budgets.take(message, traveller.way.table, traveller.entry)

    async def _reject(self, queue: ScheduledQueue, message: Message, traveller: Traveller, response: Response) -> None:
        """The end of the message, or of the stage that it is on."""
        leg = Leg("", traveller.entry.egress_pool, None, way=traveller.way)
        outcome = Outcome(Verdict.PERMANENT, response)
        if message.course is None or not await self.stages.settled(queue, message, leg, outcome):
            await self.ledger.end(RecordType.BOUNCE, queue, message, response, leg)

    async def _lose_the_way(self, queue: ScheduledQueue, message: Message, reason: str, error: Exception) -> None:
        self.routing.arrive(message)
        if not isinstance(error, KumotwistError):
            log.failure("looking for the route of {queue} failed", queue=queue.name.text)
        await self._fail(queue, message, reason, f"failed to resolve queue {queue.name.text}: {error}")

    async def _route_of(self, queue: ScheduledQueue, message: Message, traveller: Traveller | None) -> Route:
        """The route; while it is looked up the body counts among those of the ready queues."""
        self.bodies.hold(message)
        try:
            if traveller is None:
                return await self.ready_queues.route_of(queue)
            return await self.ready_queues.route_of(queue, traveller.way.table, traveller.entry)
        finally:
            self.bodies.let_go(message)

    async def _pass_rate(self, queue: ScheduledQueue, message: Message, reason: str) -> bool:
        rate, name = queue.config.max_message_rate, queue.name.text
        wait = await self.limits.throttle(message_rate_key(name), rate) if rate is not None else 0.0
        if wait == 0:
            return True
        self.counters.throttled_by_rate[name] += 1
        response = internal(451, f"4.4.4 {name} throttled message rate, delay={format_duration(wait)}")
        await self.requeuer.postpone(queue, message, response, (reason, why.MESSAGE_RATE_THROTTLE), wait)
        return False

    async def _offer(self, queue: ScheduledQueue, route: Route, message: Message) -> _Refusal | None:
        """Offer the message to the sources in turn until one has room and is allowed more; why none was."""
        left = list(range(len(route.pool.sources)))
        is_any_full = is_any_held_up = False
        rested: list[float] = []
        while left:
            position = left[route.robin.pick([route.pool.weights[one] for one in left])]
            ready = await self.ready_queues.ready_at(queue, route, position)
            if (rest := ready.rests_until - self.clock.seconds()) > 0:
                rested.append(rest)
            elif len(ready) < ready.max_ready and not await self._may_select(ready):
                is_any_held_up = True
            elif ready.put(message, queue, self.clock.seconds()):
                return None
            else:
                ready.totals.full += 1
                is_any_full = True
            left.remove(position)
        return _Refusal(is_any_full, is_any_held_up, min(rested, default=None))

    async def _put_back(
        self, queue: ScheduledQueue, route: Route, message: Message, reason: str, refusal: _Refusal
    ) -> None:
        """No source takes the message now."""
        if refusal.is_any_full:
            self.counters.ready_full[queue.name.text] += 1
            await self.requeuer.hold(queue, message, (reason, why.READY_QUEUE_WAS_FULL))
            return
        if refusal.rest is not None:
            await self.requeuer.hold(queue, message, (reason, why.SOURCE_RESTS), refusal.rest)
            return
        name, pool = queue.name.text, route.pool.name
        if refusal.is_any_held_up:
            text = f"no sources for {name} pool=`{pool}` are eligible for selection at this time"
        else:
            text = f"no sources available for {name} pool=`{pool}`"
        await self._fail(queue, message, reason, text, internal(451, f"4.4.4 {text}"), pool)

    async def _may_select(self, ready: ReadyQueue) -> bool:
        for key, rate in ready.selection_rates:
            if await self.limits.throttle(key, rate) > 0:
                return False
        return True

    async def _fail(
        self,
        queue: ScheduledQueue,
        message: Message,
        reason: str,
        text: str,
        recorded: Response | None = None,
        pool: str | None = None,
    ) -> None:
        """A transient failure on the way to the ready queue; `recorded` is what the record says of it."""
        response = recorded or Response.parse(451, f"4.4.4 {text}")
        await self.ledger.note(RecordType.TRANSIENT_FAILURE, queue, message, response, Leg("", pool, None))
        told = internal(451, f"4.4.4 {queue.name.text} error while inserting into ready queue: {text}")
        reasons = (reason, why.LOGGED_TRANSIENT_FAILURE, why.FAILED_TO_INSERT)
        await self.requeuer.retry(queue, message, told, reasons)

    async def _deliver(self, queue: ScheduledQueue, route: Route, message: Message) -> None:
        """Deliver without a ready queue, for channels that have nothing to wait for."""
        ready = await self.ready_queues.ready_at(queue, route, 0)
        session = route.channel.open(
            OpenRequest(queue_name=queue.name, site=route.site, source=ready.source, path=ready.path)
        )
        self.delivering += 1
        try:
            if message.body is None:
                await self.store.load_body(message)
            await session.connect()
            outcomes = (await session.deliver((message,)))[0]
        except CancelledError:
            raise
        except Exception as error:
            failed = Outcome(Verdict.TRANSIENT, internal(400, f"error in deliver_message: {error}"))
            outcomes = (failed,) * len(message.recipients)
        finally:
            self.delivering -= 1
            await session.close()
        await self.settler.settle(ready, (message, queue), outcomes)
