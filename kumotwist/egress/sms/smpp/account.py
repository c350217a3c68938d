"""An account at an SMSC: its binds, and who wants them.

It is bound while sessions use it, for `receive_for` after the last, and for good
when it is pinned. What goes out is `flow.Flow`'s business, what comes in `inbox.Inbox`'s.

Public: `Account`. It implements `link.LinkOwner`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from twisted.logger import Logger

from kumotwist.core.outcome import Peer
from kumotwist.egress.sms.smpp.flow import Flow
from kumotwist.egress.sms.smpp.inbox import Inbox
from kumotwist.egress.sms.smpp.keeper import Keeper
from kumotwist.egress.sms.smpp.link import Link
from kumotwist.egress.sms.smpp.opener import Opener
from kumotwist.egress.sms.smpp.transfer import Transfer, Unsent
from kumotwist.net.clock import DelayedCall
from kumotwist.net.tasks import Tasks
from kumotwist.proto.smpp.bind import BindMode
from kumotwist.proto.smpp.commands import Status
from kumotwist.proto.smpp.events import Answer, Incoming

log: Final = Logger()

_MODES: Final = {
    "Transceiver": (BindMode.TRANSCEIVER,),
    "TransmitterAndReceiver": (BindMode.TRANSMITTER, BindMode.RECEIVER),
    "Transmitter": (BindMode.TRANSMITTER,),
}


class Account:
    """One account from one source. `on_idle` is called when it has no more use and is closing."""

    def __init__(self, opener: Opener, inbox: Inbox, tasks: Tasks, on_idle: Callable[[Account], object]) -> None:
        self.options = opener.options
        self.name = opener.account
        self._clock = opener.services.clock
        self._inbox = inbox
        self._on_idle = on_idle
        self._keepers = [Keeper(opener, mode, self, tasks, self._tend) for mode in _MODES[opener.options.bind]]
        self._sender = self._keepers[0]
        self._flow = Flow(opener.options, lambda: self._sender.link, opener.services.clock)
        self._tender: DelayedCall | None = None
        self._sessions = 0
        self._used_at = self._clock.seconds()
        self._is_closed = False
        #: Bound until the daemon ends, whether there is anything to send or not.
        self.is_pinned = False
        #: Others have taken its place: it goes when its sessions have gone.
        self.is_retired = False

    # -- for sessions -----------------------------------------------------------------------------

    @property
    def link(self) -> Link | None:
        """What messages go out over, when it is bound."""
        return self._sender.link

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end, or was last."""
        return self._sender.peer

    @property
    def outstanding(self) -> int:
        """How many messages are without answer."""
        return self._flow.outstanding

    def enter(self) -> None:
        """A session begins to use it."""
        self._sessions += 1
        self._tend()

    def leave(self) -> None:
        """A session has ended."""
        self._sessions -= 1
        self._used_at = self._clock.seconds()
        self._tend()

    async def ready(self) -> Link:
        """Return when messages can be sent. Raises NoBind; may be cancelled."""
        return await self._sender.ready()

    def send(self, transfer: Transfer) -> None:
        """Submit a batch as the window allows; its `done` fires when all of it is answered."""
        if self.link is None:
            transfer.give_up(self._without_link())
        else:
            self._flow.send(transfer)

    # -- LinkOwner --------------------------------------------------------------------------------

    def link_answered(self, link: Link, sequence: int, answer: Answer | None) -> None:
        """Note what came of a message."""
        if not self._sender.is_of(link):
            return
        self._flow.answered(sequence, answer)
        if answer is not None and answer.status == Status.ESME_RINVBNDSTS:
            # We think that we are bound, and the SMSC does not.
            link.abort()

    def link_received(self, link: Link, messages: Sequence[Incoming]) -> None:
        """Messages and receipts."""
        self._inbox.take(link, messages)

    def link_has_room(self, link: Link) -> None:  # noqa: ARG002
        """Fill the window again."""
        self._flow.pump()

    def link_gone(self, link: Link, text: str) -> None:
        """Tell those whose messages were out that nobody knows, and the others that they were not."""
        for keeper in self._keepers:
            if keeper.is_of(link):
                keeper.lost(text)
        if self._sender.is_of(link):
            if not self._is_closed:
                where = self.peer.name if self.peer is not None else self.options.host
                log.warn(
                    "the SMPP bind of {account} at {host} is lost: {text}", account=self.name, host=where, text=text
                )
            self._flow.lost(text, self._without_link())
        self._tend()

    def _without_link(self) -> Unsent:
        wait = self._sender.next_try() - self._clock.seconds()
        return Unsent("the bind to the SMSC is lost", max(min(wait, self.options.max_rest), 1.0), is_told=True)

    # -- being bound ------------------------------------------------------------------------------

    def pin(self) -> None:
        """Stay bound from now on."""
        self.is_pinned = True
        self._tend()

    def retire(self) -> None:
        """Go as soon as no session uses it."""
        self.is_retired = True
        self._tend()

    async def close(self) -> None:
        """Finish what came in and say goodbye, each within a bound of its own."""
        self._is_closed = True
        self._flow.close()
        if self._tender is not None and self._tender.active():
            self._tender.cancel()
        await self._inbox.drain()
        for keeper in self._keepers:
            await keeper.close()
        await self._inbox.close()

    def _tend(self) -> None:
        """Open what is wanted and not there, or go when nobody wants anything any more."""
        if self._is_closed:
            return
        if self._tender is not None and self._tender.active():
            self._tender.cancel()
        now = self._clock.seconds()
        until = self._wanted_until()
        if now >= until:
            self._on_idle(self)
            return
        for keeper in self._keepers:
            keeper.open()
        again = min(until, *(keeper.next_try() for keeper in self._keepers))
        if again < inf:
            self._tender = self._clock.callLater(max(again - now, 0.0), self._tend)

    def _wanted_until(self) -> float:
        if self._sessions or (self.is_pinned and not self.is_retired):
            return inf
        return self._used_at if self.is_retired else self._used_at + self.options.receive_for
