"""What twisted.web does not look at in the head of a reply: how long it is, and whether the connection outlives it.

twisted.web bounds a header line but not how many there are, nor the interim
replies before the true one; a peer that goes on for ever would fill memory
until the request's time-out. With this pool it cannot. Nor does twisted.web
see that a server which speaks HTTP/1.0, or says `Close`, is about to close the
connection (RFC 9112 s9.3): the next request over it would fail, and nobody
knew whether it was taken.

Public: `BoundedPool`, `MAX_HEAD`. What can go wrong: TooLarge, for the request whose reply it was.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory
from twisted.web.http_headers import Headers

from kumotwist.net.httpclientbody import TooLarge

#: Octets of status line, headers and interim replies together. Browsers take 256 KiB.
MAX_HEAD: Final = 256 << 10


class _BoundedProtocol(HTTP11ClientProtocol):
    """A connection that is dropped when a reply's head passes the bound; `_head` is None outside of one."""

    _head: int | None = None

    def request(self, request: Any) -> Deferred[Any]:
        """As the class above; fails with TooLarge, too."""
        self._head = 0
        response: Deferred[Any] = super().request(request)
        return response.addBoth(self._end_head)

    def dataReceived(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.abort()  # type: ignore[no-untyped-call] # Twisted's
                return
        super().dataReceived(data)  # type: ignore[no-untyped-call] # Twisted's

    def _finishResponse(self, rest: bytes) -> None:
        parser, request = self._parser, self._currentRequest
        if parser is not None and request is not None and not _stays_open(parser.response.version, parser.connHeaders):
            request.persistent = False
        super()._finishResponse(rest)

    def _end_head(self, result: object) -> object:
        size, self._head = self._head or 0, None
        if size > MAX_HEAD:
            raise TooLarge(f"the head of the reply is larger than {MAX_HEAD} octets")
        return result


def _stays_open(version: tuple[bytes, int, int], headers: Headers) -> bool:
    said = b",".join(headers.getRawHeaders(b"connection", ())).lower().split(b",")
    options = {option.strip() for option in said}
    return b"close" not in options and (version >= (b"HTTP", 1, 1) or b"keep-alive" in options)


class _BoundedFactory(_HTTP11ClientFactory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> _BoundedProtocol:  # noqa: ARG002
        return _BoundedProtocol(self._quiescentCallback)  # type: ignore[no-untyped-call] # Twisted's


class BoundedPool(HTTPConnectionPool):
    """Keeps connections like any pool; those that it makes bound the heads of replies."""

    _factory = _BoundedFactory
