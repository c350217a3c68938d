"""What goes out over a bind: batches in turn, within the window, at the agreed rate, and at rest when throttled.

The window is filled from the oldest batch first, and from the next as soon as
that has nothing more to submit. So a slow answer keeps its own batch waiting
and no other, and the window stays full as long as any session has something to
send.

When the SMSC throttles, everything waits in place for a moment, longer each
time; when that has gone on for `throttle_patience`, the source rests instead.

Public: `Flow`. What can go wrong is a result of the parts concerned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from kumotwist.egress.sms.smpp.backoff import Backoff
from kumotwist.egress.sms.smpp.classify import Fault, classify, vendor_table
from kumotwist.egress.sms.smpp.ids import plain_id
from kumotwist.egress.sms.smpp.link import Link
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.egress.sms.smpp.pacer import Pacer
from kumotwist.egress.sms.smpp.transfer import Lost, Piece, Refused, Taken, Transfer, Unsent
from kumotwist.net.clock import Clock, DelayedCall
from kumotwist.proto.smpp.commands import Status, Tag
from kumotwist.proto.smpp.events import Answer
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.words import status_text

#: Times that one message may be throttled while others pass before it goes back to the queue: the
#: SMSC's queue for its recipient may be the one that is full. Ours.
MAX_TURNS: Final = 5
#: Seconds that a batch waits for room in the window before the rest of it goes back. Ours: well within the
#: time after which the queue would take the whole session for stuck.
MAX_WAIT: Final = 60.0


class Flow:
    """The messages of one account; `link` gives what they go over, None while there is nothing."""

    def __init__(self, options: SmppProtocol, link: Callable[[], Link | None], clock: Clock) -> None:
        self._options = options
        self._link = link
        self._clock = clock
        self._vendor = vendor_table(options.status)
        self._has_hex_ids = options.id_format == "HexResponse"
        self._transfers: deque[Transfer] = deque()
        #: What is out on the link, by sequence number.
        self._out: dict[int, tuple[Transfer, Piece]] = {}
        self._backoff = Backoff(options.max_rest)
        self._pacer = None if options.max_submit_rate is None else Pacer(options.max_submit_rate)
        self._paused_until = 0.0
        self._resume: DelayedCall | None = None
        self._aging: DelayedCall | None = None
        self._is_pumping = self._is_closed = False

    @property
    def outstanding(self) -> int:
        """How many messages are without answer."""
        return len(self._out)

    def send(self, transfer: Transfer) -> None:
        """Submit a batch as the window allows; its `done` fires when all of it is answered."""
        self._transfers.append(transfer)
        self.pump()
        if self._transfers and (self._aging is None or not self._aging.active()):
            self._aging = self._clock.callLater(MAX_WAIT, self._age)

    def answered(self, sequence: int, answer: Answer | None) -> None:
        """Note what came of a message; None: nothing did in time."""
        entry = self._out.pop(sequence, None)
        if entry is None:
            return
        transfer, piece = entry
        if answer is None:
            transfer.report(piece, Lost(f"no answer in {self._options.response_timeout:g} seconds"))
        elif answer.status == Status.ESME_ROK:
            if self._backoff.total:
                self._backoff.reset()
            transfer.report(piece, Taken(plain_id(answer.message_id, self._has_hex_ids)))
        else:
            self._refused(transfer, piece, answer)

    def lost(self, text: str, unsent: Unsent) -> None:
        """The link is gone: of what was out nobody knows, and the rest was not sent."""
        out, self._out = self._out, {}
        self._give_up(unsent)
        for transfer, piece in out.values():
            transfer.report(piece, Lost(text, is_link_gone=True))

    def close(self) -> None:
        """Have no more calls made."""
        self._is_closed = True
        for call in (self._resume, self._aging):
            if call is not None and call.active():
                call.cancel()

    def pump(self) -> None:
        """Fill the window; a batch that ends here may bring the next, which waits for its turn in the loop."""
        link, now, pacer = self._link(), self._clock.seconds(), self._pacer
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
            self._give_up(Unsent(status_text(answer.status), self._options.rest))

    def _throttled(self, transfer: Transfer, piece: Piece, status: int) -> None:
        """Wait a moment with everything; or have the source rest, when that has been done for long enough."""
        now = self._clock.seconds()
        has_patience = self._backoff.total < self._options.throttle_patience
        is_first = now >= self._paused_until
        if is_first:
            self._paused_until = now + self._backoff.pause()
            self._resume_in(self._paused_until - now)
        if has_patience:
            if not self._transfers or self._transfers[0] is not transfer:
                self._transfers.appendleft(transfer)
            transfer.again(piece)
            return
        unsent = Unsent(status_text(status), max(self._paused_until - now, 0.001))
        if is_first:
            self._give_up(unsent)
        transfer.report(piece, unsent)

    def _resume_in(self, seconds: float) -> None:
        if not self._is_closed and (self._resume is None or not self._resume.active()):
            self._resume = self._clock.callLater(seconds, self.pump)

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


def _words(tlvs: Sequence[Tlv]) -> str:
    """additional_status_info_text, if there is any."""
    value = next((one.value for one in tlvs if one.tag == Tag.ADDITIONAL_STATUS_INFO_TEXT), b"")
    return value.split(b"\0", 1)[0].decode("latin-1")
