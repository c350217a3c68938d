"""A receipts desk on a file, with a clock to advance and a list for a record log."""

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock

from kumotwist.config.receipts import ReceiptsConfig
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.net.sqlite import SqliteFile
from kumotwist.records.receipts.desk import ReceiptDesk
from kumotwist.records.receipts.handovers import FLUSH_DELAY
from kumotwist.records.receipts.tables import SCHEMA

NEW_ID = IdGenerator(lambda: 1795462177.0)
DELIVERED = ReceiptEvent(channel="twilio", account="main", state=ReceiptState.DELIVERED, remote_id="SM1")
FAILED = evolve(DELIVERED, state=ReceiptState.FAILED, class_=ReceiptClass.HARD, text="30005 Unknown destination")


class Desk:
    """A desk on a file, with a clock to advance and a list for a record log."""

    def __init__(self, path, clock=None, record=None):
        self.path, self.clock, self.records = path, clock or Clock(), []
        self.record = record
        if clock is None:
            self.clock.advance(1795462200.0)

    async def open(self, **options):
        self.file = await SqliteFile.open(self.path, reactor, SCHEMA)
        self.desk = ReceiptDesk(self.file, ReceiptsConfig(**options), self.clock, self.record or self._take)
        self.desk.start()
        await self.desk.idle()
        return self

    async def _take(self, record):
        self.records.append(record)

    def hand_over(self, remote_id, *recipients, channel="twilio", account="main", **meta):
        """A Delivery record as the queue writes it; the message's id."""
        to = tuple(EnvelopeAddress(*one.split("@")) for one in recipients or ("+15550001@sms",))
        message = Message(NEW_ID(), EnvelopeAddress("shop", "example.org"), to, meta, b"")
        record = Record(
            type=RecordType.DELIVERY,
            event_time=self.clock.seconds(),
            response=Response(200, "ok"),
            message=message,
            sender=message.sender.email,
            recipients=tuple(one.email for one in to),
            queue="campaign:tenant@sms",
            site=f"s->{channel}@{channel}",
            peer=Peer("api", "127.0.0.1:443", channel, channel=channel, account=account),
            delivery_protocol=channel,
            remote_id=remote_id or None,
            parts=len(remote_id.split()) or 1,
        )
        self.desk.handovers.note(record)
        return message.id

    async def receive(self, *events):
        await self.desk.receive(events)
        await self.desk.idle()

    async def pass_time(self, seconds):
        self.clock.advance(seconds)
        await self.file.read(lambda connection: None)
        await self.desk.idle()

    async def flush(self):
        await self.pass_time(FLUSH_DELAY)

    def told(self):
        """What the records say, in short."""
        return [(one.message_id, one.receipt.state.value) for one in self.records]

    async def close(self):
        await self.desk.close()
        await self.file.close()
