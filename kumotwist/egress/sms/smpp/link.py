"""One connection to an SMSC: Twisted on one side, the wire core on the other.

Writes are gathered: whatever a turn of the reactor brings about leaves in one
piece. One delayed call watches the core's deadlines and is moved only when a
nearer one comes.

Public: `Link`, `LinkOwner`, `LinkTrouble`. All that goes wrong is
one call of the owner's `link_gone`; before the bind, `bind` fails with LinkTrouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, cast
from typing import Protocol as Shape

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.eager import write_now
from kumotwist.net.ending import why_ended, why_no_tls
from kumotwist.net.tls_client import TlsAttempt, TlsFacts
from kumotwist.proto.smpp.bind import BindMode, Credentials
from kumotwist.proto.smpp.commands import Status
from kumotwist.proto.smpp.events import Answer, Bound, Ended, Event, Incoming, Refused, Unanswered, Unbound
from kumotwist.proto.smpp.session import EsmeSession, Rules, State
from kumotwist.proto.smpp.words import status_text

#: Seconds that an SMSC has to agree to our goodbye. Ours.
FAREWELL: Final = 2.0
#: A timer this little too late is left alone, in seconds.
_SLACK: Final = 0.05


class LinkTrouble(Exception):
    """The connection is of no more use; `status` is the SMSC's when it refused the bind."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class StreamTransport(Shape):
    """What is used of Twisted's transports."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def startTLS(self, attempt: object) -> None: ...

    def getHost(self) -> IAddress: ...


class LinkOwner(Shape):
    """Hears what happens on a link, always with the link as the first argument."""

    def link_answered(self, link: Link, sequence: int, answer: Answer | None) -> None:
        """A message was answered; `answer` is None when the time for it is over."""
        ...

    def link_received(self, link: Link, messages: Sequence[Incoming]) -> None:
        """Messages came in, each to be answered with `acknowledge`."""
        ...

    def link_has_room(self, link: Link) -> None:
        """Some of what was outstanding is not any more."""
        ...

    def link_gone(self, link: Link, text: str) -> None:
        """It had been bound and is of no more use."""
        ...


@implementer(IHandshakeListener)
class Link(Protocol):
    """One connection; bound once."""

    def __init__(self, clock: Clock, rules: Rules, owner: LinkOwner) -> None:
        self._clock = clock
        self._owner = owner
        self.core = EsmeSession(rules)
        self._binding: Deferred[None] | None = None
        self._tls: tuple[TlsAttempt, Deferred[TlsFacts]] | None = None
        self._trouble: LinkTrouble | None = None
        self._has_been_bound = self._is_telling = self._is_open = False
        self._timer: DelayedCall | None = None
        self._timer_at = inf
        self._farewell: DelayedCall | None = None
        #: Fires when the connection is gone.
        self.closed: Deferred[None] = Deferred()

    @property
    def is_bound(self) -> bool:
        """Whether messages go in and out."""
        return self.core.state is State.BOUND and self._trouble is None

    @property
    def local_address(self) -> str | None:
        """`ip:port` of our end, None when it is gone."""
        host = self._transport().getHost() if self.transport is not None else None
        if isinstance(host, IPv4Address):
            return f"{host.host}:{host.port}"
        return f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else None

    # -- for the owner ----------------------------------------------------------------------------

    def start_tls(self, attempt: TlsAttempt) -> Deferred[TlsFacts]:
        """Do the handshake; fails with LinkTrouble. Cancelling it aborts the connection."""
        facts: Deferred[TlsFacts] = Deferred(lambda _: self.abort())
        self._tls = (attempt, facts)
        self._transport().startTLS(attempt)
        return facts

    def bind(self, mode: BindMode, who: Credentials, address_range: str = "") -> Deferred[None]:
        """Introduce ourselves; fails with LinkTrouble. Cancelling it aborts the connection.

        Raises LocalProtocolError for a text that does not fit its field.
        """
        self.core.bind(mode, who, self._clock.seconds(), address_range)
        bound: Deferred[None] = Deferred(lambda _: self.abort())
        self._binding = bound
        if self._trouble is not None:
            self._settle(self._trouble)
            return bound
        self.flush()
        return bound

    def submit(self, body: bytes) -> int:
        """Have a submit_sm sent with the next `flush`; its sequence number. The core says whether there is room."""
        return self.core.submit(body, self._clock.seconds())

    def acknowledge(self, incoming: Incoming, status: int = Status.ESME_ROK) -> None:
        """Answer a message with the next `flush`."""
        self.core.acknowledge(incoming, status)

    def flush(self) -> None:
        """Write what has gathered, and watch its deadlines; while events are told, when all are."""
        if self._is_telling or not self._is_open:
            return
        if data := self.core.data_to_send():
            write_now(self._transport(), data)
        self._watch()

    def unbind(self) -> None:
        """Say goodbye and close, within a bound."""
        if not self.is_bound:
            self.abort()
            return
        self.core.unbind(self._clock.seconds())
        self.flush()
        self._bound_goodbye()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._trouble is None:
            self._trouble = LinkTrouble("closed by us")
        if self.transport is not None:
            self._transport().abortConnection()

    # -- for Twisted ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._is_open = True
        if ITCPTransport.providedBy(self.transport):
            self._transport().setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._take(self.core.receive_data(data, self._clock.seconds()))

    def handshakeCompleted(self) -> None:
        """TLS is up, unless the certificate's name says otherwise."""
        if self._tls is None:
            return
        attempt, done = self._tls
        facts = attempt.finish()
        if facts is None:
            self._end(attempt.problem or "certificate refused")
            return
        self._tls = None
        done.callback(facts)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self._is_open = False
        for call in (self._timer, self._farewell):
            if call is not None and call.active():
                call.cancel()
        self._timer = None
        tell = why_no_tls if self._tls is not None else why_ended
        self._settle(self._trouble or LinkTrouble(tell(reason, "the SMSC")))
        self.closed.callback(None)

    # -- inside -----------------------------------------------------------------------------------

    def _take(self, events: Sequence[Event]) -> None:
        """Tell the owner, then write what there is to say to all of it at once."""
        self._is_telling = True
        try:
            end = self._tell(events)
            if end is None and events and self._has_been_bound:
                self._owner.link_has_room(self)
        finally:
            self._is_telling = False
        if end is not None:
            self._ended(end)
        self.flush()

    def _tell(self, events: Sequence[Event]) -> Event | None:
        """Each event in its turn, messages together; the one that ends the link, if there is one."""
        messages: list[Incoming] = []
        end: Event | None = None
        for event in events:
            if isinstance(event, Answer):
                self._owner.link_answered(self, event.sequence, event)
            elif isinstance(event, Incoming):
                messages.append(event)
            elif isinstance(event, Unanswered):
                self._owner.link_answered(self, event.sequence, None)
            elif isinstance(event, Bound):
                self._bound()
            else:
                end = event
        if messages:
            self._owner.link_received(self, messages)
        return end

    def _bound(self) -> None:
        self._has_been_bound = True
        bound, self._binding = self._binding, None
        if bound is not None and not bound.called:
            bound.callback(None)

    def _ended(self, event: Event) -> None:
        if isinstance(event, Refused):
            self._end(f"the bind was refused: {status_text(event.status)}", event.status)
        elif isinstance(event, Ended):
            self._end(event.text)
        elif isinstance(event, Unbound):
            self._trouble = self._trouble or LinkTrouble("the SMSC said goodbye")
            self.flush()
            self._transport().loseConnection()
            self._bound_goodbye()
            self._settle(self._trouble)

    def _bound_goodbye(self) -> None:
        """See to it that a peer which does not close is not waited for."""
        if self._farewell is None and self._is_open:
            self._farewell = self._clock.callLater(FAREWELL, self.abort)

    def _end(self, text: str, status: int | None = None) -> None:
        if self._trouble is None:
            self._trouble = LinkTrouble(text, status)
        self.flush()
        self._transport().loseConnection()
        self._bound_goodbye()
        self._settle(self._trouble)

    def _settle(self, trouble: LinkTrouble) -> None:
        """Tell whoever waits, and the owner once."""
        self._trouble = trouble
        binding, self._binding = self._binding, None
        if binding is not None and not binding.called:
            binding.errback(trouble)
        tls, self._tls = self._tls, None
        if tls is not None and not tls[1].called:
            tls[1].errback(LinkTrouble(tls[0].problem or str(trouble)))
        if self._has_been_bound:
            self._has_been_bound = False
            self._owner.link_gone(self, str(trouble))

    def _transport(self) -> StreamTransport:
        return cast("StreamTransport", self.transport)

    # -- the deadline -----------------------------------------------------------------------------

    def _watch(self) -> None:
        deadline = self.core.next_timeout()
        if deadline < self._timer_at - _SLACK or (self._timer is None and deadline < inf):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._clock.callLater(max(deadline - self._clock.seconds(), 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = inf
        self._take(self.core.tick(self._clock.seconds()))
