"""TCP connections through a SOCKS5 proxy.

Public: `connect`. What can go wrong: what the endpoint to the proxy fails with;
RemoteProtocolError, which says what the proxy has against it; TimeoutError.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.net.ending import why_ended
from kumotwist.proto.socks5 import SocksClient


async def connect(
    reactor: Any, protocol: Protocol, proxy: tuple[str, int], client: SocksClient, timeout: float, local: str | None
) -> str:
    """Connect `protocol` through `proxy` (host and port), from the IP address `local` of ours if it matters.

    The `ip:port` that the proxy connects from. May be cancelled; `timeout` is
    for all of it.
    """
    began = reactor.seconds()
    bind = None if local is None else (local, 0)
    endpoint = HostnameEndpoint(reactor, *proxy, timeout=timeout, bindAddress=bind)
    talk = cast("_Talk", await endpoint.connect(cast("Any", _Talks(client, protocol))))
    left = max(timeout - (reactor.seconds() - began), 0.0)
    talk.done.addTimeout(left, reactor)
    try:
        await talk.done
    except BaseException:
        cast("Any", talk.transport).abortConnection()
        raise
    return client.sent_from


class _Talk(Protocol):
    """Speaks with the proxy, then leaves the connection to the protocol that it is for."""

    def __init__(self, client: SocksClient, inner: Protocol) -> None:
        self.done: Deferred[None] = Deferred()
        self._client = client
        self._inner = inner

    def connectionMade(self) -> None:
        self._write(self._client.start())

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._write(self._client.receive_data(data))
        except RemoteProtocolError as error:
            self.done.errback(error)
            return
        if self._client.is_done:
            self._hand_over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(RemoteProtocolError(why_ended(reason, "the proxy")))

    def _hand_over(self) -> None:
        transport = cast("Any", self.transport)
        # As Twisted itself does when it starts TLS: from here on the transport calls the other one.
        transport.protocol = self._inner
        self._inner.makeConnection(transport)
        if self._client.rest:
            self._inner.dataReceived(self._client.rest)
        self.done.callback(None)

    def _write(self, data: bytes) -> None:
        if data:
            cast("Any", self.transport).write(data)


class _Talks(Factory):
    """Makes one."""

    noisy = False

    def __init__(self, client: SocksClient, inner: Protocol) -> None:
        self._client = client
        self._inner = inner

    def buildProtocol(self, addr: IAddress | None) -> _Talk:  # noqa: ARG002
        return _Talk(self._client, self._inner)
