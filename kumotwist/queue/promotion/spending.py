"""Spending: a message takes its part of the budgets of its route, or does not go by it now.

What a budget has no room for takes another route, bounces, or waits for its
turn, as the budget's `over` says. Of several recipients some may have room:
then each goes on by itself.

Public: `Spending`. What can go wrong: StateUnavailable, when what has been taken cannot be read or written, and
what the store raises.
"""

from __future__ import annotations

import math

from attrs import define

from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.units import format_duration
from kumotwist.proto.translate.whom import needs_body
from kumotwist.queue import reasons as why
from kumotwist.queue.fallback.stages import Stages
from kumotwist.queue.fallback.steps import Steps
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.routes.budget import Budgets, Held, Over
from kumotwist.queue.routes.line import LOOK_EVERY, PATIENCE
from kumotwist.queue.routing import Routing, Traveller, pin_of
from kumotwist.queue.scheduled import ScheduledQueue


@define(eq=False)
class Spending:
    """Asks `budgets` on behalf of messages, and sees to those that have to stay behind."""

    store: MessageStore
    budgets: Budgets
    routing: Routing
    steps: Steps
    stages: Stages
    requeuer: Requeuer
    ledger: Ledger

    async def spend(
        self, queue: ScheduledQueue, message: Message, reason: str, traveller: Traveller
    ) -> Traveller | None:
        """The traveller on a route whose budgets had room; None when the message has been put back or bounced."""
        full: list[tuple[Traveller, list[Over]]] = []
        while overs := await self._take(message, traveller):
            if len(message.recipients) > 1:
                # Some of them may have room; nobody is held up or refused for another.
                await self.steps.part(queue, message, traveller.table.config)
                continue
            over = overs[0]
            full.append((traveller, [one for one in overs if one.budget.over != "reject"]))
            if over.budget.over == "next_route" and pin_of(message) is None:
                following = self.routing.further(message, traveller)
                if following is not None:
                    traveller = following
                    continue
            if over.budget.over == "reject":
                await self._reject(queue, message, traveller, internal(550, f"5.7.1 {_name(traveller)}: {over}"))
            else:
                there, overs_there = min(full, key=lambda one: self.budgets.rank(message, one[1]))
                held = self.budgets.hold(message, overs_there)
                self.routing.keep(message, traveller)
                self.routing.go_back(message, there)
                await self._hold(queue, message, reason, _name(there), held)
            return None
        return traveller

    def let_go(self, message: Message) -> None:
        """A message that was held has room now, or goes another way."""
        self.budgets.lines.leave(message.id)
        if message.kept is not None:
            message.set_kept(None)

    async def _take(self, message: Message, traveller: Traveller) -> tuple[Over, ...]:
        """Its part of the budgets of the route; those that have no room."""
        if message.body is None and needs_body(traveller.entry.protocol):
            await self.store.load_body(message)  # to whom it goes stands in its header
        return await self.budgets.take(message, traveller.way.table, traveller.entry)

    async def _hold(self, queue: ScheduledQueue, message: Message, reason: str, way: str, held: Held) -> None:
        """Until it is called, or looks by itself whether there is room; told when it begins."""
        text, wait = f"{way}: {held.over}", min(held.wait + PATIENCE, LOOK_EVERY)
        reasons = (reason, why.BUDGET_USED_UP, text)
        if not held.is_new:
            await self.requeuer.hold(queue, message, reasons, wait, is_news=False)
            return
        response = internal(451, f"4.4.4 {text}, delay={format_duration(math.ceil(held.wait))}")
        await self.requeuer.postpone(queue, message, response, reasons, wait)

    async def _reject(self, queue: ScheduledQueue, message: Message, traveller: Traveller, response: Response) -> None:
        """The end of the message, or of the stage that it is on."""
        leg = Leg("", traveller.entry.egress_pool, None, way=traveller.way)
        outcome = Outcome(Verdict.PERMANENT, response)
        if message.course is None or not await self.stages.settled(queue, message, leg, outcome):
            await self.ledger.end(RecordType.BOUNCE, queue, message, response, leg)


def _name(traveller: Traveller) -> str:
    return f"route {traveller.way.table}/{traveller.way.route}"
