"""An account at an SMSC: its binds, its window, and the batches that want to go through it.

Sessions hand in batches (`Transfer`); the window is filled from the oldest batch
first, and from the next as soon as that has nothing more to submit. So a slow
answer keeps its own batch waiting and no other, and the window stays full as
long as any session has something to send.

When the SMSC throttles, everything waits in place for a moment, longer each
time; when that has gone on for `throttle_patience`, the source rests instead.

Public: `Account`. It implements `link.LinkOwner`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from twisted.logger import Logger

from kumotwist.core.outcome import Peer
from kumotwist.egress.sms.smpp.backoff import Backoff
from kumotwist.egress.sms.smpp.classify import Fault, classify, vendor_table
from kumotwist.egress.sms.smpp.ids import plain_id
from kumotwist.egress.sms.smpp.inbox import Inbox
from kumotwist.egress.sms.smpp.keeper import Keeper
from kumotwist.egress.sms.smpp.link import Link
from kumotwist.egress.sms.smpp.opener import Opener
from kumotwist.egress.sms.smpp.pacer import Pacer
from kumotwist.egress.sms.smpp.transfer import Lost, Piece, Refused, Taken, Transfer, Unsent
from kumotwist.net.clock import DelayedCall
from kumotwist.net.tasks import Tasks
from kumotwist.proto.smpp.bind import BindMode
from kumotwist.proto.smpp.commands import Status, Tag, status_name
from kumotwist.proto.smpp.events import Answer, Incoming
from kumotwist.proto.smpp.fields import Tlv

log: Final = Logger()

#: Times that one message may be throttled while others pass before it goes back to the queue: the
#: SMSC's queue for its recipient may be the one that is full. Ours.
MAX_TURNS: Final = 5
#: Seconds that a batch waits for room in the window before the rest of it goes back. Ours: well within the
#: time after which the queue would take the whole session for stuck.
MAX_WAIT: Final = 60.0
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
        self._vendor = vendor_table(opener.options.status)
        self._has_hex_ids = opener.options.id_format == "HexResponse"
        self._transfers: deque[Transfer] = deque()
        #: What is out on the sender's link, by sequence number.
        self._out: dict[int, tuple[Transfer, Piece]] = {}
        self._backoff = Backoff(opener.options.max_rest)
        rate = opener.options.max_submit_rate
        self._pacer = None if rate is None else Pacer(rate)
        self._paused_until = 0.0
        self._resume: DelayedCall | None = None
        self._tender: DelayedCall | None = None
        self._aging: DelayedCall | None = None
        self._sessions = 0
        self._is_pumping = False
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
        return len(self._out)

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
            return
        self._transfers.append(transfer)
        self._pump()
        if self._transfers and (self._aging is None or not self._aging.active()):
            self._aging = self._clock.callLater(MAX_WAIT, self._age)

    # -- LinkOwner --------------------------------------------------------------------------------

    def link_answered(self, link: Link, sequence: int, answer: Answer | None) -> None:
        """Note what came of a message."""
        entry = self._out.pop(sequence, None) if link is self._sender.link else None
        if entry is None:
            return
        transfer, piece = entry
        if answer is None:
            transfer.report(piece, Lost(f"no answer in {self.options.response_timeout:g} seconds"))
        elif answer.status == Status.ESME_ROK:
            if self._backoff.total:
                self._backoff.reset()
            transfer.report(piece, Taken(plain_id(answer.message_id, self._has_hex_ids)))
        else:
            self._refused(transfer, piece, answer)
            if answer.status == Status.ESME_RINVBNDSTS:
                # We think that we are bound, and the SMSC does not.
                link.abort()

    def link_received(self, link: Link, messages: Sequence[Incoming]) -> None:
        """Messages and receipts."""
        self._inbox.take(link, messages)

    def link_has_room(self, link: Link) -> None:  # noqa: ARG002
        """Fill the window again."""
        self._pump()

    def link_gone(self, link: Link, text: str) -> None:
        """Tell those whose messages were out that nobody knows, and the others that they were not."""
        for keeper in self._keepers:
            if keeper.is_of(link):
                keeper.lost(text)
        if self._sender.is_of(link):
            if not self._is_closed:
                log.warn("the SMPP bind of {account} is lost: {text}", account=self.name, text=text)
            out, self._out = self._out, {}
            self._give_up(self._without_link())
            for transfer, piece in out.values():
                transfer.report(piece, Lost(text, is_link_gone=True))
        self._tend()

    # -- sending ----------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Fill the window; a batch that ends here may bring the next, which waits for its turn in the loop."""
        link, now, pacer = self.link, self._clock.seconds(), self._pacer
        if link is None or self._is_pumping:
            return
        if now < self._paused_until:
            self._resume_in(self._paused_until - now)
            return
        core, transfers = link.core, self._transfers
        self._is_pumping = True
        try:
            while transfers and core.can_submit:
                if pacer is not None and (wait := pacer.wait(now)) > 0:
                    self._resume_in(wait)
                    break
                piece = transfers[0].next()
                if piece is None:
                    transfers.popleft()
                    continue
                self._out[link.submit(piece.body)] = (transfers[0], piece)
                if pacer is not None:
                    pacer.count(now)
        finally:
            self._is_pumping = False
        link.flush()

    def _refused(self, transfer: Transfer, piece: Piece, answer: Answer) -> None:
        fault = classify(answer.status, self._vendor)
        if fault is Fault.THROTTLED and piece.throttled < MAX_TURNS:
            self._throttled(transfer, piece, answer.status)
            return
        transfer.report(piece, Refused(answer.status, _words(answer.tlvs)))
        if fault is Fault.ACCOUNT:
            log.warn("{account}: {status}", account=self.name, status=status_name(answer.status))
            self._give_up(Unsent(status_name(answer.status), self.options.rest))

    def _throttled(self, transfer: Transfer, piece: Piece, status: int) -> None:
        """Wait a moment with everything; or have the source rest, when that has been done for long enough."""
        now = self._clock.seconds()
        has_patience = self._backoff.total < self.options.throttle_patience
        is_first = now >= self._paused_until
        if is_first:
            self._paused_until = now + self._backoff.pause()
            self._resume_in(self._paused_until - now)
        if has_patience:
            if not self._transfers or self._transfers[0] is not transfer:
                self._transfers.appendleft(transfer)
            transfer.again(piece)
            return
        unsent = Unsent(status_name(status), max(self._paused_until - now, 0.001))
        if is_first:
            self._give_up(unsent)
        transfer.report(piece, unsent)

    def _resume_in(self, seconds: float) -> None:
        if self._resume is None or not self._resume.active():
            self._resume = self._clock.callLater(seconds, self._pump)

    def _give_up(self, result: Unsent) -> None:
        """Say the same of all that has not been submitted."""
        transfers = list(self._transfers)
        self._transfers.clear()
        for transfer in transfers:
            transfer.give_up(result)

    def _age(self) -> None:
        """Send back what has waited too long: the SMSC takes fewer messages than all sessions have in hand."""
        now = self._clock.seconds()
        while self._transfers and self._transfers[0].since + MAX_WAIT <= now:
            self._transfers.popleft().give_up(Unsent("the SMSC takes messages too slowly", 1.0))
        if self._transfers:
            self._aging = self._clock.callLater(max(self._transfers[0].since + MAX_WAIT - now, 0.0), self._age)

    def _without_link(self) -> Unsent:
        wait = self._sender.next_try() - self._clock.seconds()
        return Unsent("the bind to the SMSC is lost", max(min(wait, self.options.max_rest), 1.0))

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
        for call in (self._resume, self._tender, self._aging):
            if call is not None and call.active():
                call.cancel()
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


def _words(tlvs: Sequence[Tlv]) -> str:
    """additional_status_info_text, if there is any."""
    value = next((one.value for one in tlvs if one.tag == Tag.ADDITIONAL_STATUS_INFO_TEXT), b"")
    return value.split(b"\0", 1)[0].decode("latin-1")
