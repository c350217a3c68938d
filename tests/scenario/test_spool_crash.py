"""kill -9 while messages are written: everything acknowledged is there afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
from hashlib import sha256

import pytest_twisted
from twisted.internet import reactor

from kumotwist.core.ids import from_hex
from kumotwist.spool.rocks import RocksStore

WRITER = """
    import hashlib, random, sys
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred
    from kumotwist.core.address import EnvelopeAddress
    from kumotwist.core.ids import IdGenerator
    from kumotwist.core.message import Message
    from kumotwist.spool.rocks import RocksStore

    ids, user = IdGenerator(reactor.seconds), EnvelopeAddress("u", "example.org")
    store = RocksStore.open(sys.argv[1], (0,), reactor)
    chance = random.Random()

    def say(*words):
        sys.stdout.write(" ".join(words) + "\\n")
        sys.stdout.flush()

    async def saver():
        while True:
            size = 2_500_000 if chance.random() < 0.01 else chance.randrange(20_000)
            message = Message(ids(), user, (user,), {"n": size}, chance.randbytes(size))
            await store.save((message,))
            say("+", message.id.hex(), hashlib.sha256(message.body).hexdigest())
            if chance.random() < 0.5:
                say("-", message.id.hex())
                store.remove(message.id)
            elif chance.random() < 0.5:
                message.attempts = 1
                await store.save_meta_later(message)

    for _ in range(10):
        ensureDeferred(saver())
    reactor.run()
"""
ROUNDS = 6


@pytest_twisted.ensureDeferred
async def test_every_acknowledged_message_survives_kill_9(tmp_path):
    """Killed at random moments again and again, on one spool: no acknowledged message is lost or damaged."""
    acknowledged, removed = {}, set()
    chance = random.Random()
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        # A fraction of a second of writing, cut where it may be.
        lines = [child.stdout.readline() for _ in range(chance.randrange(1, 400))]
        child.send_signal(signal.SIGKILL)
        lines += child.communicate()[0].splitlines(keepends=True)
        for line in lines:
            match line.split() if line.endswith("\n") else ():
                case ("+", spool_id, digest):
                    acknowledged[spool_id] = digest
                case ("-", spool_id):
                    removed.add(spool_id)
    assert acknowledged
    store = RocksStore.open(tmp_path, (0,), reactor)
    found = set()
    async for batch in store.enumerate():
        for message in batch:
            assert message.id not in found
            found.add(message.id)
    must = [spool_id for spool_id in acknowledged if spool_id not in removed]
    for spool_id in must:
        assert from_hex(spool_id) in found
        (message,) = await store.load((from_hex(spool_id),))
        assert sha256(message.body).hexdigest() == acknowledged[spool_id]
    # A removal may be lost only when it was in the last hundredths of a second before a kill.
    doubled = [spool_id for spool_id in removed if from_hex(spool_id) in found]
    assert len(doubled) < len(removed)
    await store.close()
