"""The watch that tests/conftest.py keeps over every test."""

from __future__ import annotations

import gc
import socket
import threading

import pytest
from pytest_twisted import ensureDeferred
from support.leftovers import ROUND, TURN, TURNS, Garbage, LoggedFailures, Reactor
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

log = Logger()


def test_a_failure_that_nobody_expects_is_found(failures):
    """What the program logs as failed or critical fails the test; warnings and errors that are news do not."""
    with LoggedFailures().watching() as logged:
        log.error("a peer misbehaves")
        log.critical("the disk is full")
        try:
            raise ValueError("nobody caught me")
        except ValueError:
            log.failure("it broke")
    assert len(logged.texts()) == 2
    logged.expect("nobody caught me")
    with pytest.raises(AssertionError, match="the disk is full"):
        logged.expect("another text")
    logged.expect("disk is full")
    assert logged.texts() == []
    failures.expect("")


def test_an_error_that_nobody_reads_is_found(failures):
    """An error that a Deferred holds when it is freed, be it in a cycle, is a logged failure."""
    lost = Deferred()
    lost.cycle = lost
    lost.errback(KeyError("unread"))
    del lost
    gc.collect()
    failures.expect("KeyError: 'unread'")
    failures.expect("Unhandled error in Deferred")


def test_an_error_that_outlives_its_test_is_found_within_a_round(failures):
    """What collections pass over for their speed is looked at again before long."""
    garbage = Garbage()
    lost = Deferred()
    lost.cycle = lost
    lost.errback(KeyError("unread"))
    garbage.collect_all()
    del lost
    for _ in range(ROUND):
        assert not failures.events
        garbage.collect()
    failures.expect("KeyError: 'unread'")
    failures.expect("Unhandled error in Deferred")


@ensureDeferred
async def test_what_stays_in_the_reactor_is_found():
    """A delayed call and a listening socket are named and taken away; what ends within a few turns is no fault."""
    watch = Reactor()
    reactor.callLater(0.01, gc.isenabled)
    assert await watch.leftovers() == []
    call = reactor.callLater(100, gc.isenabled)
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    left = await watch.leftovers()
    assert len(left) == 2
    assert "isenabled" in "".join(left)
    assert not call.active()
    port.stopListening()
    assert await watch.leftovers() == []


@ensureDeferred
async def test_a_peer_may_take_its_time_to_close():
    """A connection that another process ends when it has its slice of a busy machine is no fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = Reactor()
        factory = Factory.forProtocol(Protocol)
        await TCP4ClientEndpoint(reactor, "127.0.0.1", server.getsockname()[1]).connect(factory)
        peer, _ = server.accept()
        slow = threading.Timer(2 * TURNS * TURN, peer.close)
        slow.start()
        assert await watch.leftovers() == []
        slow.join()


@ensureDeferred
async def test_what_was_there_before_is_not_blamed_on_a_test():
    """A server that a whole module shares is not left over by each of its tests."""
    call = reactor.callLater(100, gc.isenabled)
    watch = Reactor()
    assert await watch.leftovers() == []
    call.cancel()
