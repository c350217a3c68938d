"""Listening sockets that several workers share."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from kumotwist.core.errors import ConfigError
from kumotwist.service import listeners


class Counting(Factory):
    """Counts its connections and hangs up; fires when it has seen enough."""

    def __init__(self, turns: list[int], number: int, total: int, done: Deferred[None]) -> None:
        self.turns, self.number, self.total, self.done = turns, number, total, done

    def buildProtocol(self, addr: object) -> Protocol:
        self.turns.append(self.number)
        if len(self.turns) == self.total:
            self.done.callback(None)
        return Protocol()


@pytest_twisted.inlineCallbacks
def test_a_burst_of_connections_is_shared_evenly():
    """Twenty connections at once go to the workers in turn, not all to the first that wakes."""
    turns, done = [], Deferred()
    with listeners.bind("127.0.0.1:0") as sock:
        clients = [socket.create_connection(sock.getsockname()) for _ in range(20)]
        ports = [listeners.adopt(reactor, sock, Counting(turns, number, 20, done)) for number in (0, 1)]
        yield done
        for port in ports:
            yield port.stopListening()
        for client in clients:
            client.close()
    assert turns.count(0) == turns.count(1) == 10


def test_ports_are_told_as_they_are_bound() -> None:
    """`:0` is allowed; the printed address has the real port."""
    with listeners.bind("127.0.0.1:0") as four, listeners.bind("[::1]:0") as six, listeners.bind("localhost:0") as name:
        assert listeners.printable(four) == f"127.0.0.1:{four.getsockname()[1]}"
        assert listeners.printable(six) == f"[::1]:{six.getsockname()[1]}"
        assert listeners.printable(name).rpartition(":")[0] in ("127.0.0.1", "[::1]")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:smtp", "127.0.0.1:70000", "no-such-host.invalid:25"])
def test_addresses_that_cannot_be(address: str) -> None:
    """A wrong `listen` is named in the error."""
    with pytest.raises(ConfigError, match=address.partition(":")[0]):
        listeners.bind(address)


def test_a_port_in_use_is_named() -> None:
    """Two daemons on one port: the second says which address it cannot have."""
    with listeners.bind("127.0.0.1:0") as sock:
        address = listeners.printable(sock)
        with pytest.raises(ConfigError, match=f"cannot listen on {address}: Address already in use"):
            listeners.bind(address)
