"""Workers whose messages one budget holds, without the rest of the queue: they try, wait, and are woken.

Public: `HeldBy`, `pass_time`, `KEY`.
"""

from __future__ import annotations

import heapq

from twisted.internet import reactor
from twisted.internet.task import deferLater

from kumotwist.core.address import parse_address
from kumotwist.core.message import Message
from kumotwist.net.tasks import Tasks
from kumotwist.queue.routes.budget import Budgets
from kumotwist.queue.routes.line import LOOK_EVERY, PATIENCE

#: Steps of a second. Each worker deals once a second, at a step of its own.
STEPS = 10


class HeldBy:
    """One worker; `gone` lists names in the order in which they got a place. All workers share `order`."""

    def __init__(self, rates, clock, entry, ids, order=None, phase=0, late=lambda: 0.0):
        self.clock, self.entry, self.ids, self.phase = clock, entry, ids, phase
        self.late = late
        self.tasks = Tasks()
        self.budgets = Budgets(rates, clock, self.tasks, self)
        self.order = order if order is not None else []
        self.gone, self.wakes, self.told = [], 0, 0
        #: All that it has, in order of arrival, and those of them that wait.
        self.spool: dict[bytes, Message] = {}
        self.parked: dict[bytes, Message] = {}
        self.due: list[tuple[float, bytes]] = []
        self.woken: list[Message] = []

    def message(self, name):
        return Message(self.ids(), parse_address("a@src.test"), (parse_address(f"{name}@dest.test"),), {}, b"")

    async def come(self, name):
        """A new message."""
        message = self.message(name)
        await self.attempt(message)
        return message

    async def attempt(self, message):
        """It goes, or waits."""
        self.spool[message.id] = message
        overs = await self.budgets.take(message, "bulk", self.entry)
        if not overs:
            del self.spool[message.id]
            name = message.recipients[0].user
            self.gone.append(name)
            self.order.append(name)
            return
        held = self.budgets.hold(message, overs)
        self.told += held.is_new
        self.parked[message.id] = message
        heapq.heappush(self.due, (self.clock.seconds() + min(held.wait + PATIENCE, LOOK_EVERY), message.id))

    def holds(self, spool_id):
        return spool_id in self.parked

    def wake(self, spool_id):
        message = self.parked.pop(spool_id, None)
        if message is not None:
            self.clock.callLater(self.late(), self._try_soon, message)
        return message is not None

    def _try_soon(self, message):
        self.woken.append(message)

    async def go_on(self):
        """Those that are due or woken try."""
        while self.due and self.due[0][0] <= self.clock.seconds():
            self.wake(heapq.heappop(self.due)[1])
        woken, self.woken = self.woken, []
        for message in woken:
            self.wakes += 1
            await self.attempt(message)
        await self.settled()

    async def settled(self):
        """What was asked of the state file is answered."""
        while len(self.tasks):
            await deferLater(reactor, 0)


async def pass_time(clock, workers, seconds, each_second=None):
    """Let time pass for all, to the moment; `each_second` is awaited with the seconds that have passed."""
    for number in range(seconds * STEPS):
        until = clock.seconds() + 1 / STEPS
        while True:
            calls = [call.getTime() for call in clock.getDelayedCalls()]
            clock.advance(max(min([until, *calls]) - clock.seconds(), 0.0))
            for worker in workers:
                await worker.go_on()
            if clock.seconds() >= until:
                break
        for worker in workers:
            if number % STEPS == worker.phase:
                worker.budgets.tick()
                await worker.settled()
                await worker.go_on()
        if each_second is not None and number % STEPS == STEPS - 1:
            await each_second(number // STEPS + 1)
