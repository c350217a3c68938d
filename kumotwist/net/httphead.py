"""Replies whose head has an end: what a peer may say before its reply's body is bounded.

twisted.web bounds a header line but not how many there are, nor the interim
replies before the true one; a peer that goes on for ever would fill memory
until the request's time-out. With this pool it cannot.

Public: `BoundedPool`, `MAX_HEAD`. What can go wrong: TooLarge, for the request whose reply it was.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory

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

    def _end_head(self, result: object) -> object:
        size, self._head = self._head or 0, None
        if size > MAX_HEAD:
            raise TooLarge(f"the head of the reply is larger than {MAX_HEAD} octets")
        return result


class _BoundedFactory(_HTTP11ClientFactory):
    def buildProtocol(self, addr: IAddress | None) -> _BoundedProtocol:  # noqa: ARG002
        return _BoundedProtocol(self._quiescentCallback)  # type: ignore[no-untyped-call] # Twisted's


class BoundedPool(HTTPConnectionPool):
    """Keeps connections like any pool; those that it makes bound the heads of replies."""

    _factory = _BoundedFactory
