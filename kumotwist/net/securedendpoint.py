"""TLS connections that count as connected only when the peer has proven who it is.

Public: `SecuredEndpoint`. What can go wrong: what the endpoint below fails with; ConnectionLost, SSL.Error or
VerificationError when the handshake fails.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IStreamClientEndpoint)
class SecuredEndpoint:
    """TLS over another endpoint, connected when the handshake is through.

    Twisted's own is connected before, so requests are written, and count as sent, that never leave us when the
    peer's certificate does not verify.
    """

    def __init__(self, creator: IOpenSSLClientConnectionCreator, plain: IStreamClientEndpoint) -> None:
        self._endpoint: Any = wrapClientTLS(creator, plain)

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """A connected protocol. Fails as the other endpoint does, and with what failed the handshake."""
        return ensureDeferred(self._connect(factory))

    async def _connect(self, factory: Any) -> Protocol:
        handshake = cast("_Handshake", await self._endpoint.connect(cast("Any", _Handshakes(factory))))
        return await handshake.done


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Keeps a protocol from its transport until TLS is up; then it is only a way through."""

    def __init__(self, inner: Protocol) -> None:
        self.done: Deferred[Protocol] = Deferred(lambda _: cast("Any", self.transport).abortConnection())
        self._inner = inner
        self._is_up = False

    def handshakeCompleted(self) -> None:
        if not self.done.called:
            self._is_up = True
            self._inner.makeConnection(cast("Any", self.transport))
            self.done.callback(self._inner)

    def dataReceived(self, data: bytes) -> None:
        if self._is_up:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._is_up:
            self._inner.connectionLost(reason)
        elif not self.done.called:
            self.done.errback(reason)


class _Handshakes(Factory):
    """Makes one for each protocol of another factory."""

    noisy = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def buildProtocol(self, addr: IAddress | None) -> _Handshake:
        return _Handshake(self._inner.buildProtocol(addr))
