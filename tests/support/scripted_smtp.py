"""An SMTP and LMTP server that does at each step what a test tells it: answer, lie, stall, reset, close.

Without a script it is a good server. Published for the tests of channels and
for scenarios: `ScriptedSmtp(script).start(reactor)`; `messages` and `commands`
tell what came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet import defer
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

#: Actions besides a text to send.
STALL, RESET, CLOSE = "<stall>", "<reset>", "<close>"
GARBAGE = "\x00\xff not smtp\r\n"
GOOD = {
    "banner": "220 scripted ready\r\n",
    "mail": "250 2.1.0 sender ok\r\n",
    "rcpt": "250 2.1.5 recipient ok\r\n",
    "data": "354 go ahead\r\n",
    "dot": "250 2.0.0 queued\r\n",
    "rset": "250 2.0.0 reset\r\n",
    "quit": "221 2.0.0 bye\r\n",
    "auth": "235 2.7.0 welcome\r\n",
    "starttls": "220 2.0.0 ready\r\n",
}
VERBS = {
    "EHLO": "ehlo", "LHLO": "ehlo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data", "RSET": "rset", "QUIT": "quit",
    "AUTH": "auth", "STARTTLS": "starttls",
}  # fmt: skip


@frozen
class Received:
    """One message: the commands of its envelope and the bytes between DATA and the dot, still stuffed."""

    mail: str
    rcpts: tuple[str, ...]
    data: bytes
    connection: int


class _Conversation(Protocol):
    def __init__(self, server: ScriptedSmtp, number: int) -> None:
        self.server = server
        self.number = number
        self.buffer = b""
        self.is_in_data = False
        self.is_silent = False
        self.is_tls = False
        self.mail, self.rcpts = "", []

    def connectionMade(self) -> None:
        self.server.open.add(self)
        self.transport.setTcpNoDelay(True)
        self.act("banner")

    def connectionLost(self, reason: Any = None) -> None:
        self.server.open.discard(self)
        if not self.server.open and self.server.emptied is not None:
            self.server.emptied.callback(None)
            self.server.emptied = None

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while not self.is_silent:
            if self.is_in_data:
                body, dot, rest = self.buffer.partition(b"\r\n.\r\n")
                if self.buffer.startswith(b".\r\n"):
                    body, dot, rest = b"", b".", self.buffer[3:]
                if not dot:
                    return
                self.buffer = rest
                self.take_message(body + b"\r\n" if body else b"")
                continue
            line, end, rest = self.buffer.partition(b"\r\n")
            if not end:
                return
            self.buffer = rest
            # A TLS client that was promised TLS by a script goes on in binary.
            self.take_command(line.decode("utf-8", "backslashreplace"))

    def take_command(self, line: str) -> None:
        self.server.commands.append((self.number, line))
        step = VERBS.get(line.split(" ")[0].upper())
        if step is None:
            self.transport.write(b"500 5.5.1 what?\r\n")
            return
        if step not in self.server.script and (refusal := self.out_of_order(step)):
            self.transport.write(refusal)
            return
        said = self.act(step)
        if step == "mail" and said.startswith("2"):
            self.mail, self.rcpts = line, []
        elif step == "rcpt" and said.startswith("2"):
            self.rcpts.append(line)
        elif step == "data" and said.startswith("354"):
            self.is_in_data = True
        elif step == "starttls" and said.startswith("220") and self.server.context is not None:
            self.buffer = b""
            self.is_tls = True
            self.transport.startTLS(_ServerTls(self.server.context))
        elif step == "quit" and said.startswith("221"):
            self.transport.loseConnection()

    def out_of_order(self, step: str) -> bytes:
        """What a good server says to commands that have no place here; scripted steps do as they are told."""
        if step == "rcpt" and not self.mail:
            return b"503 5.5.1 MAIL first\r\n"
        return b"554 5.5.1 no valid recipients\r\n" if step == "data" and not self.rcpts else b""

    def take_message(self, body: bytes) -> None:
        self.is_in_data = False
        self.server.messages.append(Received(self.mail, tuple(self.rcpts), body, self.number))
        answers = len(self.rcpts) if self.server.is_lmtp else 1
        self.mail, self.rcpts = "", []
        for _ in range(answers):
            self.act("dot")

    def act(self, step: str) -> str:
        """Do the step's next action; the text that was said, if any."""
        action = self.server.next_action(step, self.is_tls)
        if action == STALL:
            self.is_silent = True
            if self.server.stalled is not None:
                stalled, self.server.stalled = self.server.stalled, None
                stalled.callback(step)
        elif action == RESET:
            self.is_silent = True
            self.transport.abortConnection()
        elif action == CLOSE:
            self.is_silent = True
            self.transport.loseConnection()
        else:
            self.transport.write(action.encode("latin-1"))
            return action
        return ""


