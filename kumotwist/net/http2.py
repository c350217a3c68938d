"""An HTTP/2 client connection: many requests at once over one TLS connection (RFC 9113).

APNs takes nothing else. h2 knows the protocol and does no I/O; this is its
socket end. Requests beyond the peer's stream limit wait their turn here, what
the peer's windows do not let out waits too, and a GOAWAY lets those end that
the peer still answers.

Over 400 lines: streams, windows and GOAWAY are one state of one connection.

Public: `Http2Connection`, `Http2Settings` (`net.http2connect.connect` makes
them). What can go wrong is a StreamFailed for each request that it hits; it
says whether the peer may have acted on the request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from attrs import frozen
from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as WireProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.ending import in_words, why_ended
from kumotwist.net.http import HttpResponse
from kumotwist.net.http2engine import Engine
from kumotwist.net.http2frames import Goaway, GoawayFilter, code_name
from kumotwist.net.http2stream import Exchange, Http2Request

#: Streams at once at most, however many the peer allows; Apple's servers allow about so many.
MAX_STREAMS: Final = 1000
#: Octets of a reply's headers; what replies carry is below one KiB. Ours.
MAX_HEADER_LIST: Final = 16 << 10
#: Seconds between looks at deadlines and at the silence of the peer. Ours.
TICK: Final = 1.0
#: Seconds that a polite end may take before the connection is dropped. Ours.
FAREWELL: Final = 2.0
#: Streams have odd numbers below 2**31 (RFC 9113 s5.1.1); a connection takes nothing new beyond this one.
_LAST_STREAM: Final = 2**31 - 1 - 2 * MAX_STREAMS


@frozen(kw_only=True)
class Http2Settings:
    """Times in seconds: a request from its handing over to the end of the reply, how long the peer may be
    silent before it is asked whether it is there, and how long it may take to say so. `max_response` in octets.
    """

    timeout: float = 30.0
    ping_after: float = 30.0
    ping_timeout: float = 10.0
    max_response: int = 64 << 10


class _Transport(Protocol):
    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def registerProducer(self, producer: object, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


@implementer(IPushProducer)
class Http2Connection(WireProtocol):
    """One connection to `authority`. `start` is called when TLS is up; `ready` fires when the peer has spoken."""

    def __init__(self, clock: Clock, authority: str, settings: Http2Settings) -> None:
        self._clock = clock
        self._authority = authority.encode("ascii")
        self._settings = settings
        self._h2 = Engine(MAX_HEADER_LIST)
        self._filter = GoawayFilter()
        self._waiting: deque[Exchange] = deque()
        self._open: dict[int, Exchange] = {}
        #: Streams whose body the peer's windows hold up.
        self._held: dict[int, Exchange] = {}
        self._limit = MAX_STREAMS
        self._is_started = self._is_paused = self._is_over = False
        #: Why no new requests are taken; `_is_over` when nothing more will come of the old ones either.
        self._trouble: str | None = None
        self._tick: DelayedCall | None = None
        self._heard = clock.seconds()
        self._pinged: float | None = None
        self._on_event: dict[type[events.Event], Callable[[Any], None]] = {
            events.ResponseReceived: self._response_received,
            events.DataReceived: self._data_received,
            events.StreamEnded: self._stream_ended,
            events.StreamReset: self._stream_reset,
            events.RemoteSettingsChanged: self._settings_changed,
        }
        #: Fires when requests may be sent; fails with RemoteProtocolError when the peer is none of HTTP/2.
        self.ready: Deferred[None] = Deferred()
        #: Fires when the connection is gone.
        self.closed: Deferred[None] = Deferred()

    # -- for the user ----------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether new requests are taken."""
        return self._is_started and self._trouble is None

    @property
    def is_quiet(self) -> bool:
        """Whether new requests are taken and none is under way."""
        return self.is_usable and not self._open and not self._waiting

    @property
    def stream_limit(self) -> int:
        """How many requests the peer takes at once."""
        return self._limit

    @property
    def ending(self) -> str:
        """Why it is of no more use."""
        return self._trouble or "not connected"

    def send(self, request: Http2Request) -> Deferred[HttpResponse]:
        """The reply, whatever its status; fails with StreamFailed. Cancelling it resets the stream.

        Raises ValueError for a request that could not be sent to anybody.
        """
        exchange = Exchange.of(request, self._authority, self._clock.seconds() + self._settings.timeout, self._given_up)
        if not self.is_usable:
            exchange.fail(self.ending, was_sent=False)
        else:
            self._waiting.append(exchange)
            self._pump()
        return exchange.done

    def close(self) -> Deferred[None]:
        """End it politely and within FAREWELL; what is under way fails. Fires when the connection is gone."""
        if not self._is_over:
            self._end("closed by us")
            self._say_goodbye()
        return self.closed

    def abort(self, text: str = "aborted by us") -> None:
        """Drop it now; `text` says why to whom it concerns."""
        self._end(text)
        if self.transport is not None:
            self._wire.abortConnection()

    # -- for Twisted -----------------------------------------------------------------------------

    def start(self) -> None:
        """TLS is up and the peer has chosen h2: begin."""
        self._h2.initiate_connection()
        self._is_started = True
        self._heard = self._clock.seconds()
        self._wire.registerProducer(self, True)
        self._tick = self._clock.callLater(TICK, self._on_tick)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        self._heard = self._clock.seconds()
        self._pinged = None
        try:
            data, goaways = self._filter.feed(data)
            happened = self._h2.receive_data(data)
        except (ProtocolError, RemoteProtocolError) as error:
            self._flush()  # h2 has written a GOAWAY
            self.abort(f"the peer broke the protocol: {in_words(error)}")
            return
        for event in happened:
            handle = self._on_event.get(type(event))
            if handle is not None:
                handle(event)
        for goaway in goaways:
            self._told_to_go(goaway)
        if self._trouble is not None and not self._open:
            self.close()
        self._pump()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self._end(why_ended(reason))
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if not self.closed.called:
            self.closed.callback(None)

    def pauseProducing(self) -> None:
        """The peer does not take what we write: write nothing more, and read nothing that would call for answers."""
        self._is_paused = True
        self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """It does again."""
        self._is_paused = False
        self._wire.resumeProducing()
        self._pump()

    def stopProducing(self) -> None:
        """The connection is going; `connectionLost` tells the rest."""

    # -- sending ---------------------------------------------------------------------------------

    @property
    def _wire(self) -> _Transport:
        return cast("_Transport", self.transport)

    def _pump(self) -> None:
        """Send on what the peer's windows and stream limit let out by now."""
        if self._is_over or self._is_paused:
            return
        h2, waiting = self._h2, self._waiting
        if self._held and h2.outbound_flow_control_window > 0:
            for exchange in list(self._held.values()):
                self._send_body(exchange)
        # A stream that could not send its body would only be one more whose fate is uncertain.
        while waiting and len(self._open) < self._limit and h2.outbound_flow_control_window > 0:
            exchange = waiting.popleft()
            if not exchange.is_over:
                self._begin(exchange)
        self._flush()

    def _begin(self, exchange: Exchange) -> None:
        h2 = self._h2
        exchange.stream = stream = h2.get_next_available_stream_id()
        h2.send_headers(stream, exchange.headers, end_stream=not exchange.body)
        self._open[stream] = exchange
        if exchange.body:
            self._send_body(exchange)
        if stream >= _LAST_STREAM:
            self._told_to_go(Goaway(stream, "it has carried all that it can"))

    def _send_body(self, exchange: Exchange) -> None:
        """As much of the body as the windows let out."""
        h2, stream, body = self._h2, exchange.stream, exchange.body
        while not exchange.is_sent:
            room = min(h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
            if room <= 0:
                self._held[stream] = exchange
                return
            piece = body[exchange.sent : exchange.sent + room]
            exchange.sent += len(piece)
            h2.send_data(stream, piece, end_stream=exchange.is_sent)
        self._held.pop(stream, None)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._wire.write(data)

    # -- what the peer says ----------------------------------------------------------------------

    def _response_received(self, event: events.ResponseReceived) -> None:
        exchange = self._open.get(event.stream_id)
        if exchange is None:
            return
        status = event.headers[0][1]
        exchange.code = int(status) if status.isdigit() else 0
        exchange.fields = [(name, value) for name, value in event.headers if not name.startswith(b":")]

    def _data_received(self, event: events.DataReceived) -> None:
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        exchange = self._open.get(event.stream_id)
        if exchange is None:
            return
        exchange.size += len(event.data)
        exchange.add(event.data)
        if exchange.size > self._settings.max_response:
            self._drop(exchange)
            exchange.fail(f"the reply is larger than {self._settings.max_response} octets", was_sent=True)

    def _stream_ended(self, event: events.StreamEnded) -> None:
        exchange = self._open.get(event.stream_id)
        if exchange is None:
            return
        if exchange.is_sent:
            del self._open[event.stream_id]
        else:
            # It has answered without wanting the rest of the body.
            self._drop(exchange)
        if exchange.code:
            exchange.succeed()
        else:
            exchange.fail("the reply has no status", was_sent=True)

    def _stream_reset(self, event: events.StreamReset) -> None:
        exchange = self._open.pop(event.stream_id, None)
        self._held.pop(event.stream_id, None)
        if exchange is not None:
            # RFC 9113 s8.7: refused is not processed; everything else may have been.
            is_refused = event.error_code == ErrorCodes.REFUSED_STREAM
            exchange.fail(f"the peer reset the stream: {code_name(event.error_code)}", not is_refused)

    def _settings_changed(self, _event: events.RemoteSettingsChanged) -> None:
        self._limit = min(self._h2.remote_settings.max_concurrent_streams, MAX_STREAMS)
        if not self.ready.called:
            self.ready.callback(None)

    def _told_to_go(self, goaway: Goaway) -> None:
        """No new requests; those that the peer will not answer are told so, the others may end."""
        text = f"the peer ends the connection: {goaway.reason}"
        if self._trouble is None:
            self._trouble = text
        self._fail_waiting(text)
        for stream in [stream for stream in self._open if stream > goaway.last_stream]:
            self._held.pop(stream, None)
            self._open.pop(stream).fail(text, was_sent=False)

    # -- endings ---------------------------------------------------------------------------------

    def _end(self, text: str) -> None:
        """Fail everything that has not ended."""
        if self._is_over:
            return
        self._is_over = True
        if self._trouble is None:
            self._trouble = text
        if not self.ready.called:
            self.ready.errback(RemoteProtocolError(text))
        self._fail_waiting(self._trouble)
        under_way, self._open, self._held = self._open, {}, {}
        for exchange in under_way.values():
            exchange.fail(text, was_sent=True)

    def _fail_waiting(self, text: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.fail(text, was_sent=False)

    def _say_goodbye(self) -> None:
        if self.transport is None:
            return
        try:
            self._h2.close_connection()
        except H2Error:
            pass  # it has ended already
        self._is_paused = False
        self._flush()
        self._wire.unregisterProducer()
        self._wire.loseConnection()
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self._clock.callLater(FAREWELL, self._overdue)

    def _overdue(self) -> None:
        self._tick = None
        self._wire.abortConnection()

    def _given_up(self, exchange: Exchange) -> None:
        """Nobody waits for the reply any more."""
        exchange.is_over = True
        self._drop(exchange)
        self._pump()

    def _drop(self, exchange: Exchange) -> None:
        """Have the peer forget a stream; one that was not begun is skipped when its turn comes."""
        self._held.pop(exchange.stream, None)
        if self._open.pop(exchange.stream, None) is not None:
            try:
                self._h2.reset_stream(exchange.stream, ErrorCodes.CANCEL)
            except H2Error:
                pass  # it has ended meanwhile

    # -- time ------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        now = self._clock.seconds()
        self._tick = self._clock.callLater(TICK, self._on_tick)
        if self._pinged is not None and now - self._pinged >= self._settings.ping_timeout:
            self.abort(f"no answer to PING within {self._settings.ping_timeout:g} s")
            return
        for exchange in self._overdue_at(now):
            is_begun = exchange.stream > 0
            self._drop(exchange)
            wait = "no reply" if is_begun else "no stream free"
            exchange.fail(f"{wait} within {self._settings.timeout:g} s", was_sent=is_begun)
        if self._pinged is None and now - self._heard >= self._settings.ping_after and not self._is_over:
            self._pinged = now
            self._h2.ping(bytes(8))
        self._pump()

    def _overdue_at(self, now: float) -> Sequence[Exchange]:
        """All requests have the same time, so the oldest stand first in both places."""
        overdue = []
        for exchange in self._open.values():
            if exchange.deadline > now:
                break
            overdue.append(exchange)
        while self._waiting and self._waiting[0].deadline <= now:
            overdue.append(self._waiting.popleft())
        return overdue
