"""What the wire uses of Twisted's stream transports (TCP, Unix, TLS over either), for mypy.

Public: `StreamTransport`.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IAddress


class StreamTransport(Protocol):
    """A connected byte stream."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Only on TCP."""
        ...

    def startTLS(self, attempt: object) -> None: ...

    def registerProducer(self, producer: object, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def getHost(self) -> IAddress: ...
