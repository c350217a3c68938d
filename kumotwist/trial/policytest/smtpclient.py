"""A client for the real SMTP server of a policy under test: one transaction, without a socket.

TLS is pretended: both sides behave as if there were some, since AUTH wants it,
and no certificate is needed.

Public: `transact`, `Client`, `Letter`, `Transaction`, `Refused`, `without_certificates`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransport

from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.intake.smtp.options import local_end
from kumotwist.net.tls import ServerTls
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.pretend import PATIENCE, PretendClock

_LAST_LINE: Final = re.compile(rb"(?:\A|\n)(\d{3}) ([^\r\n]*)\r\n\Z")
_LINES: Final = re.compile(r"^\d{3}[ -]", re.MULTILINE)


@frozen
class Client:
    """Who connects; with a `user` or `uses_tls` by TLS."""

    peer: str = "127.0.0.1"
    hello: str = "client.test"
    user: str | None = None
    password: str = field(default="", repr=False)
    uses_tls: bool = False


@frozen
class Letter:
    """What is handed over."""

    sender: str
    recipients: Sequence[str]
    data: bytes


@frozen
class Refused:
    """A recipient that was not taken."""

    to: str
    code: int
    text: str


@define
class Transaction:
    """What the server said last, and at which stage.

    `stage` is `connect`, `ehlo`, `starttls`, `auth`, `mail_from`, `rcpt_to` or `data`.
    """

    code: int = 0
    text: str = ""
    stage: str = "connect"
    refused: list[Refused] = field(factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that were taken."""
        return self.text.partition("ids=")[2].split() if self.stage == "data" and self.code == 250 else []


def transact(factory: SmtpFactory, clock: PretendClock, client: Client, letter: Letter) -> Transaction:
    """Connect and hand over one message. Raises Failed when the server does not answer."""
    connection = _Connection(factory, clock, client.peer)
    try:
        return _run(connection, client, letter)
    finally:
        connection.close()


def without_certificates(factory: SmtpFactory) -> None:
    """Have a listener offer TLS whatever its certificate is."""
    factory.listener.tls = cast("ServerTls", _PretendTls())


def _run(connection: _Connection, client: Client, letter: Letter) -> Transaction:
    done = Transaction()
    for stage, command in (*_opening(client), ("mail_from", b"MAIL FROM:<" + letter.sender.encode() + b">")):
        done.stage = stage
        done.code, done.text = connection.ask(command)
        if done.code >= 300:
            return done
        if stage == "starttls":
            connection.start_tls()
    done.stage = "rcpt_to"
    for recipient in letter.recipients:
        code, text = connection.ask(b"RCPT TO:<" + recipient.encode() + b">")
        if code >= 300:
            done.code, done.text = code, text
            done.refused.append(Refused(recipient, code, text))
    if len(done.refused) == len(letter.recipients):
        return done
    done.stage = "data"
    done.code, done.text = connection.ask(b"DATA")
    if done.code == 354:
        stuffed = re.sub(rb"(?m)^\.", b"..", letter.data)
        done.code, done.text = connection.ask(stuffed.removesuffix(b"\r\n") + b"\r\n.")
    return done


def _opening(client: Client) -> Iterator[tuple[str, bytes]]:
    hello = b"EHLO " + client.hello.encode()
    yield "connect", b""
    yield "ehlo", hello
    if client.uses_tls or client.user is not None:
        yield "starttls", b"STARTTLS"
        yield "ehlo", hello
    if client.user is not None:
        yield "auth", b"AUTH PLAIN " + b64encode(f"\0{client.user}\0{client.password}".encode())


class _PretendTls:
    """In the place of `net.tls.ServerTls`."""

    def ready(self, _sources: object) -> object:
        """There is always a context."""
        return self


class _Handle:
    """What a finished handshake agreed on."""

    def get_peer_certificate(self, as_cryptography: bool) -> None:
        """The client has none."""

    def get_protocol_version_name(self) -> str:
        """Today's."""
        return "TLSv1.3"

    def get_cipher_name(self) -> str:
        """One of it."""
        return "TLS_AES_256_GCM_SHA384"


class _Wire(StringTransport):
    """A transport that can be told to speak TLS."""

    def startTLS(self, _context: object) -> None:
        """It goes on as it is."""

    def getHandle(self) -> _Handle:
        """The connection's."""
        return _Handle()


class _Connection:
    """A connection in memory."""

    def __init__(self, factory: SmtpFactory, clock: PretendClock, peer: str) -> None:
        here = local_end(factory.listener.options.config, peer)
        kind, of_ours = (IPv6Address if ":" in one else IPv4Address for one in (peer, here[0]))
        self._clock = clock
        ends = {"hostAddress": of_ours("TCP", *here), "peerAddress": kind("TCP", peer, 50_000)}
        self._wire: Any = _Wire(**ends)  # type: ignore[no-untyped-call]  # Twisted's has no types
        self._session: Any = factory.buildProtocol(None)
        self._is_open = False

    def ask(self, command: bytes) -> tuple[int, str]:
        """The reply to a command; to none, the greeting."""
        self._wire.clear()
        if self._is_open:
            self._session.dataReceived(command + b"\r\n")
        else:
            self._is_open = True
            self._session.makeConnection(self._wire)
        return self._reply(command)

    def start_tls(self) -> None:
        """The handshake is done."""
        self._session.handshakeCompleted()

    def _reply(self, command: bytes) -> tuple[int, str]:
        end = self._clock.seconds() + PATIENCE
        self._clock.settle()
        while (last := _LAST_LINE.search(self._wire.value())) is None:
            if self._wire.disconnecting or self._clock.seconds() >= end:
                raise Failed(f"the SMTP server did not answer {command.decode(errors='replace')[:80]!r}")
            self._clock.pass_time(1.0)
        text = self._wire.value().decode(errors="replace").strip()
        return int(last[1]), _LINES.sub("", text).replace("\r\n", "\n")

    def close(self) -> None:
        """Hang up."""
        self._session.connectionLost()
        self._clock.settle()
