"""Listening sockets that several workers share."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from kumotwist.core.errors import ConfigError
from kumotwist.service import listeners
from kumotwist.service.balance import Board, Seat


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
def _taken(count: int, seats: Sequence[Seat]) -> Generator[Deferred[Any], Any, list[int]]:
    """Which of the workers at `seats` takes each of `count` connections that come at once."""
    turns: list[int] = []
    done: Deferred[None] = Deferred()
    with listeners.bind("127.0.0.1:0") as sock:
        clients = [socket.create_connection(sock.getsockname()) for _ in range(count)]
        ports = [
            listeners.adopt(reactor, sock, Counting(turns, number, count, done), seat)
            for number, seat in enumerate(seats)
        ]
        yield done
        for port in ports:
            yield port.stopListening()
        for client in clients:
            client.close()
    return turns


@pytest_twisted.inlineCallbacks
def test_a_burst_of_connections_is_shared_evenly():
    """Twenty connections at once go to the workers in turn, not all to the first that wakes."""
    board = Board.make(2)
    turns = yield _taken(20, [Seat(board, 0), Seat(board, 1)])
    assert turns.count(0) == turns.count(1) == 10


@pytest_twisted.inlineCallbacks
def test_a_worker_with_many_connections_leaves_new_ones_to_the_others(monkeypatch):
    """A worker that starts late, or whose clients have left, catches up first."""
    monkeypatch.setattr(listeners, "PATIENCE", 1.0)  # longer than a busy test machine may stop us
    board = Board.make(2)
    seats = [Seat(board, 0), Seat(board, 1)]
    for _ in range(6):
        seats[0].opened()
    turns = yield _taken(10, seats)
    assert turns[:6] == [1] * 6
    assert turns.count(0) == 2


@pytest_twisted.inlineCallbacks
def test_nobody_waits_long_for_a_worker_that_takes_nothing():
    """A worker that hangs, and has fewer connections for that reason, does not keep the others from serving."""
    board = Board.make(2)
    Seat(board, 1).take()
    turns = yield _taken(20, [Seat(board, 0)])
    assert turns == [0] * 20


def test_a_worker_that_is_gone_is_not_waited_for() -> None:
    """Whoever has not started, has stopped or died counts as full, however few connections it had."""
    board = Board.make(2)
    here, other = Seat(board, 0), Seat(board, 1)
    here.take()
    here.opened()
    assert not here.has_more_than_others
    other.take()
    assert here.has_more_than_others
    other.leave()
    other.opened()
    assert not here.has_more_than_others
    other.take()
    other.closed()
    assert here.has_more_than_others
    board.clear(1)
    assert not here.has_more_than_others


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
