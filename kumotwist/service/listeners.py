"""Listening sockets: bound once, shared by all workers.

Whoever has the right to (the supervisor, or the one process) calls `bind`;
each worker takes the descriptor and puts a `FairPort` on it. The workers
share one accept queue, so a dead worker strands no connection. Each takes
one connection per turn of its reactor, and leaves it to another worker that
has fewer.

Public: `bind`, `adopt`, `FairPort`, `printable`. Errors: ConfigError when the
address cannot be had.
"""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kumotwist.config.listener import host_and_port
from kumotwist.core.errors import ConfigError
from kumotwist.net.clock import DelayedCall
from kumotwist.service.balance import Seat

#: Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn (4096).
BACKLOG: Final = 4096
#: Seconds for which a new connection is left to a worker that has fewer. Ours: a process that is ready
#: to run gets its turn within some milliseconds, and a client does not notice so little.
PATIENCE: Final = 0.005


def bind(address: str) -> socket.socket:
    """A listening TCP socket on `host:port`, `[v6]:port` or `ip:0`. Raises ConfigError."""
    host, port = _split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host != "::" else 0)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {address}: {error.strerror}") from error
    return sock


def printable(sock: socket.socket) -> str:
    """`ip:port` as really bound; IPv6 in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class CountedServer(tcp.Server):
    """An accepted connection, counted for as long as it is open."""

    server: FairPort

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.server.seat.opened()

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self.server.seat.closed()
        super().connectionLost(reason)


class FairPort(tcp.Port):
    """A TCP port that accepts one connection per readiness, and lets workers with fewer go first.

    Twisted's own takes up to a hundred at once, which hands a burst of
    connections to whichever worker wakes first.
    """

    transport: Any = CountedServer
    #: Our place among the workers; set by `adopt`.
    seat: Seat
    _waiting: DelayedCall | None = None

    @property
    def numberAccepts(self) -> int:
        """How many connections to accept at once."""
        return 1

    @numberAccepts.setter
    def numberAccepts(self, _: int) -> None:
        return

    def doRead(self) -> None:
        """A connection is there: take it, or see first whether a worker with fewer does."""
        if self.seat.has_more_than_others:
            self.stopReading()
            self._waiting = self.reactor.callLater(PATIENCE, self._waited)
        else:
            super().doRead()

    def connectionLost(self, reason: Failure) -> None:
        """We are closed."""
        self.seat.leave()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        super().connectionLost(reason)

    def _waited(self) -> None:
        """Take it if it is still there."""
        self._waiting = None
        if not self.disconnecting:
            super().doRead()
            self.startReading()


def adopt(reactor: IReactorTCP, sock: socket.socket, factory: Factory[Any], seat: Seat) -> FairPort:
    """Listen on `sock`, which is duplicated: the caller keeps its own. Starts to accept at once."""
    make: Any = FairPort._fromListeningDescriptor
    port: FairPort = make(reactor, sock.fileno(), sock.family, factory)
    port.seat = seat
    seat.take()
    port.startListening()
    return port


def _split(address: str) -> tuple[str, int]:
    try:
        host, port = host_and_port(address)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        return str(ipaddress.ip_address(host or "0.0.0.0")), port
    except ValueError:
        return _resolve(host, address), port


def _resolve(host: str, address: str) -> str:
    """A name such as `localhost`, looked up once, at start, where waiting harms nobody."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error.strerror}") from error
