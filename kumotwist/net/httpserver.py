"""The HTTP server: Twisted's HTTP/1.1 behind limits of ours.

Twisted parses; this module bounds what it is given and turns each request into
an `HttpRequest` for one async handler. One coarse timer per site looks after
all its connections, so a request costs no timer. A body is held in memory,
counted while it arrives, and refused the moment it is too large.

Public: `HttpSite`. What can go wrong: nothing reaches the caller. A client
that is slow, too large or too many is answered 408, 413, 431 or 503; a handler
that fails is logged and answered 500, without a word of why.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import Resource

from kumotwist.core.stats import Sample
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.inflate import TOO_LARGE
from kumotwist.net.router import Handler, HttpError, HttpRequest, Reply, text_reply

log: Final = Logger()

#: Connections of one listener at once; as many as the SMTP listener's default of max_connections.
MAX_CONNECTIONS: Final = 32768
#: Octets of request bodies in memory at once, over all connections. Ours: 128 bodies of the default limit.
MAX_HELD: Final = 256 * 1024 * 1024
#: Seconds that an idle connection is kept. Ours; Twisted's and nginx's default are 60 and 75.
IDLE_TIMEOUT: Final = 60.0
#: Seconds for a whole request to arrive, plus one for each of so many octets of the body limit. Ours: 256 kbit/s.
REQUEST_TIMEOUT: Final = 60.0
SLOWEST: Final = 32 * 1024
#: Seconds between our last word and the reset; Twisted's abortTimeout.
LINGER: Final = 15.0
#: Seconds between two looks at the connections.
SWEEP_INTERVAL: Final = 5.0
#: Replies longer than this are compressed when the client can read that. Ours: shorter ones fit a packet.
COMPRESS_FROM: Final = 1400


#: Reason phrases; Twisted knows fewer.
_REASONS: Final = {one.value: one.phrase.encode() for one in HTTPStatus}


class _Transport(Protocol):
    """What of a TCP or TLS transport is used beyond ITransport."""

    def write(self, data: bytes) -> None: ...

    def loseWriteConnection(self) -> None: ...

    def abortConnection(self) -> None: ...


class _State(enum.Enum):
    IDLE = "idle"
    READING = "reading"
    HANDLING = "handling"
    CLOSING = "closing"


class HttpSite(server.Site):
    """A listener's factory: every request on its connections goes to one handler."""

    noisy = False

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        body_limit: int,
        *,
        name: str,
        max_connections: int = MAX_CONNECTIONS,
        max_held: int = MAX_HELD,
    ) -> None:
        """`name` labels its metrics; `body_limit` in octets."""
        super().__init__(Resource(), requestFactory=_Request, reactor=clock, timeout=None)
        self.handler = handler
        self.clock = clock
        self.body_limit = body_limit
        self.name = name
        self.held = 0
        self.max_held = max_held
        self.is_closing = False
        self._max_connections = max_connections
        self._channels: set[_Channel] = set()
        self._sweep_call: DelayedCall | None = None
        self._empty: list[Deferred[None]] = []
        self._accepted = self._denied = 0
        self._date = (0, "")

    def samples(self) -> Iterable[Sample]:
        """Connections of this listener, now and ever."""
        service = (("service", self.name),)
        yield Sample("connection_count", float(len(self._channels)), service)
        yield Sample("total_connection_count", float(self._accepted), service)
        yield Sample("total_connections_denied", float(self._denied), service)

    async def close(self) -> None:
        """Let requests in progress end, hang up the rest, and return when nobody is connected.

        May be cancelled to stop waiting; what is still connected stays so.
        """
        self.is_closing = True
        for channel in list(self._channels):
            channel.finish_up()
        if self._channels:
            ended: Deferred[None] = Deferred()
            self._empty.append(ended)
            await ended

    def abort(self) -> None:
        """Reset whatever is still connected."""
        for channel in list(self._channels):
            channel.abort()

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002
        """A channel for a new connection; HTTP/1.1 only, without the base class's negotiation."""
        channel = _Channel()
        channel.site = channel.factory = self
        channel.requestFactory = _Request
        channel.timeOut = None
        return channel

    def startFactory(self) -> None:
        """Called by the port; the access log that the base class opens here is not wanted."""

    def stopFactory(self) -> None:
        """Called when the port closes; connections may live on."""
        self._stop_sweeping()

    def log(self, request: http.Request) -> None:
        """No access log: what is accepted is in the records, what is refused in the reply."""

    def admit(self, channel: _Channel) -> bool:
        """Whether a new connection may stay."""
        if self.is_closing or len(self._channels) >= self._max_connections:
            self._denied += 1
            return False
        self._accepted += 1
        self._channels.add(channel)
        if self._sweep_call is None:
            self._sweep_call = self.clock.callLater(SWEEP_INTERVAL, self._sweep)
        return True

    def gone(self, channel: _Channel) -> None:
        """A connection has ended."""
        self._channels.discard(channel)
        self._stop_sweeping()
        if not self._channels:
            waiting, self._empty = self._empty, []
            for ended in waiting:
                ended.callback(None)

    def date(self) -> str:
        """The value of a Date header for now."""
        now = int(self.clock.seconds())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True))
        return self._date[1]

    @property
    def request_timeout(self) -> float:
        """Seconds for a whole request to arrive."""
        return REQUEST_TIMEOUT + self.body_limit / SLOWEST

    def _sweep(self) -> None:
        self._sweep_call = self.clock.callLater(SWEEP_INTERVAL, self._sweep)
        now = self.clock.seconds()
        for channel in list(self._channels):
            channel.check(now)

    def _stop_sweeping(self) -> None:
        if not self._channels and self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None


