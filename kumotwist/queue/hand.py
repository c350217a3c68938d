"""What a dispatcher has taken from its ready queue and not yet settled.

Messages enter one by one, each passing the path's rates, and leave in one of
five ways: settled after an attempt, settled without one, held up, put back
where they came from, or withdrawn before anything went on the wire.

Public: `Hand`, `Means`. What can go wrong: a body that the spool has lost ends
its message; one that cannot be read now holds it up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.interfaces import Limits, MessageStore
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome
from kumotwist.core.records import RecordType
from kumotwist.core.response import Response, internal
from kumotwist.core.stats import Histogram
from kumotwist.net.clock import Clock, sleep
from kumotwist.queue import reasons as why
from kumotwist.queue.ledger import Ledger, Leg
from kumotwist.queue.ready import Item, ReadyQueue
from kumotwist.queue.requeue import Requeuer
from kumotwist.queue.resting import Resting
from kumotwist.queue.routing import Traveller
from kumotwist.queue.settle import Settler

log: Final = Logger()

#: Messages put back between two turns of the reactor. Ours: a few milliseconds' work.
_SLICE: Final = 64


@frozen
class Means:
    """What all dispatchers work with; `latency` times deliveries per protocol."""

    store: MessageStore
    limits: Limits
    settler: Settler
    requeuer: Requeuer
    resting: Resting
    ledger: Ledger
    clock: Clock
    latency: dict[str, Histogram]


class Hand:
    """The messages of one dispatcher."""

    __slots__ = ("_items", "_means", "_ready", "_withdrawn")

    def __init__(self, ready: ReadyQueue, means: Means) -> None:
        self._ready = ready
        self._means = means
        self._items: list[Item] = []
        #: Those by a route table that were withdrawn since the last one was taken, and how they were on their way.
        self._withdrawn: list[tuple[Message, Traveller]] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def messages(self) -> list[Message]:
        """The messages, first taken first."""
        return [message for message, _ in self._items]

    async def take(self) -> bool:
        """Take the next message; False when the rates do not let it go along now.

        It is then back in the ready queue, withdrawn, or, when the wait would be longer
        than an idle connection is kept, everything is held up and the hand is empty.
        """
        self._withdrawn = []
        self._items.append(self._ready.take())
        return not self._ready.rates or await self._pass_rates(self._items[-1])

    async def settle(self, outcomes: Sequence[Sequence[Outcome]]) -> None:
        """Apply the outcomes of an attempt, by position; the hand is empty then."""
        items, self._items, self._withdrawn = self._items, [], []
        for position, item in enumerate(items):
            of_this = outcomes[position] if position < len(outcomes) else ()
            try:
                await self._means.settler.settle(self._ready, item, of_this)
            except CancelledError:
                raise
            except Exception:
                # A defect of ours must not take the rest of the batch along; the spool still has the message.
                log.failure("message {id} waits for the next start", id=item[0].id.hex())
                self._means.settler.routing.arrive(item[0])

    async def settle_alike(
        self, outcome: Outcome, is_for_all: bool = False, reason: str = why.LOGGED_TRANSIENT_FAILURE
    ) -> None:
        """Apply one outcome to everything in hand, and in the ready queue when it `is_for_all`.

        Of what waited for it in vain the route tables hear the same.
        """
        withdrawn, self._withdrawn = self._withdrawn, []
        for message, traveller in withdrawn:
            self._means.settler.learning.learn_of(traveller, message, outcome)
        async for item in self._emptied(is_for_all):
            await self._means.settler.settle_alike(self._ready, item, outcome, reason)

    async def hold_all(self, response: Response, reason: str, delay: float) -> None:
        """Hold up everything in hand and in the ready queue, uncharged."""
        async for message, queue in self._emptied(True):
            await self._means.requeuer.postpone(queue, message, response, (reason,), delay)

    def note_rest(self) -> None:
        """Tell the route tables of what is in hand that the source rests."""
        for message, queue in self._items:
            self._means.resting.note(queue, message)

    async def leave(self, outcome: Outcome) -> None:
        """The source rests: over another route if there is one, else held up, uncharged."""
        async for message, queue in self._emptied(True):
            await self._means.settler.rest(queue, message, outcome, was_tried=False)

    async def give_up(self, response: Response) -> None:
        """Hold up what is in hand because its session makes no progress."""
        async for message, queue in self._emptied(False):
            ready = self._ready
            leg = Leg(ready.name, queue.pool_name, ready.source.name, ready.path.provider_name)
            await self._means.ledger.note(RecordType.DELAYED, queue, message, response, leg)
            await self._means.requeuer.postpone(queue, message, response, (why.DISPATCHER_DROP,))

    def withdraw(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take those out, in their order; nothing of them may be on the wire."""
        taken = [item for item in self._items if wanted(item)]
        if taken:
            self._items = [item for item in self._items if not wanted(item)]
            routing = self._means.settler.routing
            travellers = [(message, routing.traveller(message)) for message, _ in taken]
            self._withdrawn += [(message, traveller) for message, traveller in travellers if traveller is not None]
        return taken

    def put_back(self) -> None:
        """Return everything to the head of the ready queue."""
        self._ready.put_back(self._items)
        self._items = []

    async def load_bodies(self) -> None:
        """Read the bodies that are missing; a message without one leaves the hand."""
        for item in [item for item in self._items if item[0].body is None]:
            message, queue = item
            try:
                await self._means.store.load_body(message)
            except CancelledError:
                raise
            except SpoolCorrupt as error:
                if self._drop(item):
                    response = internal(554, f"5.3.0 the stored message cannot be read: {error}")
                    await self._means.ledger.end(RecordType.BOUNCE, queue, message, response)
            except Exception as error:
                if self._drop(item):
                    log.failure("the body of {id} cannot be read now", id=message.id.hex())
                    response = internal(451, f"4.3.0 the stored message cannot be read now: {error}")
                    await self._means.requeuer.postpone(queue, message, response, (why.SPOOL_UNHEALTHY,))

    def _drop(self, item: Item) -> bool:
        """Take one out; False when it has been withdrawn meanwhile."""
        is_here = item in self._items
        if is_here:
            self._items.remove(item)
        return is_here

    async def _pass_rates(self, item: Item) -> bool:
        """Wait until the message taken last may go. A rate that it has passed is not charged again."""
        means = self._means
        for key, rate in self._ready.rates:
            while self._is_last(item) and (wait := await means.limits.throttle(key, rate)) > 0:
                if not self._is_last(item):
                    return False
                if len(self._items) > 1:
                    self._ready.put_back([self._items.pop()])
                    return False
                if wait >= self._ready.path.idle_timeout:
                    await self.hold_all(internal(451, "ready queue throttled"), why.MESSAGE_RATE_THROTTLE, wait)
                    return False
                await sleep(means.clock, wait)
        return self._is_last(item)

    def _is_last(self, item: Item) -> bool:
        """Whether it is in hand still: whoever waits may see it withdrawn."""
        return bool(self._items) and self._items[-1] is item

    async def _emptied(self, with_queue: bool) -> AsyncIterator[Item]:
        """Each item as it leaves the hand, with turns of the reactor in between."""
        if with_queue:
            self._items.extend(self._ready.take_excess(0))
        self._items.reverse()
        count = 0
        while self._items:
            yield self._items.pop()
            count += 1
            if count % _SLICE == 0:
                await sleep(self._means.clock, 0)
