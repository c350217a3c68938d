"""One request over HTTP/2 and what becomes of it.

Public: `Http2Request`, `StreamFailed`, `Exchange`. What can go wrong: `Exchange.of`
raises ValueError for a header that would not stay one header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from twisted.internet.defer import Deferred

from kumotwist.net.http import HttpError, HttpResponse

#: RFC 9113 s8.2.1: names in lower case; no NUL, CR or LF, and no blank at the ends of a value.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_PATH: Final = re.compile(rb"/[!-~]*\Z")


class StreamFailed(HttpError):
    """No whole reply came. `was_sent` when the peer may have acted on the request all the same.

    Without it the request surely was not processed and can be sent again as it is.
    """


@frozen
class Http2Request:
    """A request to the authority of its connection.

    `shared` headers are alike from request to request and shrink to a few
    octets each; `own` ones differ and are sent as they are, so that they do
    not push the shared ones out of the peer's table. Names in lower case.
    """

    method: bytes
    path: bytes = field(repr=False)
    shared: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    own: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


@define(eq=False)
class Exchange:
    """A request under way and as much of the reply as has come.

    `done` fires with the reply or fails with StreamFailed. `stream` is 0 until
    the request has been started; `deadline` is in Unix seconds.
    """

    headers: Sequence[HeaderTuple]
    body: bytes
    deadline: float
    done: Deferred[HttpResponse]
    stream: int = 0
    sent: int = 0
    code: int = 0
    is_over: bool = False
    fields: Sequence[tuple[bytes, bytes]] = ()
    size: int = 0
    _parts: list[bytes] = field(factory=list, init=False)

    @classmethod
    def of(
        cls, request: Http2Request, authority: bytes, deadline: float, give_up: Callable[[Exchange], None]
    ) -> Exchange:
        """The exchange for `request`; `give_up` is called when its Deferred is cancelled."""
        _check(request)
        headers = [
            HeaderTuple(b":method", request.method),
            HeaderTuple(b":scheme", b"https"),
            HeaderTuple(b":authority", authority),
            NeverIndexedHeaderTuple(b":path", request.path),
            *[HeaderTuple(name, value) for name, value in request.shared],
            *[NeverIndexedHeaderTuple(name, value) for name, value in request.own],
        ]
        done: Deferred[HttpResponse] = Deferred(lambda _: give_up(exchange))
        exchange = cls(headers, request.body, deadline, done)
        return exchange

    @property
    def is_sent(self) -> bool:
        """Whether all of the body has gone out."""
        return self.sent == len(self.body)

    def add(self, data: bytes) -> None:
        """A piece of the reply's body."""
        self._parts.append(data)

    def succeed(self) -> None:
        """The reply is whole."""
        if not self.is_over:
            self.is_over = True
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.fields]
            self.done.callback(HttpResponse(self.code, pairs, b"".join(self._parts)))

    def fail(self, text: str, was_sent: bool) -> None:
        """No reply will come; nothing when it is over already."""
        if not self.is_over:
            self.is_over = True
            self.done.errback(StreamFailed(text, was_sent))


def _check(request: Http2Request) -> None:
    """Raise ValueError for what would not be one request; no value is quoted, for it may be a secret."""
    if not _METHOD.match(request.method) or not _PATH.match(request.path):
        raise ValueError("not a method and a path")
    for name, value in (*request.shared, *request.own):
        if not _NAME.match(name):
            raise ValueError(f"not a header name: {name.decode('utf-8', 'replace')!r}")
        if _BAD_VALUE.search(value):
            raise ValueError(f"the value of header {name.decode()} has a line break, NUL or blank ends in it")
