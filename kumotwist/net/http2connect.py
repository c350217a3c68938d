"""Opens HTTP/2 connections: TCP, TLS with the peer's name proven, ALPN, the peer's settings.

Public: `connect`, `Destination`, `TlsHttp2Connection`. What can go wrong: HttpError with the
step that failed; nothing was sent that anybody could act on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocolFactory, ITCPTransport
from twisted.internet.protocol import Factory
from zope.interface import implementer

from kumotwist.net.clock import Clock
from kumotwist.net.http import HttpError, describe
from kumotwist.net.http2 import Http2Connection, Http2Settings
from kumotwist.net.tls_client import ClientTls, TlsAttempt, TlsFacts

#: The name of HTTP/2 over TLS: RFC 9113 s3.2.
_ALPN: Final = b"h2"
_HTTPS: Final = 443


@frozen(kw_only=True)
class Destination:
    """Where to and from which of our addresses; `timeout` in seconds, once for TCP and once for TLS and HTTP/2."""

    host: str
    port: int = _HTTPS
    source_address: str | None = None
    timeout: float = 30.0

    @property
    def authority(self) -> str:
        """Host and port as requests name them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS else f"{host}:{self.port}"


@implementer(IHandshakeListener)
class TlsHttp2Connection(Http2Connection):
    """A connection that begins with a handshake; `facts` are there once it is ready."""

    def __init__(self, clock: Clock, authority: str, settings: Http2Settings, attempt: TlsAttempt) -> None:
        super().__init__(clock, authority, settings)
        self._attempt = attempt
        self.facts: TlsFacts | None = None

    @property
    def peer_address(self) -> str:
        """`ip:port` of the other end."""
        return _text(self._ends.getPeer())

    @property
    def local_address(self) -> str:
        """`ip:port` of our end."""
        return _text(self._ends.getHost())

    @property
    def problem(self) -> str | None:
        """What is wrong with the peer's certificate; None when nothing is known to be."""
        return self._attempt.problem

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self._ends.setTcpNoDelay(True)
        self._ends.startTLS(self._attempt)

    def handshakeCompleted(self) -> None:
        """TLS is up: begin, unless the certificate or the chosen protocol says otherwise."""
        self.facts = self._attempt.finish()
        if self.facts is None:
            self.abort(f"TLS failed: {self.problem}")
        elif self._attempt.protocol != _ALPN.decode():
            self.abort(f"the peer does not speak HTTP/2 but {self._attempt.protocol or 'no protocol that it names'}")
        else:
            self.start()

    @property
    def _ends(self) -> Any:
        return self.transport


class _Connections(Factory):
    """Makes a connection for each attempt: of several addresses the first to answer wins."""

    noisy = False

    def __init__(self, make: Callable[[], TlsHttp2Connection]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> TlsHttp2Connection:  # noqa: ARG002
        return self._make()


async def connect(
    reactor: Any, clock: Clock, tls: ClientTls, destination: Destination, settings: Http2Settings
) -> TlsHttp2Connection:
    """A connection that takes requests. Raises HttpError. Cancelling it leaves nothing open."""

    def make() -> TlsHttp2Connection:
        attempt = tls.attempt(destination.host, True, protocols=(_ALPN,))
        return TlsHttp2Connection(clock, destination.authority, settings, attempt)

    source = destination.source_address
    bind = None if source is None else (source, 0)
    endpoint = HostnameEndpoint(reactor, destination.host, destination.port, destination.timeout, bind)
    try:
        connection = cast("TlsHttp2Connection", await endpoint.connect(cast("IProtocolFactory", _Connections(make))))
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError from None
    except Exception as error:  # Twisted's connect errors share no useful base
        raise HttpError(f"{destination.authority}: {describe(error)}") from None
    await _begin(clock, connection, destination)
    return connection


async def _begin(clock: Clock, connection: TlsHttp2Connection, destination: Destination) -> None:
    late = f"no TLS and HTTP/2 settings within {destination.timeout:g} s"
    deadline = clock.callLater(destination.timeout, connection.abort, late)
    try:
        await connection.ready
    except CancelledError:
        connection.abort()
        raise
    except Exception as error:
        problem = f"TLS failed: {connection.problem}" if connection.problem is not None else str(error)
        raise HttpError(f"{destination.authority}: {problem}") from None
    finally:
        if deadline.active():
            deadline.cancel()


def _text(address: object) -> str:
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    return f"{address.host}:{address.port}" if isinstance(address, IPv4Address) else str(address)
