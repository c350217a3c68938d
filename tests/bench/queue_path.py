"""CPU of the queue's part in relaying one message: insert, ready queue, dispatcher, settler.

    python tests/bench/queue_path.py [messages]

Store, policy, recorder and channel are stand-ins that do next to nothing, so
the figure is the queue's own. Target: 60 microseconds. `wake` is a session
that waits for the message, `busy` one that finds it in the ready queue after
the one before, answered through a Deferred as a real session is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fakes_queue import DELIVERED, FakeChannel, FakePolicy, House, started_clock
from twisted.internet.defer import Deferred
from waiting import DeafRecorder, ForgetfulStore

from kumotwist.config.egress import PathConfig
from kumotwist.core.units import Limit
from kumotwist.net.tasks import Tasks
from kumotwist.queue.manager import Manager
from kumotwist.queue.surroundings import Surroundings
from kumotwist.queue.throttle import LocalLimits


class Channel(FakeChannel):
    """Hands a session that answers at once, or when told."""

    def open(self, request):
        return Session(self)


class Session:
    max_batch = min_batch = 1
    batch_latency = 0.0
    is_connected = False

    def __init__(self, channel):
        self.channel = channel

    async def connect(self):
        self.is_connected = True

    async def deliver(self, batch):
        answer = self.channel.answer(batch)
        return (await answer) if isinstance(answer, Deferred) else answer

    async def close(self):
        self.is_connected = False


def measure(name: str, count: int, answer, between=lambda: None) -> None:
    clock = started_clock()
    house = House(clock=clock)
    path = PathConfig(max_deliveries_per_connection=count + 1, connection_limit=Limit(1))
    channel = Channel(answer)
    around = Surroundings(
        store=ForgetfulStore(),
        policy=FakePolicy(path=path),
        recorder=DeafRecorder(),
        limits=LocalLimits(clock),
        channel_for=lambda _: channel,
        clock=clock,
        tasks=Tasks(),
    )
    manager = Manager(around)
    messages = [house.message(tenant="t") for _ in range(count)]
    for message in messages:
        message.is_meta_dirty = message.is_body_dirty = False

    async def insert_all():
        for message in messages:
            await manager.insert(message)
            between()

    began = time.process_time()
    Deferred.fromCoroutine(insert_all())
    took = time.process_time() - began
    print(f"{name:6} {took * 1e6 / count:.1f} us a message")


def main(count: int = 20_000) -> None:
    answer = [(DELIVERED,)]
    measure("wake", count, lambda batch: answer)
    waiting: list[Deferred] = []

    def hold(batch):
        waiting.append(Deferred())
        return waiting[-1]

    def release():
        if len(waiting) == 1:
            waiting.pop().callback(answer)

    measure("busy", count, hold, release)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
