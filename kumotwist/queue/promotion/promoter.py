"""The promoter: finds a message that may go its place in a ready queue, or puts it back with a reason.

A message whose route is known goes through without a wait (`place`); one whose
route must be looked up waits for DNS and policy by itself (`search`), holding
up neither the client nor other messages. By a route table the next route is
tried as long as the one at hand has no room.

Public: `Promoter`. What can go wrong: no route is a transient failure of the message.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.core.message import Message
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response, internal
from kumotwist.queue import reasons as why
from kumotwist.queue.counters import Counters
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.promotion.direct import Direct
from kumotwist.queue.promotion.offering import Offering, Refusal
from kumotwist.queue.promotion.outset import Outset
from kumotwist.queue.promotion.spending import Spending
from kumotwist.queue.ready import Bodies
from kumotwist.queue.readyqueues import ReadyQueues
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.resting import Resting
from kumotwist.queue.route import Route
from kumotwist.queue.routing import Routing, Traveller, table_name_of
from kumotwist.queue.scheduled import ScheduledQueue

log: Final = Logger()


@define(eq=False)
class Promoter:
    """Finds messages their ready queue."""

    ready_queues: ReadyQueues
    routing: Routing
    outset: Outset
    spending: Spending
    offering: Offering
    direct: Direct
    resting: Resting
    requeuer: Requeuer
    ledger: Ledger
    counters: Counters
    bodies: Bodies
    #: Searches for a route that are under way.
    searching: int = field(default=0, init=False)

    def place(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        """Put a message into its ready queue if that is known and has room."""
        if message.course is not None or message.kept is not None:
            return False  # `search` sets it out
        name = table_name_of(message, queue.config)
        route = self.ready_queues.routes.find(queue) if name is None else self._known_route(queue, message, name)
        if route is None or now >= route.until:
            return False
        ready = route.sole
        return ready is not None and ready.put(message, queue, now)

    async def search(self, queue: ScheduledQueue, message: Message, reason: str) -> None:
        """Look up the route of a message and place it, or put it back; raises nothing."""
        self.searching += 1
        try:
            traveller = await self.outset.find(queue, message)
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
        traveller = self.outset.at_hand(message, name)
        if traveller is None or traveller.entry.budgets:
            return None  # `search` asks whether there is room
        entry = traveller.entry
        route = self.ready_queues.routes.find(queue, (traveller.way.table, entry.name))
        return route if route is not None and route.leads(entry.protocol, entry.egress_pool) else None

    async def _go(self, queue: ScheduledQueue, message: Message, reason: str, traveller: Traveller | None) -> None:
        """Place the message, over the next route of its table as long as the one at hand has no room."""
        has_waited = message.id in self.resting.sleepers
        self.resting.sleepers.remove(message.id)
        while True:
            if traveller is not None and traveller.entry.budgets:
                traveller = await self.spending.spend(queue, message, reason, traveller)
                if traveller is None:
                    return
            self.spending.let_go(message)
            route = await self._route_of(queue, message, traveller)
            if self.outset.under_way.turns_back(queue, message):
                return
            if route.channel.delivers_at_once:
                await self.direct.deliver(queue, route, message)
                return
            refusal = await self.offering.offer(queue, route, message)
            if refusal is None:
                return
            rest = self.resting.note(queue, message) if refusal.rest is not None else 0.0
            following = self.routing.after_refusal(message, traveller, rest)
            if following is None:
                if traveller is not None and refusal.is_any_full and traveller.entry.budgets:
                    self.routing.keep(message, traveller)  # what it has taken of budgets is for this route
                elif traveller is not None and refusal.rest is not None and not refusal.is_any_full:
                    self.resting.wait(message, traveller, has_waited)
                await self._put_back(queue, route, message, reason, refusal, has_waited)
                return
            traveller = following

    async def _route_of(self, queue: ScheduledQueue, message: Message, traveller: Traveller | None) -> Route:
        """The route; while it is looked up the body counts among those of the ready queues."""
        self.bodies.hold(message)
        try:
            if traveller is None:
                return await self.ready_queues.route_of(queue)
            return await self.ready_queues.route_of(queue, traveller.way.table, traveller.entry)
        finally:
            self.bodies.let_go(message)

    async def _put_back(
        self,
        queue: ScheduledQueue,
        route: Route,
        message: Message,
        reason: str,
        refusal: Refusal,
        has_waited: bool,
    ) -> None:
        """No source takes the message now; that it has waited for a rest is no news."""
        if refusal.is_any_full:
            self.counters.ready_full[queue.name.text] += 1
            await self.requeuer.hold(queue, message, (reason, why.READY_QUEUE_WAS_FULL))
            return
        if refusal.rest is not None:
            patience = self.routing.patience(message, refusal.rest.left(self.requeuer.clock.seconds()))
            reasons = (reason, why.SOURCE_RESTS)
            await self.requeuer.hold(queue, message, reasons, patience, is_news=not has_waited)
            return
        name, pool = queue.name.text, route.pool.name
        if refusal.is_any_held_up:
            text = f"no sources for {name} pool=`{pool}` are eligible for selection at this time"
        else:
            text = f"no sources available for {name} pool=`{pool}`"
        await self._fail(queue, message, reason, text, internal(451, f"4.4.4 {text}"), pool)

    async def _lose_the_way(self, queue: ScheduledQueue, message: Message, reason: str, error: Exception) -> None:
        if not isinstance(error, KumotwistError):
            log.failure("looking for the route of {queue} failed", queue=queue.name.text)
        text = f"failed to resolve queue {queue.name.text}: {error}"
        await self._fail(queue, message, reason, text, Response.parse(451, f"4.4.4 {text}"))

    async def _fail(
        self,
        queue: ScheduledQueue,
        message: Message,
        reason: str,
        text: str,
        recorded: Response,
        pool: str | None = None,
    ) -> None:
        """A transient failure on the way to the ready queue; `recorded` is what the record says of it."""
        await self.ledger.note(RecordType.TRANSIENT_FAILURE, queue, message, recorded, Leg("", pool, None))
        told = internal(451, f"4.4.4 {queue.name.text} error while inserting into ready queue: {text}")
        reasons = (reason, why.LOGGED_TRANSIENT_FAILURE, why.FAILED_TO_INSERT)
        await self.requeuer.retry(queue, message, told, reasons)
