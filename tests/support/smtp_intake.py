"""A running SMTP listener on loopback with doubles around it, and a client that speaks raw octets to it."""

from __future__ import annotations

import struct
import termios
import time
from contextlib import asynccontextmanager
from fcntl import ioctl

from support.fakes_intake import FakeAuditor, FakeGate, FakeKeys, FakePolicy, FakeQueue, FakeRecorder, FakeStore
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater

from kumotwist.config.listener import SmtpListenerConfig
from kumotwist.core.ids import IdGenerator
from kumotwist.intake.admission import Admission
from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.queue.throttle import LocalLimits
from kumotwist.service.diskspace import DiskSpace

#: No wait of a test takes longer, unless something is wrong.
PATIENCE = 10
#: Milliseconds until the kernel has had its turn.
SLICES = 100
#: Clients that are connected.
_connected = set()


class Wire(Protocol):
    """Sends octets; waits for whole replies or the end."""

    def __init__(self):
        self.received = b""
        self.is_closed = False
        self.reason = None
        self._waiting = None

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self._socket = self.transport.getHandle()
        _connected.add(self)

    def is_heard(self):
        """Whether the kernel has taken all that was sent to the other end."""
        return struct.unpack("i", ioctl(self._socket, termios.TIOCOUTQ, b"\0" * 4)) == (0,)

    def dataReceived(self, data):
        self.received += data
        self._wake()

    def connectionLost(self, reason):
        _connected.discard(self)
        self.is_closed = True
        self.reason = reason
        self._wake()

    def _wake(self):
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _wait(self):
        self._waiting = Deferred()
        self._waiting.addTimeout(PATIENCE, reactor)
        await self._waiting

    def send(self, data):
        self.transport.write(data)

    async def reply(self):
        """The next reply: its lines joined by newlines."""
        lines = []
        while True:
            while b"\r\n" not in self.received:
                assert not self.is_closed, f"closed after {lines}"
                await self._wait()
            line, _, self.received = self.received.partition(b"\r\n")
            lines.append(line.decode())
            if line[3:4] == b" ":
                return "\n".join(lines)

    async def ask(self, command):
        """Send a command line; its reply."""
        self.send((command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        return await self.reply()

    async def closed(self):
        """Wait for the end; what came before it."""
        while not self.is_closed:
            await self._wait()
        return self.received

    async def transaction(self, body=b"Subject: x\r\n\r\nhi\r\n", sender="a@b.example", recipients=("c@d.example",)):
        """One whole transaction; the reply to the end of data."""
        assert (await self.ask(f"MAIL FROM:<{sender}>"))[:3] == "250"
        for recipient in recipients:
            assert (await self.ask(f"RCPT TO:<{recipient}>"))[:3] == "250"
        assert (await self.ask("DATA"))[:3] == "354"
        self.send(body + b".\r\n")
        return await self.reply()

    async def start_tls(self):
        """STARTTLS and handshake; anybody's certificate is fine."""
        assert await self.ask("STARTTLS") == "220 Ready to Start TLS"
        self.transport.startTLS(CertificateOptions())


async def turns(count=4):
    """Let the reactor go round: both ends of a socket are in this process.

    What lies between them is the kernel's, whose thread may have to wait for a slice of a busy machine. A server that
    reads no more lets it lie there for good.
    """
    await deferLater(reactor, 0)
    for _ in range(SLICES):
        if all(client.is_heard() for client in _connected):
            break
        await deferLater(reactor, 0.001)
    for _ in range(count - 1):
        await deferLater(reactor, 0)


class House:
    """What stands behind the listener."""

    def __init__(self, handlers, options):
        self.clock = Clock()
        self.clock.advance(time.time())
        self.policy = FakePolicy(dict(handlers))
        self.store, self.recorder, self.queue = FakeStore(), FakeRecorder(), FakeQueue()
        self.gate, self.keys, self.auditor = FakeGate(), FakeKeys(), FakeAuditor()
        admission = Admission(self.store, self.recorder, self.queue, self.clock, DiskSpace())
        self.factory = SmtpFactory(
            SmtpListenerConfig(**options),
            self.policy,
            admission,
            self.recorder,
            self.gate,
            self.keys,
            IdGenerator(self.clock.seconds),
            self.clock,
            "mx.test",
            slots=ConnectionSlots(LocalLimits(self.clock), "listener", options.get("max_connections", 100), 1),
            auditor=self.auditor,
        )
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.clients = []

    async def raw(self):
        """A client that has not read the banner."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await endpoint.connect(Factory.forProtocol(Wire))
        self.clients.append(client)
        return client

    async def client(self, hello="EHLO client.test"):
        """A client that was greeted and said hello."""
        client = await self.raw()
        assert (await client.reply())[:3] == "220"
        if hello:
            assert (await client.ask(hello))[:3] == "250"
        return client

    @property
    def messages(self):
        return self.queue.messages

    @property
    def sessions(self):
        return list(self.factory._sessions)

    async def pass_time(self, seconds, step=1.0):
        """Move the clock as the reactor would: second by second."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await turns()

    async def close(self):
        await self.port.stopListening()
        for client in self.clients:
            client.transport.abortConnection()
        for client in self.clients:
            await client.closed()
        stopped = self.factory.stop(1)
        for session in self.sessions:
            session.abort()
        stopped.addTimeout(PATIENCE, reactor)
        await stopped
        await turns()
        assert not self.clock.getDelayedCalls(), "a timer was left behind"


@asynccontextmanager
async def smtp_house(handlers=(), **options):
    """A listener with these policy handlers and options."""
    house = House(handlers, options)
    try:
        yield house
    finally:
        await house.close()
