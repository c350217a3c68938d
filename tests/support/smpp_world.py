"""Around the tests of the SMPP channel: an SMSC that does what it is told, and what takes receipts and texts."""

from contextlib import asynccontextmanager

from support.fakes_egress import make_channels, make_message, make_request
from support.scripted_smsc import ScriptedSmsc
from twisted.internet import reactor, task

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.egress.sms.smpp.options import SmppProtocol

NUMBER = "+15551234567@sms"
RECEIPT = b"id:id-1 sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 stat:DELIVRD err:000 text:hello"


class Receipts:
    """Keeps the contract of ReceiptSink; `problem` is raised in place of taking."""

    def __init__(self):
        self.events = []
        self.problem = None

    async def receive(self, events):
        if self.problem is not None:
            raise self.problem
        self.events.extend(events)


class Texts:
    """Keeps the contract of SmsReceiver."""

    def __init__(self):
        self.received = []
        self.problem = None

    async def receive(self, sms):
        if self.problem is not None:
            raise self.problem
        self.received.append(sms)


class World:
    def __init__(self, smsc, channels, receipts, texts):
        self.smsc, self.channels, self.receipts, self.texts = smsc, channels, receipts, texts

    def protocol(self, **options):
        for name in ("response_timeout", "throttle_patience", "receive_for", "bind_timeout", "max_rest", "rest"):
            if name in options:
                options[name] = Duration(options[name])
        given = {"host": "127.0.0.1", "port": self.smsc.port, "system_id": "me", "password": LiteralKey(b"secret\n")}
        return SmppProtocol(**{**given, **options})

    def channel(self, **options):
        return self.channels.channel_for(self.protocol(**options))

    async def session(self, **options):
        session = self.channel(**options).open(make_request())
        await session.connect()
        return session

    async def deliver(self, *messages, **options):
        session = await self.session(**options)
        outcomes = await session.deliver(messages or [text()])
        await session.close()
        return outcomes


@asynccontextmanager
async def world(script=None, keys=None, roots=(), tls=None, **smsc):
    receipts, texts = Receipts(), Texts()
    channels = make_channels(reactor, receipts=receipts, sms=texts, keys=keys, roots=roots)
    async with ScriptedSmsc(script, **smsc).start(reactor, tls) as peer:
        try:
            yield World(peer, channels, receipts, texts)
        finally:
            await channels.close()


def text(body="hello", to=NUMBER, meta=None):
    return make_message(to, body=f"Subject: x\r\n\r\n{body}\r\n".encode(), meta=meta)


async def until(condition):
    """Let the reactor turn until `condition()`, within a bound."""
    deadline = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < deadline, "it does not come true"
        await task.deferLater(reactor, 0.002)
