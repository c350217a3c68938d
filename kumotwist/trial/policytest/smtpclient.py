"""A client for the real SMTP server of a policy under test: one transaction, without a socket.

Public: `transact`, `Transaction`, `Refused`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransport

from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.pretend import PATIENCE, PretendClock

_LAST_LINE: Final = re.compile(rb"(?:\A|\n)(\d{3}) ([^\r\n]*)\r\n\Z")
_LINES: Final = re.compile(r"^\d{3}[ -]", re.MULTILINE)


@frozen
class Refused:
    """A recipient that was not taken."""

    to: str
    code: int
    text: str


@define
class Transaction:
    """What the server said last, at which `stage` (`connect`, `ehlo`, `mail_from`, `rcpt_to`, `data`)."""

    code: int = 0
    text: str = ""
    stage: str = "connect"
    refused: list[Refused] = field(factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that were taken."""
        return self.text.partition("ids=")[2].split() if self.stage == "data" and self.code == 250 else []


def transact(
    factory: SmtpFactory,
    clock: PretendClock,
    peer: str,
    hello: str,
    sender: str,
    recipients: Sequence[str],
    body: bytes,
) -> Transaction:
    """Connect from `peer` and hand over one message. Raises Failed when the server does not answer."""
    client = _Client(factory, clock, peer)
    try:
        return _run(client, hello, sender, recipients, body)
    finally:
        client.close()


def _run(client: _Client, hello: str, sender: str, recipients: Sequence[str], body: bytes) -> Transaction:
    done = Transaction()
    for stage, command in (
        ("connect", b""),
        ("ehlo", b"EHLO " + hello.encode()),
        ("mail_from", b"MAIL FROM:<" + sender.encode() + b">"),
    ):
        done.stage = stage
        done.code, done.text = client.ask(command)
        if done.code >= 300:
            return done
    done.stage = "rcpt_to"
    for recipient in recipients:
        code, text = client.ask(b"RCPT TO:<" + recipient.encode() + b">")
        if code >= 300:
            done.code, done.text = code, text
            done.refused.append(Refused(recipient, code, text))
    if len(done.refused) == len(recipients):
        return done
    done.stage = "data"
    done.code, done.text = client.ask(b"DATA")
    if done.code == 354:
        stuffed = re.sub(rb"(?m)^\.", b"..", body)
        done.code, done.text = client.ask(stuffed.removesuffix(b"\r\n") + b"\r\n.")
    return done


class _Client:
    """A connection in memory."""

    def __init__(self, factory: SmtpFactory, clock: PretendClock, peer: str) -> None:
        kind = IPv6Address if ":" in peer else IPv4Address
        here = "::1" if ":" in peer else "127.0.0.1"
        self._clock = clock
        self._wire = StringTransport(hostAddress=kind("TCP", here, 25), peerAddress=kind("TCP", peer, 50_000))
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
