"""The socket end of the SMTP client: Twisted on one side, the wire core on the other.

One exchange runs at a time and costs one Deferred. One delayed call watches
the deadline of whatever is awaited; it is moved only when a nearer deadline
comes, so a busy connection touches the reactor's timers every few seconds.

Public: `SmtpWire`. All that goes wrong is a `WireTrouble` of the exchange
that was running; the connection is gone then.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.egress.esmtp.feeder import LARGE, BodyFeeder
from kumotwist.egress.esmtp.transport import StreamTransport
from kumotwist.egress.esmtp.trouble import ConnectionGone, HandshakeFailed, OutOfStep, ReplyTimeout, WireTrouble
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.eager import write_now
from kumotwist.net.ending import why_ended, why_no_tls
from kumotwist.net.tls_client import TlsAttempt, TlsFacts
from kumotwist.proto.smtp.client import ClientSession
from kumotwist.proto.smtp.client_capabilities import Capabilities
from kumotwist.proto.smtp.client_commands import Exchange, Step

#: Seconds that a polite goodbye may take: KumoMTA's for QUIT after a failed handshake.
FAREWELL: Final = 2.0
#: A timer this little too late is left alone, in seconds.
_SLACK: Final = 0.05


@implementer(IHandshakeListener)
class SmtpWire(Protocol):
    """One connection. `timeouts` has seconds by `Step`."""

    def __init__(self, clock: Clock, timeouts: Sequence[float]) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._core = ClientSession()
        self._exchange: Exchange | None = None
        self._done: Deferred[None] | None = None
        self._tls: tuple[TlsAttempt, Deferred[TlsFacts]] | None = None
        self._feeder: BodyFeeder | None = None
        self._deadline = inf
        self._timer: DelayedCall | None = None
        self._timer_at = inf
        self._trouble: WireTrouble | None = None
        #: Fires when the connection is gone.
        self.closed: Deferred[None] = Deferred()

    @property
    def is_usable(self) -> bool:
        """Whether another exchange may be run."""
        return self._trouble is None and self._core.is_usable and self._exchange is None

    @property
    def has_sent_all(self) -> bool:
        """Whether the body of the last transaction has left us to its end, as far as can be told."""
        return self._feeder is None or self._feeder.is_finished

    @property
    def capabilities(self) -> Capabilities:
        """What the last EHLO offered."""
        return self._core.capabilities

    @property
    def ending(self) -> str:
        """Why an idle connection is of no more use, in the peer's words if it had any."""
        farewell = self._core.farewell
        return f"{farewell.code} {farewell.text}" if farewell is not None else str(self._trouble or "connection closed")

    @property
    def local_address(self) -> IAddress | None:
        """Our end, None when it is gone."""
        return self._transport().getHost() if self.transport is not None else None

    # -- for the session -------------------------------------------------------------------------

    def run(self, exchange: Exchange) -> Deferred[None]:
        """Do `exchange`; fires when it is done, fails with WireTrouble. Cancelling it aborts the connection."""
        done: Deferred[None] = Deferred(self._cancelled)
        self._done = done
        self._exchange = exchange
        if self._trouble is not None:
            self._fail(self._trouble)
            return done
        try:
            opening = self._core.start(exchange)
        except RemoteProtocolError as error:
            self._fail(OutOfStep(str(error)))
            return done
        if opening:
            write_now(self._transport(), opening)
        self._arm(self._timeouts[exchange.step])
        return done

    def start_tls(self, attempt: TlsAttempt) -> Deferred[TlsFacts]:
        """Do the handshake; fails with HandshakeFailed or another WireTrouble."""
        facts: Deferred[TlsFacts] = Deferred(self._cancelled)
        self._tls = (attempt, facts)
        self._arm(self._timeouts[Step.STARTTLS])
        self._transport().startTLS(attempt)
        return facts

    def hang_up(self) -> None:
        """Close, with a bound on how long the peer may keep us."""
        if self._trouble is None:
            self._trouble = ConnectionGone("closed by us")
            self._arm(FAREWELL)
            self._transport().loseConnection()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._trouble is None:
            self._trouble = ConnectionGone("aborted by us")
        if self.transport is not None:
            self._transport().abortConnection()

    # -- for Twisted -----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self._transport().setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        try:
            out = self._core.receive_data(data)
        except RemoteProtocolError as error:
            self._fail(OutOfStep(str(error), self._waiting_for()))
            return
        exchange = self._exchange
        if exchange is None:
            if not self._core.is_usable:
                self._fail(ConnectionGone(self.ending))
        elif exchange.is_done:
            self._finish(exchange)
        else:
            if out:
                self._send(out)
            self._arm(self._timeouts[exchange.step])

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = self._waiting_for()
        why = why_no_tls(reason) if self._tls is not None else why_ended(reason)
        text = f"no response to {waiting}: {why}" if waiting else why
        self._settle(self._trouble or ConnectionGone(text, waiting))
        self.closed.callback(None)

    def handshakeCompleted(self) -> None:
        """TLS is up, unless the name says otherwise."""
        if self._tls is None:
            return
        attempt, done = self._tls
        facts = attempt.finish()
        if facts is None:
            self._fail(HandshakeFailed(attempt.problem or "certificate refused"))
            return
        self._tls = None
        self._deadline = inf
        self._core.tls_started()
        done.callback(facts)

    # -- inside ----------------------------------------------------------------------------------

    def _transport(self) -> StreamTransport:
        return cast("StreamTransport", self.transport)

    def _send(self, pieces: Sequence[bytes]) -> None:
        if len(pieces[0]) <= LARGE:
            write_now(self._transport(), b"".join(pieces))
            return
        self._feeder = BodyFeeder(self._transport(), pieces, self._on_progress)
        self._feeder.start()

    def _on_progress(self) -> None:
        """The peer takes the body, if slowly: its time begins anew."""
        exchange = self._exchange
        if exchange is not None:
            self._arm(self._timeouts[exchange.step])

    def _finish(self, exchange: Exchange) -> None:
        self._deadline = inf
        self._exchange = None
        done, self._done = self._done, None
        feeder, self._feeder = self._feeder, None
        if exchange.is_broken or (feeder is not None and not feeder.is_finished):
            # A verdict in the middle of the body leaves the peer waiting for the rest of it.
            self._trouble = ConnectionGone("connection given up")
            self.abort()
        if done is not None:
            done.callback(None)

    def _waiting_for(self) -> str:
        return self._exchange.waiting_for if self._exchange is not None else ""

    def _fail(self, trouble: WireTrouble) -> None:
        """End everything with `trouble`."""
        if self._trouble is None:
            self._trouble = trouble
        self.abort()
        self._settle(self._trouble)

    def _settle(self, trouble: WireTrouble) -> None:
        """Tell whoever waits."""
        self._deadline = inf
        if self._trouble is None:
            self._trouble = trouble
        done, self._done, self._exchange = self._done, None, None
        tls, self._tls = self._tls, None
        if done is not None and not done.called:
            done.errback(trouble)
        if tls is not None and not tls[1].called:
            problem = tls[0].problem
            tls[1].errback(HandshakeFailed(problem or str(trouble)) if isinstance(trouble, ConnectionGone) else trouble)

    def _cancelled(self, _: Deferred[object]) -> None:
        self._trouble = ConnectionGone("given up")
        self._done = None
        self._tls = None
        self.abort()

    # -- the deadline ----------------------------------------------------------------------------

    def _arm(self, seconds: float) -> None:
        deadline = self._clock.seconds() + seconds
        self._deadline = deadline
        if self._timer is None or deadline < self._timer_at - _SLACK:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._clock.callLater(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline == inf:
            return
        left = self._deadline - self._clock.seconds()
        if left > 0:
            self._timer_at = self._deadline
            self._timer = self._clock.callLater(left, self._on_timer)
        elif self._tls is not None:
            self._fail(ReplyTimeout("TLS handshake", self._timeouts[Step.STARTTLS]))
        elif self._exchange is not None:
            self._fail(ReplyTimeout(self._exchange.waiting_for, self._timeouts[self._exchange.step]))
        else:
            self.abort()
