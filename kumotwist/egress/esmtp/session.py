"""An SMTP session: works through its plan of hosts and sends messages over the host it has.

Public: `EsmtpSession`. It connects when told to, delivers one message at a
time, and after trouble goes on as `reconnect_strategy` says. How recipients
are shared out over transactions is `egress.esmtp.deliver`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve
from twisted.internet.defer import CancelledError

from kumotwist.config.egress import EnableTls
from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.errors import ConnectFailed, LocalProtocolError, SessionEnded
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.egress.esmtp import plan as plans
from kumotwist.egress.esmtp.connect import Opener
from kumotwist.egress.esmtp.deliver import Delivery
from kumotwist.egress.esmtp.outcomes import make_outcome
from kumotwist.egress.esmtp.trouble import ConnectionGone, HostFailed, WireTrouble
from kumotwist.net.mx import Candidate
from kumotwist.proto.smtp import client_commands

_ALL_TLS: Final = (
    "All failures are related to OpportunisticInsecure STARTTLS. Consider setting enable_tls=Disabled for this site. "
)


class EsmtpSession:
    """Implements `core.interfaces.Session`."""

    #: SMTP has no batches: a transaction carries one message.
    max_batch: int = 1
    min_batch: int = 1
    batch_latency: float = 0.0

    def __init__(self, opener: Opener, protocol: SmtpProtocol, request: OpenRequest) -> None:
        self._opener = opener
        self._protocol = protocol
        self._request = request
        self._plan: list[Candidate] | None = None
        self._delivery: Delivery | None = None
        self._has_attempted = False

    @property
    def is_connected(self) -> bool:
        """Whether the peer is still there; a goodbye or end of file while idle has been noticed by now."""
        return self._delivery is not None and self._delivery.link.wire.is_usable

    async def connect(self) -> None:
        """See `Session.connect`. May be cancelled; nothing stays open then."""
        failures = self._let_go()
        plan = await self._current_plan()
        while plan:
            candidate = plan.pop(0)
            try:
                link = await self._opener.open(candidate)
            except HostFailed as failure:
                failures.append(failure)
                continue
            self._delivery = Delivery(link, self._request)
            return
        if self._has_attempted:
            raise SessionEnded("no host is left to try")
        raise _no_host(failures, self._request.path.enable_tls)

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """See `Session.deliver`. Cancelling it drops the connection."""
        return [await self._deliver(message) for message in batch]

    async def close(self) -> None:
        """QUIT, and no longer than `FAREWELL` for the answer."""
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        wire = delivery.link.wire
        if not wire.is_usable:
            wire.abort()
            return
        try:
            await wire.run(client_commands.quit_session())
            wire.hang_up()
        except CancelledError:
            wire.abort()
            raise
        except WireTrouble:
            wire.abort()

    # -- the message -----------------------------------------------------------------------------

    async def _deliver(self, message: Message) -> Sequence[Outcome]:
        if message.body is None:
            raise LocalProtocolError("a message is delivered with its body")
        delivery = self._delivery
        if delivery is None or not delivery.link.wire.is_usable:
            return self._gone(message)
        self._has_attempted = True
        results = await delivery.send(message)
        link = delivery.link
        is_up = link.wire.is_usable
        unknown = set(delivery.unknown)
        outcomes = [make_outcome(one, link.peer, is_up, position in unknown) for position, one in enumerate(results)]
        if not is_up and delivery.undecided and self._request.path.try_next_host_on_transport_error:
            await self._try_next_hosts(message, outcomes, delivery.undecided, unknown)
        return outcomes

    def _gone(self, message: Message) -> Sequence[Outcome]:
        """Delivering over a connection that is not there."""
        link = self._delivery.link if self._delivery is not None else None
        trouble = ConnectionGone(link.wire.ending if link is not None else "not connected")
        response = trouble.response(self._request.site, link.addr if link is not None else "")
        return [make_outcome(response, link.peer if link else None, False)] * len(message.recipients)

    async def _try_next_hosts(
        self, message: Message, outcomes: list[Outcome], undecided: Sequence[int], unknown: set[int]
    ) -> None:
        """Offer the message to the rest of the plan, for those whose fate the broken connection left open.

        Those `unknown` may have it, until a host has said that it is theirs or never will be.
        """
        while undecided and self._plan:
            try:
                await self.connect()
            except (ConnectFailed, SessionEnded):
                return
            delivery = self._delivery
            assert delivery is not None
            results = await delivery.send(message, undecided)
            link = delivery.link
            for position in undecided:
                made = make_outcome(results[position], link.peer, link.wire.is_usable)
                is_unknown = made.verdict is Verdict.TRANSIENT and position in unknown | delivery.unknown
                outcomes[position] = evolve(made, is_ambiguous=is_unknown)
            unknown |= delivery.unknown
            undecided = delivery.undecided

    # -- the plan --------------------------------------------------------------------------------

    async def _current_plan(self) -> list[Candidate]:
        if self._plan is None:
            self._plan = await plans.make_plan(self._opener.services.resolver, self._protocol, self._request)
        return self._plan

    def _let_go(self) -> list[HostFailed]:
        """Give up the link we had, and see where that leaves the plan."""
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return []
        link = delivery.link
        ending = link.wire.ending
        link.wire.abort()
        strategy = self._request.path.reconnect_strategy
        if strategy == "TerminateSession":
            self._plan = []
            self._has_attempted = True
        elif strategy == "ReconnectSameHost" and self._plan is not None:
            self._plan.insert(0, link.candidate)
        return [HostFailed(f"{link.addr}: {ending}")]


def _no_host(failures: Sequence[HostFailed], mode: EnableTls) -> ConnectFailed:
    is_all_tls = mode == "OpportunisticInsecure" and failures and all(failure.is_tls for failure in failures)
    reasons = ", ".join(map(str, failures)) or "no more addresses to try!"
    response = Response(400, f"{plans.NO_CANDIDATE}{_ALL_TLS if is_all_tls else ''}{reasons}")
    return ConnectFailed(Outcome(Verdict.TRANSIENT, response, Scope.SESSION))
