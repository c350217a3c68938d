"""A stand-in for an operator's SMSC: SMPP 3.4, with receipts that come later.

Runs beside demonstrations and tests: `python -m kumotwist.demo.standin_smsc
[--listen IP:PORT] [--share 0.04] [--delay S]`. It prints `listening on
IP:PORT` on stdout and takes every bind and text. `--share` of the texts are
refused by turns, mostly for the moment. Of what it took it sends a receipt
`--delay` to three times as many seconds later, where one was asked for: nine
in ten were delivered. All by count, not by chance, so the same run gives the
same result.

Public: `main`, `Smsc`. It shares no code with our SMPP client, so that neither
hides the other's mistakes.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from collections.abc import Sequence
from itertools import count, cycle
from typing import Any, Final

from attrs import define, field
from twisted.internet.protocol import Factory, Protocol

from kumotwist.net.clock import Clock

_HEADER: Final = struct.Struct("!IIII")
#: SMPP 3.4 s5.1.2.1, what we answer or send.
_BIND_RECEIVER, _BIND_TRANSMITTER, _SUBMIT, _DELIVER, _UNBIND, _BIND_TRANSCEIVER, _ENQUIRE = 1, 2, 4, 5, 6, 9, 0x15
_RESPONSE: Final = 0x80000000
_GENERIC_NACK: Final = 0x80000000
_INVALID_COMMAND: Final = 3
#: s5.1.3: submit failed, throttled, invalid destination.
_REFUSALS: Final = (0x45, 0x58, 0x45, 0x0B)
#: Octets of a PDU; ours: the largest text takes a few hundred.
_MAX_PDU: Final = 70_000
#: What becomes of ten texts, as the receipt says it (appendix B).
_ENDS: Final = ("DELIVRD",) * 6 + ("UNDELIV",) + ("DELIVRD",) * 3


@define(eq=False)
class Smsc:
    """What all connections share: who is bound, and the counts."""

    clock: Clock
    share: float = 0.0
    delay: float = 1.0
    bound: list[_Link] = field(factory=list)
    _numbers: count[int] = field(factory=lambda: count(1), init=False)
    _taken: int = field(default=0, init=False)
    _refusals: Any = field(factory=lambda: cycle(_REFUSALS), init=False)
    _ends: Any = field(factory=lambda: cycle(_ENDS), init=False)

    def submit(self, text: _Text) -> tuple[int, str]:
        """Status and message id for one text."""
        before, after = int(self._taken * self.share), int((self._taken + 1) * self.share)
        self._taken += 1
        if before != after:
            return next(self._refusals), ""
        name = f"{next(self._numbers):010d}"
        if text.wants_receipt:
            later = self.delay * (1 + self._taken % 20 / 10)
            self.clock.callLater(later, self._tell, name, text, next(self._ends))
        return 0, name

    def _tell(self, name: str, text: _Text, end: str) -> None:
        """The receipt, to whoever listens; nobody does when the other side is going away."""
        links = [link for link in self.bound if link.can_receive]
        if not links:
            return
        moment = time.strftime("%y%m%d%H%M", time.gmtime(self.clock.seconds()))
        is_there = end == "DELIVRD"
        told = (
            f"id:{name} sub:001 dlvrd:{is_there:03d} submit date:{moment} done date:{moment}"
            f" stat:{end} err:{0 if is_there else 27:03d} text:{text.shown}"
        )
        links[int(name) % len(links)].deliver(text, told.encode("ascii", "replace"))


@define(eq=False)
class _Text:
    """A submitted text, as far as its receipt needs it."""

    source: bytes
    destination: bytes
    wants_receipt: bool
    shown: str

    @classmethod
    def read(cls, body: bytes) -> _Text:
        """From the body of a submit_sm (s4.4.1). Raises ValueError, IndexError when it is cut short."""
        _, at = _string(body, 0)
        source, at = _address(body, at)
        destination, at = _address(body, at)
        at += 3
        _, at = _string(body, at)
        _, at = _string(body, at)
        registered, coding, length = body[at], body[at + 2], body[at + 4]
        said = body[at + 5 : at + 5 + length]
        shown = said.decode("utf-16-be" if coding == 8 else "latin-1", "replace")
        return cls(source, destination, registered & 3 == 1, shown[:20])


class _Link(Protocol):
    """One connection."""

    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc
        self._buffer = b""
        self._sequence = count(1)
        self.can_receive = False

    def dataReceived(self, data: bytes) -> None:
        """Take whole PDUs off the stream."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length, command, _, sequence = _HEADER.unpack_from(self._buffer)
            if not _HEADER.size <= length <= _MAX_PDU:
                self._hang_up()
                return
            if len(self._buffer) < length:
                return
            body, self._buffer = self._buffer[_HEADER.size : length], self._buffer[length:]
            try:
                self._answer(command, sequence, body)
            except (ValueError, IndexError):
                self._hang_up()
                return

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002
        """It is no longer bound."""
        if self in self._smsc.bound:
            self._smsc.bound.remove(self)

    def deliver(self, text: _Text, told: bytes) -> None:
        """A deliver_sm with a receipt (s4.6.1): from the handset, to who sent the text."""
        receipt = 4
        flags = struct.pack("!BBB", receipt, 0, 0) + b"\0\0" + struct.pack("!BBBBB", 0, 0, 0, 0, len(told))
        body = b"\0" + text.destination + text.source + flags + told
        self._write(_DELIVER, 0, next(self._sequence), body)

    def _answer(self, command: int, sequence: int, body: bytes) -> None:
        if command in (_BIND_RECEIVER, _BIND_TRANSMITTER, _BIND_TRANSCEIVER):
            self.can_receive = command != _BIND_TRANSMITTER
            self._smsc.bound.append(self)
            self._write(command | _RESPONSE, 0, sequence, b"standin\0")
        elif command == _SUBMIT:
            status, name = self._smsc.submit(_Text.read(body))
            self._write(command | _RESPONSE, status, sequence, name.encode() + b"\0" if not status else b"")
        elif command in (_UNBIND, _ENQUIRE):
            self._write(command | _RESPONSE, 0, sequence, b"")
        elif not command & _RESPONSE:
            self._write(_GENERIC_NACK, _INVALID_COMMAND, sequence, b"")

    def _write(self, command: int, status: int, sequence: int, body: bytes) -> None:
        transport: Any = self.transport
        transport.write(_HEADER.pack(_HEADER.size + len(body), command, status, sequence) + body)

    def _hang_up(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    """A C-octet string and where it ends. Raises ValueError when it does not."""
    end = body.index(0, at)
    return body[at:end], end + 1


def _address(body: bytes, at: int) -> tuple[bytes, int]:
    """An address with its type and plan, as it stands, and where it ends."""
    _, end = _string(body, at + 2)
    return body[at:end], end


class _Links(Factory):
    """Makes the connections."""

    noisy = False

    def __init__(self, smsc: Smsc) -> None:
        self._smsc = smsc

    def buildProtocol(self, addr: object) -> _Link:  # noqa: ARG002
        """A link for a new connection."""
        return _Link(self._smsc)


def factory(smsc: Smsc) -> Factory:
    """The service as a factory."""
    return _Links(smsc)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="Takes texts by SMPP and sends receipts for them.")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--share", type=float, default=0.0, help="share of texts that are refused")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds before the first receipts")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor

    clock: Any = reactor
    host, _, port = options.listen.rpartition(":")
    smsc = Smsc(clock, options.share, options.delay)
    bound = clock.listenTCP(int(port), factory(smsc), interface=host, backlog=1024).getHost()
    sys.stdout.write(f"listening on {bound.host}:{bound.port}\n")
    sys.stdout.flush()
    clock.run()


if __name__ == "__main__":
    main()
