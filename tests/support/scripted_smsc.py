"""An SMSC in this process that does what a test tells it, right or wrong; on the real SMPP framing.

For what no decent SMSC does: silence, lies, answers out of order, loss of the
connection in the middle of a window.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

from OpenSSL import SSL
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from kumotwist.proto.smpp.commands import RESPONSE, Command
from kumotwist.proto.smpp.messages import Address, ShortMessage, decode_short_message, encode_short_message
from kumotwist.proto.smpp.pdu import Pdu, PduReader

BINDS = (Command.BIND_TRANSCEIVER, Command.BIND_TRANSMITTER, Command.BIND_RECEIVER)
SILENCE = object()
HANG_UP = object()


@implementer(IOpenSSLServerConnectionCreator)
class _ServerTls:
    def __init__(self, context):
        self.context = context

    def serverConnectionForTLS(self, _):
        return SSL.Connection(self.context, None)


class _Connection(Protocol):
    def __init__(self, smsc):
        self.smsc = smsc
        self.reader = PduReader()
        self.mode = None

    def connectionMade(self):
        self.smsc.connections.append(self)

    def connectionLost(self, reason):
        if self in self.smsc.connections:
            self.smsc.connections.remove(self)

    def dataReceived(self, data):
        for pdu in self.reader.feed(data):
            self.smsc.received(self, pdu)

    def say(self, command, status=0, sequence=0, body=b""):
        self.transport.write(Pdu(command, status, sequence, body).encode())


class ScriptedSmsc:
    """`script(message)` gives a status, SILENCE, HANG_UP or None for taken; `bind_status` answers binds."""

    def __init__(self, script=None, bind_status=0):
        self.script = script or (lambda _message: None)
        self.bind_status = bind_status
        self.passwords = []
        self.binds = []
        self.submitted = []
        self.held = []
        self.is_holding = False
        self.acknowledged = []
        self.connections = []
        self.unbinds = 0
        self.enquiries = 0
        self.port = 0
        self._sequence = 0
        self._waiting = {}

    @asynccontextmanager
    async def start(self, reactor, tls=None):
        """`tls` is an OpenSSL context for the server's side."""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: _Connection(self)
        outer = factory if tls is None else TLSMemoryBIOFactory(_ServerTls(tls), False, factory)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(outer)
        self.port = port.getHost().port
        try:
            yield self
        finally:
            self.drop_all()
            await port.stopListening()

    def drop_all(self):
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def received(self, connection, pdu):
        if pdu.command in BINDS:
            self.binds.append(Command(pdu.command))
            self.passwords.append(pdu.body.split(b"\0")[1].decode())
            status = self.bind_status.pop(0) if isinstance(self.bind_status, list) else self.bind_status
            connection.mode = pdu.command if status == 0 else None
            connection.say(pdu.command | RESPONSE, status, pdu.sequence, b"scripted\0" if status == 0 else b"")
        elif pdu.command == Command.SUBMIT_SM:
            self._submit(connection, pdu)
        elif pdu.command in (Command.ENQUIRE_LINK, Command.UNBIND):
            self.unbinds += pdu.command == Command.UNBIND
            self.enquiries += pdu.command == Command.ENQUIRE_LINK
            connection.say(pdu.command | RESPONSE, 0, pdu.sequence)
        elif pdu.command == Command.DELIVER_SM | RESPONSE:
            self.acknowledged.append(pdu.status)
            waiter = self._waiting.pop(pdu.sequence, None)
            if waiter is not None:
                waiter.callback(pdu.status)

    def _submit(self, connection, pdu):
        message = decode_short_message(Command.SUBMIT_SM, pdu.body)
        self.submitted.append(message)
        verdict = self.script(message)
        if verdict is HANG_UP:
            connection.transport.abortConnection()
        elif verdict is not SILENCE:
            self.held.append((connection, pdu.sequence, verdict or 0, f"id-{len(self.submitted)}"))
            if not self.is_holding:
                self.release()

    def release(self, reverse=False):
        """Answer what was held."""
        held, self.held = self.held, []
        for connection, sequence, status, message_id in reversed(held) if reverse else held:
            body = message_id.encode() + b"\0" if status == 0 else b""
            connection.say(Command.SUBMIT_SM | RESPONSE, status, sequence, body)

    def deliver(self, text, waiter=None, source="15551234567", destination="12345", **fields):
        """Send a deliver_sm over the last bind that takes them."""
        message = ShortMessage(
            source=Address(source, 1, 1), destination=Address(destination), short_message=text, **fields
        )
        connection = next(one for one in reversed(self.connections) if one.mode != Command.BIND_TRANSMITTER)
        self._sequence += 1
        if waiter is not None:
            self._waiting[self._sequence] = waiter
        connection.say(Command.DELIVER_SM, 0, self._sequence, encode_short_message(message))
