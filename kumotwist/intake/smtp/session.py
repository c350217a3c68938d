"""One SMTP client's connection: Twisted's side of it.

Octets go to the core (`proto.smtp.server`), its decisions come back one at a
time and `Conversation` answers them, at once or by a coroutine while the core
waits. Replies to pipelined commands leave in one write.

Public: `SmtpProtocol`. What can go wrong: nothing gets out of here. A peer
that stalls meets the deadline that the factory's sweep looks at; one that
does not read its replies is no longer read from.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

from twisted.internet import protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.core.errors import Rejection
from kumotwist.intake.smtp.conversation import Conversation, Decision, Reply
from kumotwist.intake.smtp.listener import SHUTTING_DOWN, TOO_MANY, Listener, refusal
from kumotwist.intake.smtp.output import Output
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.intake.smtp.transaction import Stage
from kumotwist.intake.smtp.wire import Wire
from kumotwist.net.drive import Driven, drive
from kumotwist.net.tls import facts
from kumotwist.proto import proxyproto
from kumotwist.proto.smtp.events import EndOfData, Event, StartData, StartTls

#: Octets of pipelined commands that may wait while policy thinks. Ours: one read of Twisted's.
MAX_WAITING: Final = 65536
#: Seconds that a peer has to take our last words before the connection is cut. Ours.
CLOSE_TIMEOUT: Final = 10.0


class Sessions(Protocol):
    """What a session tells its factory."""

    listener: Listener
    slots: ConnectionSlots

    def opened(self, session: SmtpProtocol) -> str | None:
        """Count the session; why it is refused, or None."""
        ...

    def closed(self, session: SmtpProtocol) -> None:
        """The connection is gone."""
        ...


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class SmtpProtocol(protocol.Protocol):
    """A session on a transport."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._clock = sessions.listener.clock
        #: Whether one of the listener's connections is ours.
        self.has_slot = False
        self._talk: Conversation
        self._wire: Wire
        #: When `sweep` steps in; Unix seconds.
        self._deadline = float("inf")
        #: When the body in progress must have come.
        self._body_deadline = float("inf")
        self._out: Output
        self._driven: Driven[Reply] | None = None
        self._event: Event | None = None
        self._proxy_header: bytes | None = None
        self._is_waiting = False
        self._is_pumping = False
        self._is_expired = False
        self._is_draining = False
        self._is_closing = False
        self._is_lost = False
        self._is_read_to_end = False
        self._is_output_full = False
        self._is_reading = True

    # -- what Twisted calls -----------------------------------------------------------------------

    def connectionMade(self) -> None:
        """A client is there: refuse it, wait for its PROXY header, or greet it."""
        self._wire = wire = cast("Wire", self.transport)
        is_socket = isinstance(self.transport, Connection)
        if is_socket and isinstance(wire.getHost(), IPv4Address | IPv6Address):
            wire.setTcpNoDelay(True)
        self._out = Output(wire, writes_at_once=is_socket)
        wire.registerProducer(self, True)
        self._talk = Conversation(self._sessions.listener, _end(wire.getPeer()), _end(wire.getHost()))
        reason = self._sessions.opened(self)
        self._deadline = self._clock.seconds() + self._talk.client.config.client_timeout
        if reason is not None:
            self._resolve(None, (421, f"4.3.2 {self._talk.client.hostname} {reason}"))
        elif self._talk.client.config.require_proxy_protocol:
            self._proxy_header = b""
        else:
            self._greet()
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        """Octets from the client."""
        if self._is_closing:
            return
        if self._proxy_header is not None:
            self._read_proxy_header(self._proxy_header + data)
            return
        self._talk.core.receive_data(data)
        if not self._is_waiting:
            self._pump()
        elif self._talk.core.buffered > MAX_WAITING:
            self._update_reading()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """The connection is gone: a transaction that is not yet on disk is forgotten, the client will retry."""
        self._is_lost = self._is_closing = True
        driven = self._driven
        if driven is not None and not self._is_committed():
            driven.cancel()
        self._sessions.closed(self)

    def readConnectionLost(self) -> None:
        """The client sends no more, but may still read: finish what it asked for."""
        self._is_read_to_end = True
        if not self._is_waiting:
            self._close()

    def writeConnectionLost(self) -> None:
        """We never half-close."""

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        self._talk.client.tls_started(facts(self._wire.getHandle()))

    def pauseProducing(self) -> None:
        """The client does not read its replies: do not read from it either."""
        self._is_output_full = True
        self._update_reading()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._is_output_full = False
        self._update_reading()

    def stopProducing(self) -> None:
        """The transport is done for; `connectionLost` follows."""

    # -- decisions --------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Answer what can be answered now, and write it."""
        core, talk = self._talk.core, self._talk
        self._is_pumping = True
        while not self._is_waiting:
            event = core.next_event()
            if event is None:
                break
            self._resolve(event, talk.decide(event))
        self._is_pumping = False
        if self._is_lost:
            return
        if self._is_draining and not self._is_waiting:
            self._say_goodbye(SHUTTING_DOWN)
        self._flush()
        if core.is_closed or (self._is_read_to_end and not self._is_waiting):
            self._close()
        elif not self._is_waiting:
            now = self._clock.seconds()
            self._deadline = now + talk.client.config.client_timeout
            if self._body_deadline < self._deadline and core.is_receiving_body:
                self._deadline = self._body_deadline
        if not self._is_reading or self._is_waiting:
            self._update_reading()

    def _greet(self) -> None:
        """Greet the client, if it can have a connection of the listener's."""
        if self._sessions.slots.take_now():
            self.has_slot = True
            self._resolve(None, self._talk.greeting())
        else:
            self._resolve(None, self._welcome())

    async def _welcome(self) -> Reply:
        """The greeting once a slot is found, which may have to be asked for."""
        self.has_slot = await self._sessions.slots.take()
        if not self.has_slot:
            self._sessions.listener.connections_denied += 1
            return 421, f"4.3.2 {self._talk.client.hostname} {TOO_MANY}"
        decision = self._talk.greeting()
        return decision if isinstance(decision, tuple) else await decision

    def _resolve(self, event: Event | None, decision: Decision) -> None:
        """Answer `event` (None: the connection itself) by `decision`, now or when it is made."""
        if self._sessions.listener.policy.handles("smtp_server_rewrite_response"):
            decision = self._rewritten(event, decision)
        if isinstance(decision, tuple):
            self._emit(event, *decision)
            return
        self._is_waiting = True
        self._event = event
        driven = drive(decision, self._decided, self._failed)
        if not driven.has_ended:
            self._driven = driven
            self._deadline = self._clock.seconds() + self._talk.client.config.data_processing_timeout

    async def _rewritten(self, event: Event | None, decision: Decision) -> Reply:
        """What policy makes of the reply; its refusals are replies, too."""
        rejection: Rejection | None = None
        try:
            code, text = decision if isinstance(decision, tuple) else await decision
        except CancelledError:
            raise
        except Exception as error:
            rejection = refusal(error, self._talk.client.hostname)
            code, text = rejection.code, rejection.text
        command = event.command if event is not None else None
        policy = self._sessions.listener.policy
        new_code, new_text = await policy.smtp_server_rewrite_response(code, text, command, self._talk.client.conn)
        code, text = new_code or code, text if new_text is None else new_text
        if rejection is not None:
            raise Rejection(code, text, rejection.disconnect, rejection.follow_with_421)
        return code, text

    def _decided(self, reply: Reply) -> None:
        event = self._take_event()
        if self._is_lost:
            return
        self._emit(event, *reply)
        if not self._is_pumping:
            self._pump()

    def _failed(self, error: BaseException) -> None:
        event = self._take_event()
        if self._is_lost:
            return
        said = refusal(error, self._talk.client.hostname)
        text = said.text
        if isinstance(error, CancelledError) and isinstance(event, EndOfData) and self._talk.transaction is not None:
            text = f"{text} ({self._talk.transaction.stage.value})"
        self._emit(event, said.code, text)
        if said.follow_with_421:
            self._last_words(f"{self._talk.client.hostname} disconnecting due to previous error")
        elif said.disconnect:
            self._talk.core.is_closed = True
        if not self._is_pumping:
            self._pump()

    def _take_event(self) -> Event | None:
        event, self._event = self._event, None
        self._driven = None
        self._is_waiting = False
        return event

    def _emit(self, event: Event | None, code: int, text: str) -> None:
        """Put a reply behind the others, and do what it stands for."""
        talk = self._talk
        if code >= 400:
            talk.note_refusal(event, code, text)
        if event is None:
            self._out.put(talk.core.greet(code, text))
            return
        self._out.put(talk.core.answer(code, text))
        if isinstance(event, StartData):
            self._body_deadline = self._clock.seconds() + talk.client.config.data_processing_timeout
        elif isinstance(event, StartTls) and code < 400:
            self._start_tls()

    def _last_words(self, text: str) -> None:
        """A 421 that nobody asked for; the session is over."""
        if not self._talk.core.is_closed:
            self._out.put(self._talk.core.end(421, text))

    def _say_goodbye(self, why: str) -> None:
        if self._talk.core.is_idle:
            self._last_words(f"4.3.2 {self._talk.client.hostname} {why}")

    # -- the transport ----------------------------------------------------------------------------

    def _flush(self) -> None:
        if not self._is_lost:
            self._out.flush()

    def _start_tls(self) -> None:
        """Go over to TLS behind the 220; octets that came in clear are gone by now."""
        self._flush()
        self._out.writes_at_once = False
        self._wire.startTLS(self._talk.tls_context)
        self._talk.core.tls_started()

    def _update_reading(self) -> None:
        """Read from the client unless it floods us or does not read itself."""
        is_flooding = self._is_waiting and self._talk.core.buffered > MAX_WAITING
        wants_reading = not (is_flooding or self._is_output_full)
        if wants_reading == self._is_reading or self._is_closing:
            return
        self._is_reading = wants_reading
        if wants_reading:
            self._wire.resumeProducing()
        else:
            self._wire.pauseProducing()

    def _close(self) -> None:
        """Let the last words go out, then close."""
        if self._is_closing:
            return
        self._is_closing = True
        self._deadline = self._clock.seconds() + CLOSE_TIMEOUT
        self._wire.unregisterProducer()
        self._wire.loseConnection()

    def _abort(self) -> None:
        if not self._is_lost:
            self._is_closing = True
            self._wire.abortConnection()

    def _read_proxy_header(self, data: bytes) -> None:
        try:
            parsed = proxyproto.parse(data)
        except proxyproto.Malformed:
            self._abort()
            return
        if parsed is None:
            self._proxy_header = data
            return
        ends, length = parsed
        self._proxy_header = None
        if ends is not None:
            source, destination = (ends.source, ends.source_port), (ends.destination, ends.destination_port)
            self._talk.relocate(source, destination)
        if len(data) > length:
            self._talk.core.receive_data(data[length:])
        self._greet()
        self._pump()

    # -- time and the end -------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Step in when the deadline has passed."""
        if now < self._deadline:
            return
        if self._is_closing or self._proxy_header is not None:
            self._abort()
        elif self._driven is not None:
            self._give_up_waiting(self._driven, now)
        elif self._talk.core.is_receiving_body and now >= self._body_deadline:
            self._end_now(451, "4.4.5 data_processing_timeout exceeded (rx)")
        else:
            self._end_now(421, f"4.3.2 {self._talk.client.hostname} idle too long")

    def _give_up_waiting(self, driven: Driven[Reply], now: float) -> None:
        transaction = self._talk.transaction
        if transaction is not None and self._is_committed():
            # It is on disk, so it is ours; the queue may take its time.
            driven.abandon()
            self._decided(transaction.accepted())
        elif self._is_expired:
            self._abort()
        else:
            self._is_expired = True
            self._deadline = now + CLOSE_TIMEOUT
            driven.cancel()

    def _is_committed(self) -> bool:
        transaction = self._talk.transaction
        return isinstance(self._event, EndOfData) and transaction is not None and transaction.stage is Stage.INSERT

    def _end_now(self, code: int, text: str) -> None:
        self._talk.note_refusal(None, code, text)
        self._out.put(self._talk.core.end(code, text))
        self._flush()
        self._close()

    def drain(self) -> None:
        """Say 421 at the next moment at which nothing is under way."""
        self._is_draining = True
        if self._proxy_header is not None:
            self._abort()
        elif not self._is_waiting and not self._is_closing:
            self._pump()

    def abort(self) -> None:
        """Cut the connection."""
        self._abort()


def _end(address: object) -> tuple[str, int]:
    """Address and port of one end; a Unix socket has neither and counts as this machine."""
    if isinstance(address, IPv4Address | IPv6Address):
        return address.host, address.port
    return "127.0.0.1", 0
