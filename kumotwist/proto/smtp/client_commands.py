"""Exchanges of one command and one reply: all that an SMTP client says besides transactions.

Public: `Step`, `Exchange`, `Command` and the makers `banner`, `hello`, `starttls`,
`auth_plain`, `quit_session`, `single_line`.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Sequence
from typing import Protocol

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smtp.client_replies import Reply


class Step(enum.IntEnum):
    """What the client waits for; it picks the timeout."""

    BANNER = 0
    EHLO = 1
    STARTTLS = 2
    AUTH = 3
    RSET = 4
    MAIL = 5
    RCPT = 6
    DATA = 7
    DOT = 8
    QUIT = 9


class Exchange(Protocol):
    """Something said and the replies to it; `ClientSession` runs one at a time."""

    #: The reply that comes next.
    step: Step
    is_done: bool
    #: Whether the connection is of no more use after it.
    is_broken: bool

    @property
    def waiting_for(self) -> str:
        """The command whose reply comes next, without its line end, for people."""
        ...

    def opening(self) -> bytes:
        """What to write first."""
        ...

    def on_reply(self, reply: Reply) -> Sequence[bytes]:
        """Take the next reply; what to write now."""
        ...


class Command:
    """One command; afterwards `reply` is there."""

    __slots__ = ("_line", "_shown", "is_broken", "is_done", "reply", "step")

    def __init__(self, step: Step, line: bytes, shown: str) -> None:
        """`line` is the command with its CRLF; `shown` stands for it where people look."""
        self.step = step
        self.is_done = False
        self.is_broken = False
        self.reply: Reply | None = None
        self._line = line
        self._shown = shown

    @property
    def waiting_for(self) -> str:
        """What is shown in its place: a password never is."""
        return self._shown

    def opening(self) -> bytes:
        """The command line."""
        return self._line

    def on_reply(self, reply: Reply) -> Sequence[bytes]:
        """Keep the reply; nothing follows."""
        self.reply = reply
        self.is_done = True
        self.is_broken = reply.code == 421
        return ()


def single_line(text: str) -> bytes:
    """`text` and CRLF. Raises LocalProtocolError when a line end or NUL in it would start another command."""
    if "\r" in text or "\n" in text or "\0" in text:
        raise LocalProtocolError("a command cannot hold line ends")
    return text.encode() + b"\r\n"


def banner() -> Command:
    """Wait for the greeting."""
    return Command(Step.BANNER, b"", "banner")


def hello(name: str, is_lmtp: bool) -> Command:
    """EHLO, or LHLO (RFC 2033 s4.1)."""
    text = f"{'LHLO' if is_lmtp else 'EHLO'} {name}"
    return Command(Step.EHLO, single_line(text), text)


def starttls() -> Command:
    """STARTTLS (RFC 3207)."""
    return Command(Step.STARTTLS, b"STARTTLS\r\n", "STARTTLS")


def auth_plain(user: str, password: bytes) -> Command:
    """AUTH PLAIN with its initial response (RFC 4954 s4, RFC 4616)."""
    initial = base64.b64encode(b"\0" + user.encode() + b"\0" + password)
    return Command(Step.AUTH, b"AUTH PLAIN " + initial + b"\r\n", "AUTH PLAIN")


def quit_session() -> Command:
    """QUIT."""
    return Command(Step.QUIT, b"QUIT\r\n", "QUIT")
