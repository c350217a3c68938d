"""What the SMSC sends us: receipts for the ledger, and texts of subscribers for policy.

Each message is answered only when it is in safe hands, and always answered. An
SMSC that hears "try again later" (0x64) keeps it. The parts of a long text are
answered as they come, since many an SMSC sends the next one only then: parts
that wait for others are in memory alone.

Public: `Inbox`, `receipt_event`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError, Rejection
from kumotwist.core.interfaces import ReceiptSink, SmsReceiver
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.sms import IncomingSms
from kumotwist.egress.sms.smpp.ids import plain_id
from kumotwist.egress.sms.smpp.link import Link
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.net.clock import Clock, DelayedCall, sleep
from kumotwist.net.tasks import Tasks
from kumotwist.proto.smpp.addressing import TypeOfNumber
from kumotwist.proto.smpp.commands import HAS_UDH, Status, Tag
from kumotwist.proto.smpp.events import Incoming
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import MAX_SHORT_MESSAGE, Address, ShortMessage
from kumotwist.proto.smpp.receipt import MessageState, SmscReceipt, read_receipt
from kumotwist.proto.sms import coding, udh
from kumotwist.proto.sms.coding import Coding
from kumotwist.proto.sms.reassembly import Reassembly, Whole
from kumotwist.proto.sms.udh import Concatenation

log: Final = Logger()

#: Seconds that a handler of policy may still take when we close. Ours.
PATIENCE: Final = 2.0
#: Seconds between two looks at that.
_PAUSE: Final = 0.02
_STATES: Final[Mapping[MessageState, tuple[ReceiptState, ReceiptClass]]] = {
    MessageState.ENROUTE: (ReceiptState.DEFERRED, ReceiptClass.NONE),
    MessageState.ACCEPTED: (ReceiptState.ACCEPTED, ReceiptClass.NONE),
    MessageState.DELIVERED: (ReceiptState.DELIVERED, ReceiptClass.NONE),
    MessageState.EXPIRED: (ReceiptState.EXPIRED, ReceiptClass.SOFT),
    MessageState.DELETED: (ReceiptState.FAILED, ReceiptClass.UNDETERMINED),
    MessageState.UNDELIVERABLE: (ReceiptState.FAILED, ReceiptClass.UNDETERMINED),
    MessageState.REJECTED: (ReceiptState.FAILED, ReceiptClass.BLOCK),
    MessageState.UNKNOWN: (ReceiptState.UNKNOWN, ReceiptClass.NONE),
}
#: data_coding (SMPP 3.4 s5.2.19, 3GPP TS 23.038 s4) of UCS-2, and of octets: Latin-1, or no text at all,
#: which is shown as Latin-1 and kept as it is beside that.
_UCS2: Final = frozenset((0x08, *range(0x18, 0x1C), *range(0xE0, 0xF0)))
_EIGHT_BIT: Final = frozenset((*range(0x01, 0x05), *range(0x14, 0x18), *range(0xF4, 0xF8), *range(0xFC, 0x100)))
#: What stands in a text for a part that never came.
_GAP: Final = "[...]"


def receipt_event(receipt: SmscReceipt, account: str, id_format: str) -> ReceiptEvent:
    """What the ledger takes."""
    state, reason = _STATES[receipt.state]
    facts = {"stat": receipt.state.name, "err": receipt.error}
    return ReceiptEvent(
        channel="smpp",
        account=account,
        state=state,
        class_=reason,
        text=receipt.text or receipt.state.name,
        remote_id=plain_id(receipt.message_id, id_format == "HexReceipt"),
        recipient=receipt.recipient,
        # SMSCs begin to count anew: the same words at another time are another receipt.
        event_id=f"{receipt.message_id} {receipt.state.name} {receipt.recipient} {receipt.done_at or ''}".strip(),
        event_time=receipt.done_at,
        facts=facts,
    )


class Inbox:
    """Takes the messages of one account."""

    def __init__(
        self, options: SmppProtocol, account: str, receipts: ReceiptSink, sms: SmsReceiver, clock: Clock
    ) -> None:
        self._options = options
        self._account = account
        self._receipts = receipts
        self._sms = sms
        self._clock = clock
        self._tasks = Tasks()
        self._reassembly = Reassembly()
        self._timer: DelayedCall | None = None
        self._default = Coding.GSM if options.default_alphabet == "Gsm" else Coding.GSM_AS_LATIN1

    def take(self, link: Link, messages: Sequence[Incoming]) -> None:
        """See to it that each is kept and answered."""
        self._tasks.spawn(f"smpp messages for {self._account}", self._take(link, messages))

    async def drain(self) -> None:
        """Return when what came in is kept and answered, or has taken too long."""
        deadline = self._clock.seconds() + PATIENCE
        while len(self._tasks) and self._clock.seconds() < deadline:
            await sleep(self._clock, _PAUSE)

    async def close(self) -> None:
        """Finish. What waits for its missing parts is lost: nothing is taken in any more by now."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if lost := len(self._reassembly.overdue(float("inf"))):
            log.warn("{count} texts for {account} are lost for want of parts", count=lost, account=self._account)
        await self._tasks.close()

    async def _take(self, link: Link, messages: Sequence[Incoming]) -> None:
        texts: list[Incoming] = []
        reports: list[Incoming] = []
        events: list[ReceiptEvent] = []
        for incoming in messages:
            receipt = read_receipt(incoming.message)
            if receipt is None:
                texts.append(incoming)
            else:
                reports.append(incoming)
                events.append(receipt_event(receipt, self._account, self._options.id_format))
        if reports:
            status = await self._note(events)
            for incoming in reports:
                link.acknowledge(incoming, status)
            link.flush()
        for incoming in texts:
            link.acknowledge(incoming, await self._receive_part(incoming.message))
            link.flush()

    async def _note(self, events: Sequence[ReceiptEvent]) -> Status:
        """Put receipts into the ledger; the answer that they deserve."""
        try:
            await self._receipts.receive(events)
        except CancelledError:
            raise
        except KumotwistError as problem:
            log.error("{count} SMPP receipts are to come again: {problem}", count=len(events), problem=problem)
            return Status.ESME_RX_T_APPN
        except Exception:
            log.failure("{count} SMPP receipts could not be noted", count=len(events))
            return Status.ESME_RX_T_APPN
        return Status.ESME_ROK

    # -- texts ------------------------------------------------------------------------------------

    async def _receive_part(self, message: ShortMessage) -> Status:
        key = (_shown(message.source), _shown(message.destination), message.data_coding)
        place, octets = _place_of(message)
        if place is None or place.total == 1 or len(octets) > MAX_SHORT_MESSAGE:
            return await self._receive(self._put_together(key, Whole((octets,)), message.tlvs))
        whole = self._reassembly.add(key, place, octets, self._clock.seconds())
        self._look()
        if whole is None:
            return Status.ESME_ROK
        return await self._receive(self._put_together(key, whole, message.tlvs))

    async def _receive(self, sms: IncomingSms) -> Status:
        """Give a text to policy; the answer that it deserves."""
        try:
            await self._sms.receive(sms)
        except CancelledError:
            raise
        except Rejection as refusal:
            return Status.ESME_RX_T_APPN if 400 <= refusal.code < 500 else Status.ESME_RX_P_APPN
        except KumotwistError as problem:
            log.error("an SMS from {sender} is to come again: {problem}", sender=sms.sender, problem=problem)
            return Status.ESME_RX_T_APPN
        except Exception:
            log.failure("an SMS from {sender} could not be taken", sender=sms.sender)
            return Status.ESME_RX_T_APPN
        return Status.ESME_ROK

    def _put_together(self, key: Hashable, whole: Whole, tlvs: Sequence[Tlv] = ()) -> IncomingSms:
        assert isinstance(key, tuple)
        sender, recipient, data_coding = key
        alphabet = _alphabet(data_coding, self._default)
        texts = [None if part is None else coding.decode(part, alphabet) for part in whole.parts]
        return IncomingSms(
            channel="smpp",
            account=self._account,
            sender=sender,
            recipient=recipient,
            text="".join(_GAP if text is None else text for text in texts),
            parts=len(whole.parts),
            missing=whole.missing,
            data_coding=data_coding,
            octets=b"".join(part for part in whole.parts if part is not None),
            tlvs={f"0x{one.tag:04X}": one.value.hex() for one in tlvs if one.tag != Tag.MESSAGE_PAYLOAD},
        )

    def _watch(self) -> None:
        """Look after texts whose parts do not come."""
        due = self._reassembly.next_overdue()
        if due is not None and (self._timer is None or not self._timer.active()):
            self._timer = self._clock.callLater(max(due - self._clock.seconds(), 1.0), self._look)

    def _look(self) -> None:
        for key, whole in self._reassembly.overdue(self._clock.seconds()):
            self._tasks.spawn("an SMS without all its parts", self._hand_on(self._put_together(key, whole)))
        self._watch()

    async def _hand_on(self, sms: IncomingSms) -> None:
        await self._receive(sms)


def _place_of(message: ShortMessage) -> tuple[Concatenation | None, bytes]:
    """Where a part belongs and its text, by header or by sar parameters."""
    octets = message.text
    if message.esm_class & HAS_UDH:
        return udh.parse(octets)
    reference, total, sequence = (
        int.from_bytes(message.tlv(tag) or b"", "big")
        for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
    )
    return (Concatenation(reference, total, sequence) if 1 <= sequence <= total <= 255 else None), octets


def _alphabet(data_coding: int, default: Coding) -> Coding:
    """The alphabet that data_coding names; what we do not know is taken for the default."""
    if data_coding in _UCS2:
        return Coding.UCS2
    return Coding.LATIN1 if data_coding in _EIGHT_BIT else default


def _shown(address: Address) -> str:
    """With the plus that the type of number stands for."""
    if address.ton == TypeOfNumber.INTERNATIONAL and address.digits[:1].isdigit():
        return f"+{address.digits}"
    return address.digits
