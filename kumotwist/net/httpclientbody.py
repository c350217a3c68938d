"""Bodies as twisted.web's HTTP client wants them: requests to write, replies to collect.

Public: `RequestBody`, `ResponseShape`, `read_body`, `TooLarge`.
"""

from __future__ import annotations

from typing import Protocol as Shape
from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from kumotwist.net.clock import Clock, DelayedCall


class TooLarge(Exception):
    """A reply's body passed its limit."""


class Consumer(Shape):
    """What a body is written to."""

    def write(self, data: bytes) -> None: ...


class ResponseShape(Shape):
    """The part of IResponse that we use."""

    code: int
    headers: Headers
    #: What Content-Length said, else UNKNOWN_LENGTH, a str.
    length: int | str

    def deliverBody(self, protocol: Protocol) -> None: ...


class _Closable(Shape):
    def loseConnection(self) -> None: ...


@implementer(IBodyProducer)
@define(eq=False)
class RequestBody:
    """A request body in memory, written in one piece."""

    data: bytes = field(repr=False)
    length: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.length = len(self.data)

    def startProducing(self, consumer: Consumer) -> Deferred[None]:
        """Write it all."""
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """There is nothing left to pause."""

    def resumeProducing(self) -> None:
        """There is nothing left to resume."""

    def stopProducing(self) -> None:
        """There is nothing left to stop."""


def read_body(response: ResponseShape, limit: int, clock: Clock) -> Deferred[bytes]:
    """The whole body. Fails with TooLarge beyond `limit` octets; cancelling it drops the connection."""
    reader = _Reader(limit, clock)
    response.deliverBody(reader)
    return reader.done


class _Reader(Protocol):
    def __init__(self, limit: int, clock: Clock) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._limit = limit
        self._clock = clock
        self._dropping: DelayedCall | None = None
        self._size = 0
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._parts.append(data)
        elif self._dropping is None:
            # Not at once: when the reply ends in what is being read now, twisted.web keeps the connection for the
            # next request, and would keep one that is closing just so.
            self._dropping = self._clock.callLater(0, self._drop)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._dropping is not None and self._dropping.active():
            self._dropping.cancel()
            self._refuse()
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)

    def _drop(self) -> None:
        self._abort()
        self._refuse()

    def _refuse(self) -> None:
        if not self.done.called:
            self.done.errback(TooLarge(f"the reply is larger than {self._limit} octets"))

    def _abort(self) -> None:
        if self.transport is not None:
            cast("_Closable", self.transport).loseConnection()
