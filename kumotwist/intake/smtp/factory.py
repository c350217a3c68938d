"""The SMTP way in: a Twisted factory per listener.

First step of a message's way: octets from a client become a message that
policy has seen, that is on disk and in the queue, before the client hears 250.

Public: `SmtpFactory`. What can go wrong: `ConfigError` at construction, when
`peer` or `via` overlays are no option tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Auditor, Gatekeeper, KeyLoader, Recorder, SmtpPolicy
from kumotwist.core.stats import Sample
from kumotwist.intake.admission import Admission
from kumotwist.intake.smtp.listener import SHUTTING_DOWN, TOO_MANY, Listener
from kumotwist.intake.smtp.options import ListenerOptions
from kumotwist.intake.smtp.session import SmtpProtocol
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.net.tls import ServerTls
from kumotwist.records.acct import NO_ACCT_LOG

#: Seconds between two looks at the deadlines of all sessions: one timer for all of
#: them, since a timer per command would cost more than the command. Ours.
SWEEP_INTERVAL: Final = 1.0
#: Seconds that sessions have to finish when we shut down. Ours.
DRAIN_TIME: Final = 30.0


class SmtpFactory(Factory):
    """Makes the sessions of one listener, watches over their time and ends them."""

    noisy = False

    def __init__(
        self,
        config: SmtpListenerConfig,
        policy: SmtpPolicy,
        admission: Admission,
        recorder: Recorder,
        gate: Gatekeeper,
        keys: KeyLoader,
        ids: IdGenerator,
        clock: Clock,
        hostname: str,
        *,
        slots: ConnectionSlots,
        auditor: Auditor = NO_ACCT_LOG,
    ) -> None:
        """`hostname` is the machine's name, used when `config` has none. Raises ConfigError."""
        self.slots = slots
        tls = ServerTls(keys, clock)
        options = ListenerOptions(config)
        self.listener = Listener(options, policy, admission, recorder, gate, tls, ids, clock, hostname, auditor)
        self._sessions: set[SmtpProtocol] = set()
        self._sweeping: DelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> SmtpProtocol:  # noqa: ARG002
        """A session for a new connection."""
        return SmtpProtocol(self)

    def samples(self) -> Iterable[Sample]:
        """The listener's numbers; see `core.stats.StatSource`."""
        return self.listener.samples()

    def stop(self, bound: float = DRAIN_TIME) -> Deferred[None]:
        """End all sessions, each with 421 as soon as nothing of it is under way.

        Close the port before. Fires when all have ended; those still there
        after `bound` seconds are cut.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            for session in list(self._sessions):
                session.drain()
            if self._sessions:
                cut = self.listener.clock.callLater(bound, self._abort_all)
                self._stopped.addCallback(_cancel, cut)
            elif not self._stopped.called:
                self._stopped.callback(None)
        waiting: Deferred[None] = Deferred()
        self._stopped.addCallback(_pass_on, waiting)
        return waiting

    # -- what sessions tell -----------------------------------------------------------------------

    def opened(self, session: SmtpProtocol) -> str | None:
        """Count a session; why it is refused, in KumoMTA's order, or None."""
        listener = self.listener
        self._sessions.add(session)
        listener.connections += 1
        listener.connections_total += 1
        if self._sweeping is None:
            self._sweeping = listener.clock.callLater(SWEEP_INTERVAL, self._sweep)
        reason = self._refusal()
        if reason is not None:
            listener.connections_denied += 1
        return reason

    def closed(self, session: SmtpProtocol) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        if session.has_slot:
            self.slots.give_back()
        self.listener.connections -= 1
        if not self._sessions:
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None
            if self._stopped is not None and not self._stopped.called:
                self._stopped.callback(None)

    def _refusal(self) -> str | None:
        listener = self.listener
        # Slots are taken when a client is greeted; here those count, too, that have yet to send a PROXY header.
        if listener.connections > listener.options.config.max_connections:
            return TOO_MANY
        if self._stopped is not None:
            return SHUTTING_DOWN
        return listener.refusal()

    def _sweep(self) -> None:
        clock = self.listener.clock
        self._sweeping = clock.callLater(SWEEP_INTERVAL, self._sweep)
        now = clock.seconds()
        for session in list(self._sessions):
            session.sweep(now)

    def _abort_all(self) -> None:
        for session in list(self._sessions):
            session.abort()


def _cancel(_: None, call: DelayedCall) -> None:
    if call.active():
        call.cancel()


def _pass_on(_: None, waiting: Deferred[None]) -> None:
    waiting.callback(None)
