"""What a route's budgets cost a message: the same messages over a table without budgets and with them, in turns.

    python tests/bench/budgets.py [--messages 5000] [--at-once 500]

Store, recorder and channel do next to nothing; the state file is a real one, in a temporary directory, so a message
waits for a sync that it shares with the others that came meanwhile. The processor's time counts all threads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from queue_path import Channel
from support.fakes_queue import DELIVERED, FakePolicy, House
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import react
from waiting import DeafRecorder, ForgetfulStore

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import BudgetConfig, RouteEntry, RouteTableConfig
from kumotwist.core.units import Limit, Throttle
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.tasks import Tasks
from kumotwist.queue.budgetstate import SCHEMA, BudgetState
from kumotwist.queue.manager import Manager
from kumotwist.queue.surroundings import Knowledge, Surroundings
from kumotwist.queue.throttle import LocalLimits

RUNS = 5
WIDE = Throttle.parse("1,000,000,000/d")
BUDGETS = {
    "none": (),
    "one, of all": (BudgetConfig(rate=WIDE),),
    "one, by recipient": (BudgetConfig(rate=WIDE, by="recipient"),),
    "three": tuple(BudgetConfig(rate=WIDE, by=by) for by in ("all", "tenant", "recipient")),
}


async def one_run(directory: str, budgets, count: int, at_once: int) -> tuple[float, float]:
    """Microseconds a message: of the clock, and of the processor."""
    state = await SqliteFile.open(Path(directory) / f"{time.monotonic_ns()}.sqlite", reactor, SCHEMA)
    path = PathConfig(max_deliveries_per_connection=count + 1, connection_limit=Limit(1), max_ready=count)
    policy = FakePolicy(QueueConfig(route_table="bulk"), path=path)
    policy.tables["bulk"] = RouteTableConfig(
        name="bulk", class_="all", routes=tuple(RouteEntry(name=one, weight=1.0, budgets=budgets) for one in "ab")
    )
    arrived: dict[bytes, Deferred[None]] = {}

    def answer(batch):
        for message in batch:
            arrived[message.id].callback(None)
        return [(DELIVERED,)] * len(batch)

    channel = Channel(answer)
    around = Surroundings(
        store=ForgetfulStore(),
        policy=policy,
        recorder=DeafRecorder(),
        limits=LocalLimits(reactor),
        channel_for=lambda _: channel,
        clock=reactor,
        tasks=Tasks(),
    )
    manager = Manager(around, Knowledge(budgets=BudgetState(state, reactor)))
    house = House()
    messages = [house.message(f"u{number}@to.example", tenant=f"t{number % 100}") for number in range(count)]
    for message in messages:
        message.is_meta_dirty = message.is_body_dirty = False
    turns = DeferredSemaphore(at_once)

    async def deliver(message):
        arrived[message.id] = Deferred()
        await manager.insert(message)
        await arrived[message.id]

    began, used = time.perf_counter(), time.process_time()
    await gatherResults([turns.run(lambda one=one: Deferred.fromCoroutine(deliver(one))) for one in messages])
    took = (time.perf_counter() - began) * 1e6 / count, (time.process_time() - used) * 1e6 / count
    await manager.stop(5.0)
    await state.close()
    return took


async def main(_) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--at-once", type=int, default=500)
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {what: [] for what in BUDGETS}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(RUNS):
            for what, budgets in BUDGETS.items():
                figures[what].append(await one_run(directory, budgets, options.messages, options.at_once))
    bare = statistics.median(cpu for _, cpu in figures["none"])
    print(f"{options.messages} messages, {options.at_once} at once, medians of {RUNS}")
    for what, each in figures.items():
        wall, cpu = (statistics.median(one) for one in zip(*each, strict=True))
        print(f"{what:18} {wall:7.0f} us a message, {cpu:6.0f} us of processor ({cpu / bare:.2f} of none)")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