@implementer(IOpenSSLServerConnectionCreator)
class _ServerTls:
    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, _: Any) -> SSL.Connection:
        return SSL.Connection(self.context, None)


@define(eq=False)
class ScriptedSmtp:
    """`script` maps steps to one action or to a list of actions for its successive occurrences.

    Steps: banner, ehlo, starttls, auth, mail, rcpt, data, dot, rset, quit. An
    action is a text to send, STALL, RESET or CLOSE; a list that has run out
    falls back to what a good server says. `context` makes it offer STARTTLS.
    """

    script: Mapping[str, str | Sequence[str]] = field(factory=dict)
    extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    context: SSL.Context | None = None
    is_lmtp: bool = False
    port: int = 0
    commands: list[tuple[int, str]] = field(factory=list)
    messages: list[Received] = field(factory=list)
    connections: int = 0
    open: set[_Conversation] = field(factory=set)
    emptied: defer.Deferred[None] | None = None
    stalled: defer.Deferred[str] | None = None
    _counts: dict[str, int] = field(factory=dict)

    def next_action(self, step: str, is_tls: bool) -> str:
        number = self._counts.get(step, 0)
        self._counts[step] = number + 1
        actions = self.script.get(step, ())
        if isinstance(actions, str):
            return actions
        if number < len(actions):
            return actions[number]
        return GOOD[step] if step != "ehlo" else self.ehlo(is_tls)

    def ehlo(self, is_tls: bool) -> str:
        offered = list(self.extensions)
        if self.context is not None and not is_tls:
            offered.append("STARTTLS")
        lines = ["scripted", *offered]
        return "".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}\r\n" for n, line in enumerate(lines))

    def verbs(self) -> list[str]:
        """The first words of all commands."""
        return [line.split(" ")[0] for _, line in self.commands]

    def when_stalled(self) -> defer.Deferred[str]:
        """Fires when the script stalls next."""
        self.stalled = defer.Deferred()
        return self.stalled

    def drop_all(self) -> None:
        """Close every connection, as a server that restarts does."""
        for conversation in list(self.open):
            conversation.transport.loseConnection()

    def say_all(self, text: str) -> None:
        """Say something unasked on every connection."""
        for conversation in list(self.open):
            conversation.transport.write(text.encode())

    @asynccontextmanager
    async def start(self, reactor: Any, address: str = "127.0.0.1") -> Any:
        """Listen; on leaving, everything is closed."""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._build
        if address.startswith("/"):
            listening = reactor.listenUNIX(address, factory)
        else:
            listening = reactor.listenTCP(0, factory, interface=address)
            self.port = listening.getHost().port
        try:
            yield self
        finally:
            await listening.stopListening()
            await self.empty()

    async def empty(self) -> None:
        """Abort what is open and wait until it is gone."""
        if self.open:
            self.emptied = defer.Deferred()
            waiting = self.emptied
            for conversation in list(self.open):
                conversation.transport.abortConnection()
            await waiting

    def _build(self, _: Any) -> _Conversation:
        self.connections += 1
        return _Conversation(self, self.connections)
