"""Receipts in any order, on any worker, with stops in between: each is told once, of the right message."""

import random

import pytest
import pytest_twisted
from attrs import evolve
from support.receipt_desk import DELIVERED, FAILED, Desk

from kumotwist.records.receipts.desk import LEASE
from kumotwist.records.receipts.handovers import FLUSH_DELAY


class Shop:
    """Some workers on one ledger, and what they ought to have told."""

    def __init__(self, path, seed):
        self.path, self.random = path, random.Random(seed)
        self.desks, self.clock, self.told = [], None, []
        self.expected = {}

    async def open(self):
        for _ in range(3):
            desk = await Desk(self.path, self.clock).open(park=1e6)
            self.clock = desk.clock
            self.desks.append(desk)

    async def restart(self):
        """One worker stops in order, another one starts."""
        old = self.desks.pop(self.random.randrange(len(self.desks)))
        await old.close()
        self.told += old.records
        self.desks.append(await Desk(self.path, self.clock).open(park=1e6))

    def any(self):
        return self.random.choice(self.desks)

    async def pass_time(self, seconds):
        """All workers have one clock: each finishes what it began, or its claims run out under its hands."""
        await self.any().pass_time(seconds)
        for desk in self.desks:
            await desk.pass_time(0.0)

    async def close(self):
        for desk in self.desks:
            await desk.close()
            self.told += desk.records


def plan(shop):
    """What happens, shuffled: hand-overs of one to three parts, and a receipt for each part, some of them twice."""
    steps = []
    for number in range(40):
        parts = [f"id-{number}-{part}" for part in range(shop.random.choice((1, 1, 1, 2, 3)))]
        failed = shop.random.random() < 0.3
        steps.append(("hand over", number, parts, failed))
        for part in parts:
            event = FAILED if failed and part == parts[-1] else DELIVERED
            event = evolve(event, remote_id=part.upper(), event_id=f"e{part}")
            steps += [("receive", event)] * shop.random.choice((1, 1, 2))
    steps += [("restart",)] * 3 + [("time",)] * 10
    shop.random.shuffle(steps)
    return steps


@pytest.mark.parametrize("seed", range(8))
@pytest_twisted.ensureDeferred
async def test_each_is_told_once_and_of_the_right_message(tmp_path, seed):
    """No receipt is lost, doubled or given to another message, whatever overtakes what."""
    shop = Shop(tmp_path / "state.sqlite", seed)
    await shop.open()
    for step in plan(shop):
        if step[0] == "hand over":
            _, number, parts, failed = step
            desk = shop.any()
            spool_id = desk.hand_over(" ".join(parts), f"+1555{number:04}@sms")
            shop.expected[spool_id] = "failed" if failed else "delivered"
        elif step[0] == "receive":
            await shop.any().receive(step[1])
        elif step[0] == "restart":
            await shop.restart()
        else:
            await shop.pass_time(shop.random.choice((0.3, 3.0, 20.0)))
    for seconds in (FLUSH_DELAY, *[LEASE] * 6):
        await shop.pass_time(seconds)
    await shop.close()
    told = [(one.message_id, one.receipt.state.value) for one in shop.told]
    assert sorted(told) == sorted(shop.expected.items())
