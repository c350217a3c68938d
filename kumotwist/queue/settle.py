"""The settler: turns the outcomes of an attempt into what happens to the message.

It alone does. Delivered and refused recipients leave the message, the rest is
put back; each distinct response is one record that lists its recipients. A
refusal by the peer may be judged anew by policy (`smtp_client_rewrite_delivery_status`).

Public: `Settler`. What can go wrong: policy's rewriting fails, which is logged
and leaves the peer's own code standing; a channel that gives fewer outcomes
than there are recipients, which leaves the others to be tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attrs import define, evolve
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.egress import UNSPECIFIED
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import KumotwistError
from kumotwist.core.interfaces import MessageStore, QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.outcome import SOURCE_REST, Outcome, Scope, Verdict
from kumotwist.core.records import RecordType
from kumotwist.core.response import INTERNAL_PREFIX, internal
from kumotwist.queue import reasons as why
from kumotwist.queue.fallback.stages import Stages
from kumotwist.queue.learning import Learning
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.ready import Item, ReadyQueue
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.resting import Resting
from kumotwist.queue.routing import Routing, Traveller
from kumotwist.queue.scheduled import ScheduledQueue

log: Final = Logger()

_RECORD_OF: Final = {
    Verdict.DELIVERED: RecordType.DELIVERY,
    Verdict.TRANSIENT: RecordType.TRANSIENT_FAILURE,
    Verdict.PERMANENT: RecordType.BOUNCE,
}
_NO_OUTCOME: Final = Outcome(
    Verdict.TRANSIENT, internal(400, "error in deliver_message: the channel gave no outcome for this recipient")
)


@define(eq=False)
class Settler:
    """Acts on outcomes."""

    ledger: Ledger
    store: MessageStore
    policy: QueuePolicy
    requeuer: Requeuer
    routing: Routing
    resting: Resting
    learning: Learning
    #: Puts a message that has been set out over another route into its ready queue, or back to wait; see `Promoter`.
    go_on: Callable[[ScheduledQueue, Message, Traveller], Awaitable[None]]
    stages: Stages

    async def settle(self, ready: ReadyQueue, item: Item, outcomes: Sequence[Outcome]) -> None:
        """Apply the outcomes of one attempt, one per recipient by position, to one message."""
        message, queue = item
        if message.course is not None and not outcomes:
            outcomes = (_NO_OUTCOME,)
        if len(outcomes) != 1 or len(message.recipients) != 1:
            await self._settle_many(ready, queue, message, outcomes)
        elif outcomes[0].verdict is Verdict.DELIVERED:
            await self.settle_alike(ready, item, outcomes[0])
        else:
            await self.settle_alike(ready, item, await self._judged(queue, outcomes[0]))

    async def settle_alike(
        self, ready: ReadyQueue, item: Item, outcome: Outcome, reason: str = why.LOGGED_TRANSIENT_FAILURE
    ) -> None:
        """The same outcome for all recipients, though none was attempted; `reason` goes with a retry."""
        message, queue = item
        leg = self._leg(ready, queue, message)
        kind = _RECORD_OF[outcome.verdict]
        self.learning.learn(message, outcome)
        if outcome.verdict is not Verdict.TRANSIENT:
            self.routing.arrive(message)
            if message.course is None or not await self.stages.settled(queue, message, leg, outcome):
                await self.ledger.end(kind, queue, message, outcome.response, leg, outcome)
            return
        await self.ledger.note(kind, queue, message, outcome.response, leg, outcome)
        await self._on(queue, message, outcome, _logged(reason), outcome.retry_after or 0.0)

    async def go_elsewhere(
        self, queue: ScheduledQueue, message: Message, outcome: Outcome, was_tried: bool = True
    ) -> bool:
        """Have the attempt go on over the next route of the message's table; whether it does.

        `was_tried`: the outcome is the message's own, and its table knows it.
        """
        traveller = self.routing.after_failure(message, outcome, was_tried)
        if traveller is None:
            return False
        await self.go_on(queue, message, traveller)
        return True

    async def rest(
        self,
        queue: ScheduledQueue,
        message: Message,
        outcome: Outcome,
        reasons: tuple[str, ...] = (why.SOURCE_RESTS,),
        was_tried: bool = True,
    ) -> None:
        """The source has to rest: on over another route, or later, uncharged, and with the turn that it had."""
        traveller = self.routing.traveller(message)
        patience = self.routing.patience(message, outcome.retry_after or SOURCE_REST)
        if await self.go_elsewhere(queue, message, outcome, was_tried):
            return
        if traveller is not None:
            self.resting.wait(message, traveller)
        await self.requeuer.postpone(queue, message, outcome.response, reasons, patience)

    def _leg(self, ready: ReadyQueue, queue: ScheduledQueue, message: Message) -> Leg:
        traveller = self.routing.traveller(message)
        if traveller is None:
            return Leg(ready.name, queue.pool_name, ready.source.name, ready.path.provider_name)
        pool = traveller.entry.egress_pool or UNSPECIFIED
        return Leg(ready.name, pool, ready.source.name, ready.path.provider_name, traveller.way)

    async def _settle_many(
        self, ready: ReadyQueue, queue: ScheduledQueue, message: Message, outcomes: Sequence[Outcome]
    ) -> None:
        leg = self._leg(ready, queue, message)
        groups: dict[tuple[object, ...], tuple[Outcome, list[EnvelopeAddress]]] = {}
        left: list[EnvelopeAddress] = []
        for position, recipient in enumerate(message.recipients):
            outcome = outcomes[position] if position < len(outcomes) else _NO_OUTCOME
            outcome = await self._judged(queue, outcome)
            self.learning.learn(message, outcome)
            group = (
                outcome.verdict,
                outcome.response,
                outcome.remote_id,
                outcome.is_address_dead,
                outcome.scope,
                outcome.is_ambiguous,
            )
            groups.setdefault(group, (outcome, []))[1].append(recipient)
            if outcome.verdict is Verdict.TRANSIENT:
                left.append(recipient)
        for outcome, recipients in groups.values():
            await self.ledger.note(
                _RECORD_OF[outcome.verdict], queue, message, outcome.response, leg, outcome, recipients
            )
        if not left:
            self.ledger.forget(message)
            return
        if len(left) < len(message.recipients):
            message.set_recipients(tuple(left))
            await self._save_recipients(message)
        again = [outcome for outcome, _ in groups.values() if outcome.verdict is Verdict.TRANSIENT]
        at_least = max(outcome.retry_after or 0.0 for outcome in again)
        # Who may have the message already must not get it by another route for the sake of others.
        worst = max(again, key=lambda outcome: (outcome.is_ambiguous, outcome.scope is not Scope.SOURCE))
        await self._on(queue, message, worst, (why.LOGGED_TRANSIENT_FAILURE,), at_least)

    async def _on(
        self, queue: ScheduledQueue, message: Message, outcome: Outcome, reasons: tuple[str, ...], at_least: float
    ) -> None:
        """By another route, or later: charged an attempt, unless the source had to rest: not the message's fault."""
        if outcome.scope is Scope.SOURCE:
            await self.rest(queue, message, outcome, (*reasons, why.SOURCE_RESTS))
        elif not await self.go_elsewhere(queue, message, outcome):
            await self.requeuer.retry(queue, message, outcome.response, reasons, at_least)

    async def _save_recipients(self, message: Message) -> None:
        """At once: policy's requeue_message may take its time, and nobody is to get the message twice."""
        try:
            await self.store.save_meta_later(message)
        except CancelledError:
            raise
        except KumotwistError as error:
            log.error("recipients of {id} are not saved: {error}", id=message.id.hex(), error=error)

    async def _judged(self, queue: ScheduledQueue, outcome: Outcome) -> Outcome:
        """The outcome with the code that policy gives to a peer's reply, if it gives one."""
        response = outcome.response
        if response.code == 250 or response.command is None or response.content.startswith(INTERNAL_PREFIX):
            return outcome
        try:
            code = await self.policy.rewrite_delivery_status(response.to_line(), queue.name)
        except CancelledError:
            raise
        except Exception as error:
            log.error("smtp_client_rewrite_delivery_status failed: {error}", error=error)
            return outcome
        if code is None or code == response.code:
            return outcome
        content = f"{response.content} (kumomta: status was rewritten from {response.code} -> {code})"
        return evolve(outcome, verdict=_verdict_of(code), response=evolve(response, code=code, content=content))


def _verdict_of(code: int) -> Verdict:
    """What an SMTP reply code decides (semantics j.4)."""
    if 200 <= code <= 299:
        return Verdict.DELIVERED
    return Verdict.TRANSIENT if 300 <= code <= 499 or code == 503 else Verdict.PERMANENT


def _logged(reason: str) -> tuple[str, ...]:
    if reason == why.LOGGED_TRANSIENT_FAILURE:
        return (reason,)
    return (reason, why.LOGGED_TRANSIENT_FAILURE)
