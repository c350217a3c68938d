"""Writes that leave at once keep their order and lose nothing, whatever the peer takes."""

import pytest_twisted
from twisted.internet import defer, protocol, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint

from kumotwist.net.eager import write_now


class Collector(protocol.Protocol):
    def __init__(self):
        self.received = bytearray()
        self.ready = defer.Deferred()
        self.finished = defer.Deferred()

    def connectionMade(self):
        self.transport.pauseProducing()
        self.ready.callback(None)

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason=None):
        self.finished.callback(None)


async def connected():
    collector = Collector()
    factory = protocol.Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: collector
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    clients = protocol.Factory.forProtocol(protocol.Protocol)
    clients.noisy = False
    client = await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(clients)
    await collector.ready
    return collector, port, client.transport


@pytest_twisted.ensureDeferred
async def test_order_and_completeness_when_the_peer_is_slow():
    """A peer that does not read at first gets every octet in order when it does."""
    collector, port, transport = await connected()
    pieces = [b"first ", b"x" * 12_000_000, b" second ", b"y" * 300_000, b" last"]
    for piece in pieces:
        write_now(transport, piece)
    collector.transport.resumeProducing()
    transport.loseConnection()
    await collector.finished
    await port.stopListening()
    assert bytes(collector.received) == b"".join(pieces)


@pytest_twisted.ensureDeferred
async def test_writing_to_a_peer_that_has_gone_is_quiet():
    """A lost connection shows as a lost connection, not as an error of the write."""
    collector, port, transport = await connected()
    collector.transport.abortConnection()
    await collector.finished
    for _ in range(3):
        write_now(transport, b"x")
    transport.abortConnection()
    write_now(transport, b"x")
    await port.stopListening()
