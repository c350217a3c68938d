"""Put, sync and delete through the real store: messages/s and CPU per message.

    python tests/bench/spool.py [messages]

Twenty savers, each saving its next message when the last one is on disk, and
removing it right after, as a relay does. malloc is set up as in a worker; with
MALLOC_TRIM_THRESHOLD_=131072 in the environment it is as glibc has it.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.task import react

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.service.allocator import keep_freed_memory
from kumotwist.spool.rocks import RocksStore

SAVERS = 20
SENDER = EnvelopeAddress("sender", "example.com")
RECIPIENT = EnvelopeAddress("recipient", "example.org")


async def measure(reactor: Any, size: int, count: int) -> None:
    ids = IdGenerator(reactor.seconds)
    body = os.urandom(size)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        store = RocksStore.open(directory, (0,), reactor)

        async def saver() -> None:
            for _ in range(count // SAVERS):
                message = Message(ids(), SENDER, (RECIPIENT,), {"received_from": "127.0.0.1:2525"}, body)
                await store.save((message,))
                store.remove(message.id)

        begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        thread_cpu = time.thread_time()
        await DeferredList([ensureDeferred(saver()) for _ in range(SAVERS)])
        took, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
        reactor_cpu = (time.thread_time() - thread_cpu) / count * 1e6
        cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e6
        await store.close()
        print(
            f"{size:>7} octets: {count / took:8.0f} messages/s, CPU {cpu:6.1f} us a message, "
            f"of it {reactor_cpu:6.1f} us on the reactor thread; peak memory {after.ru_maxrss // 1024} MiB"
        )


async def main(reactor: Any, count: int) -> None:
    keep_freed_memory()
    await measure(reactor, 1024, count)
    await measure(reactor, 100 * 1024, max(SAVERS, count // 8))
    assert threading.active_count() <= 2


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor, int(sys.argv[1]) if sys.argv[1:] else 20000)))