class _Channel(http.HTTPChannel):
    """One connection."""

    site: HttpSite
    _state = _State.IDLE
    _since = 0.0

    def connectionMade(self) -> None:
        if not self.site.admit(self):
            self.abort()
            return
        self._enter(_State.IDLE)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self._state is _State.IDLE:
            self._enter(_State.READING)
        elif self._state is _State.CLOSING:
            return
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        # Not by READING: a pipelined request may be complete in the buffer when the one before it ends.
        if self._state is not _State.CLOSING:
            self._enter(_State.HANDLING)
            super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        self._enter(_State.IDLE)
        if self.site.is_closing:
            self.persistent = 0
        super().requestDone(request)
        if not self.persistent:
            self._enter(_State.CLOSING)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.gone(self)
        super().connectionLost(reason)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        """A header line, or the request line, is longer than MAX_LENGTH (16 KiB, Twisted's)."""
        self.refuse(text_reply(431, "Error: the request header is too long"))

    def check(self, now: float) -> None:
        """Hang up on a client that has been idle or slow for too long."""
        waited = now - self._since
        if self._state is _State.CLOSING and waited > LINGER:
            self.abort()
        elif self._state is _State.READING and waited > self.site.request_timeout:
            self.refuse(text_reply(408, "Error: the request took too long to arrive"))
        elif self._state is _State.IDLE and waited > IDLE_TIMEOUT:
            self.finish_up()

    def refuse(self, reply: Reply) -> None:
        """Answer before the request is complete, read no more, and hang up.

        What the client still sends is read and dropped until it hangs up or
        LINGER is over: a reset would take the answer away from it.
        """
        if self._state is _State.CLOSING:
            return
        self._enter(_State.CLOSING)
        reason = _REASONS.get(reply.code, b"Refused")
        head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        transport = cast("_Transport", self.transport)
        transport.write(head % (reply.code, reason, reply.content_type.encode(), len(reply.body)) + reply.body)
        if self.isSecure():
            self.loseConnection()
        else:
            transport.loseWriteConnection()

    def finish_up(self) -> None:
        """Hang up, after the reply if one is under way."""
        if self._state in (_State.IDLE, _State.READING):
            self._enter(_State.CLOSING)
            self.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        cast("_Transport", self.transport).abortConnection()

    def _enter(self, state: _State) -> None:
        self._state = state
        self._since = self.site.clock.seconds()


class _Request(http.Request):
    """One request on its way in, and its reply on the way out."""

    channel: _Channel
    _size = 0
    _chunks: list[bytes]

    def gotLength(self, length: int | None) -> None:
        self._chunks = []
        self._site = self.channel.site
        if length is not None and length > self._site.body_limit:
            # Without it the channel would ask the client to go on.
            self.requestHeaders.removeHeader(b"Expect")
            self.channel.refuse(text_reply(413, TOO_LARGE))

    def handleContentChunk(self, data: bytes) -> None:
        self._chunks.append(data)
        try:
            self._hold(len(data))
            if self._size > self._site.body_limit:
                raise HttpError(413, TOO_LARGE)
        except HttpError as error:
            self._drop()
            self.channel.refuse(text_reply(error.code, error.text))

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        request = HttpRequest(
            command.decode("latin-1"),
            self.path.decode("latin-1"),
            query.decode("latin-1"),
            self._header,
            body,
            getattr(self.client, "host", ""),
            _address(self.host),
            hold=self._hold,
            repeats=lambda name: len(self.requestHeaders.getRawHeaders(name, ())),
        )
        Deferred.fromCoroutine(self._answer(request)).addErrback(self._fail)

    def connectionLost(self, reason: Failure) -> None:
        self._drop()
        super().connectionLost(reason)

    async def _answer(self, request: HttpRequest) -> None:
        try:
            reply = await self._site.handler(request)
        except HttpError as error:
            reply = text_reply(error.code, error.text, error.headers)
        self._send(reply)

    def _fail(self, failure: Failure) -> None:
        log.failure("answering {method} {path} failed", failure, method=self.method, path=self.path)
        self._send(text_reply(500, "Error: internal error; the diagnostic log says more"))

    def _send(self, reply: Reply) -> None:
        self._drop()
        if self._disconnected or self.finished:
            return
        body = reply.body
        self.setResponseCode(reply.code, _REASONS.get(reply.code, b"Refused"))
        headers = self.responseHeaders
        if len(body) > COMPRESS_FROM and "gzip" in (self._header("accept-encoding") or ""):
            body = zlib.compress(body, 1, 31)
            headers.setRawHeaders("Content-Encoding", ["gzip"])
        headers.setRawHeaders("Content-Type", [reply.content_type])
        headers.setRawHeaders("Content-Length", [str(len(body))])
        headers.setRawHeaders("Date", [self._site.date()])
        for name, value in reply.headers.items():
            headers.setRawHeaders(name, [value])
        self.write(body)
        self.finish()

    def _header(self, name: str) -> str | None:
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None

    def _hold(self, octets: int) -> None:
        self._size += octets
        self._site.held += octets
        if self._site.held > self._site.max_held:
            raise HttpError(503, "Error: load shedding")

    def _drop(self) -> None:
        """The body is no longer in memory on our account."""
        # A request whose header was refused never learned of the site.
        if self._size:
            self._site.held -= self._size
            self._size = 0
        self._chunks = []


def _address(address: IAddress) -> str:
    host, port = getattr(address, "host", ""), getattr(address, "port", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
