"""What an SMTP session uses of Twisted's TCP transport, as a type.

Public: `Wire`. Twisted's own interfaces are no types for mypy without a plugin.
"""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL


class Socket(Protocol):
    """The socket itself; does not block."""

    def send(self, data: bytes) -> int: ...


class Wire(Protocol):
    """A connected transport; `twisted.internet.tcp.Server` in the common case."""

    socket: Socket

    def write(self, data: bytes) -> None: ...

    def getPeer(self) -> object: ...

    def getHost(self) -> object: ...

    def getHandle(self) -> SSL.Connection: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def startTLS(self, context: object) -> None: ...

    def registerProducer(self, producer: object, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...
