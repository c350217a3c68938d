"""Memory and time of many waiting messages: 200,000 in 20,000 scheduled queues.

    python tests/bench/waiting.py [messages] [queues]

Prints the memory per waiting message, everything counted that inserting them
made grow (queues, wheel, configuration), and how long the last 10,000 inserts
took beside the first 10,000. The store forgets what it is given, as the real
one keeps it on disk. Target: 1.5 KiB and a factor of 1.3.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fakes_queue import FakeChannel, FakePolicy, House, started_clock
from twisted.internet.defer import Deferred

from kumotwist.config.queue import QueueConfig
from kumotwist.net.tasks import Tasks
from kumotwist.queue.manager import Manager
from kumotwist.queue.surroundings import Surroundings
from kumotwist.queue.throttle import LocalLimits

BATCH = 10_000


class ForgetfulStore:
    """Takes everything and keeps nothing."""

    is_healthy = True

    async def save(self, messages):
        for message in messages:
            message.is_meta_dirty = message.is_body_dirty = False

    async def save_meta_later(self, message):
        pass

    def remove(self, spool_id):
        pass


class DeafRecorder:
    """Hears nothing."""

    async def record(self, record):
        pass


class Policy(FakePolicy):
    """A configuration for each queue, made anew each time, as Lua does."""

    async def queue_config(self, name):
        return QueueConfig(retry_interval=600.0)


def resident() -> int:
    """Octets of memory in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main(total: int = 200_000, queues: int = 20_000) -> None:
    clock = started_clock()
    house = House(clock=clock)
    channel = FakeChannel()
    around = Surroundings(
        store=ForgetfulStore(),
        policy=Policy(),
        recorder=DeafRecorder(),
        limits=LocalLimits(clock),
        channel_for=lambda _: channel,
        clock=clock,
        tasks=Tasks(),
    )
    manager = Manager(around)
    insert, base = manager.insert, clock.seconds()
    gc.collect()
    before = resident()
    times = []
    for start in range(0, total, BATCH):
        began = time.process_time()
        for number in range(start, start + BATCH):
            queue = number * 7919 % queues
            message = house.message(f"user@domain{queue // 10}.example", tenant=f"tenant{queue % 10}")
            message.is_meta_dirty = message.is_body_dirty = False
            message.due = base + 1 + number * 7919 % 1_000_000 / 10
            Deferred.fromCoroutine(insert(message))
        times.append(time.process_time() - began)
    del message
    gc.collect()
    grown = resident() - before
    count = {sample.name: sample.value for sample in manager.samples() if not sample.labels}
    print(f"waiting {count['scheduled_count_total']} messages in {count['scheduled_queue_count']} queues")
    print(f"memory  {grown / 2**20:.1f} MiB, {grown / total:.0f} octets a message (target 1536)")
    first, last = times[0], times[-1]
    print(f"first   {BATCH} inserts {first * 1e6 / BATCH:.1f} us each")
    print(f"last    {BATCH} inserts {last * 1e6 / BATCH:.1f} us each, factor {last / first:.2f} (target 1.3)")
    middle = sorted(times)[len(times) // 2]
    print(f"median  {middle * 1e6 / BATCH:.1f} us each")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
