"""A stand-in for other people's mail servers: an SMTP sink that answers by script.

Runs as a process of its own beside demonstrations and tests:
`python -m kumotwist.demo.standin_smtp [--listen IP:PORT] [--rules JSON]
[--output FILE] [--certificate PEM]`. It prints `listening on IP:PORT` on
stdout, takes whatever is sent, and appends one JSON line per message to FILE.
It shares no code with our own SMTP cores, so that neither hides the other's
mistakes.

A rule is `{"at": STEP, "match": REGEX, "reply": "451 4.2.0 later", "times": N,
"share": 0.05, "delay": SECONDS, "drop": true}`; STEP is banner, ehlo,
starttls, mail, rcpt, data or dot (for dot, REGEX is searched in the message).
The first rule that applies answers; `times` limits how often, `share` to what
part of the occasions (counted, not random: the same run gives the same result).

Public: `main`, `SinkFactory`, `Rule`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, field
from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.net.clock import Clock

_DEFAULTS: Final = {
    "banner": "220 stand-in ESMTP",
    "starttls": "220 go ahead",
    "mail": "250 2.1.0 sender ok",
    "rcpt": "250 2.1.5 recipient ok",
    "data": "354 end with a dot",
    "dot": "250 2.0.0 taken",
}
#: Octets of a message that the output file keeps.
_KEPT: Final = 65536


@define(eq=False)
class Rule:
    """One line of the script."""

    at: str
    reply: str | None = None
    match: re.Pattern[str] = field(default="", converter=re.compile)
    times: int | None = None
    share: float = 1.0
    delay: float = 0.0
    drop: bool = False
    _seen: int = field(default=0, init=False)
    _used: int = field(default=0, init=False)

    def applies(self, step: str, text: str) -> bool:
        """Whether this rule answers now; counts the occasion."""
        if self.at != step or self._used == self.times or not self.match.search(text):
            return False
        before, after = int(self._seen * self.share), int((self._seen + 1) * self.share)
        self._seen += 1
        if before == after:
            return False
        self._used += 1
        return True


@define(eq=False)
class SinkFactory(Factory):
    """Makes the sessions; holds the script, the output and the counts."""

    noisy = False

    clock: Clock
    rules: Sequence[Rule] = ()
    output: IO[str] | None = None
    tls: ssl.CertificateOptions | None = None
    messages: int = field(default=0, init=False)

    def buildProtocol(self, _addr: object) -> Sink:
        """A new session."""
        return Sink(self)

    def rule(self, step: str, text: str) -> Rule | None:
        """The rule that answers, if any."""
        return next((rule for rule in self.rules if rule.applies(step, text)), None)

    def taken(self, entry: dict[str, object]) -> None:
        """Count a message and write it down."""
        self.messages += 1
        if self.output is not None:
            self.output.write(json.dumps(entry) + "\n")
            self.output.flush()


class Sink(Protocol):
    """One session."""

    transport: Any

    def __init__(self, factory: SinkFactory) -> None:
        self._factory = factory
        self._buffer = b""
        self._in_data = False
        self._is_paused = False
        self._is_secure = False
        self._sender = ""
        self._recipients: list[str] = []

    def connectionMade(self) -> None:
        """Greet."""
        self._answer("banner", "")

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """The peer is gone: nothing more is said."""
        self._is_paused = True

    def dataReceived(self, data: bytes) -> None:
        """Take commands or message text."""
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._is_paused and (self._take_message() if self._in_data else self._take_command()):
            pass

    def _take_command(self) -> bool:
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line.decode("utf-8", "replace"))
        return True

    def _take_message(self) -> bool:
        text = b"\r\n" + self._buffer
        end = text.find(b"\r\n.\r\n")
        if end < 0:
            return False
        message, self._buffer = text[2 : end + 2].replace(b"\r\n..", b"\r\n."), text[end + 5 :]
        if message.startswith(b".."):
            message = message[1:]
        self._in_data = False
        self._message(message)
        return True

    def _command(self, line: str) -> None:
        verb = line[:4].upper()
        if verb in ("EHLO", "HELO", "LHLO"):
            self._greet(line)
        elif verb == "STAR":
            self._start_tls(line)
        elif verb == "MAIL" and self._answer("mail", line):
            self._sender, self._recipients = _path(line), []
        elif verb == "RCPT" and self._answer("rcpt", line):
            self._recipients.append(_path(line))
        elif verb == "DATA" and not self._recipients:
            self._say("503 5.5.1 no valid recipients")
        elif verb == "DATA":
            self._in_data = self._answer("data", line, expect="3")
        elif verb == "QUIT":
            self._say("221 bye")
            self.transport.loseConnection()
        elif verb in ("RSET", "NOOP", "AUTH"):
            self._say("235 2.7.0 ok" if verb == "AUTH" else "250 2.0.0 ok")
        elif verb not in ("MAIL", "RCPT"):
            self._say("500 5.5.1 unknown command")

    def _greet(self, line: str) -> None:
        lines = ["stand-in", "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._factory.tls is not None and not self._is_secure:
            lines.append("STARTTLS")
        if self._is_secure:
            lines.append("AUTH PLAIN")
        default = "\r\n".join([*(f"250-{word}" for word in lines[:-1]), f"250 {lines[-1]}"])
        self._answer("ehlo", line, default=default)

    def _start_tls(self, line: str) -> None:
        if self._factory.tls is None or not self._answer("starttls", line):
            return
        self._buffer = b""
        self._is_secure = True
        self.transport.startTLS(self._factory.tls)

    def _message(self, message: bytes) -> None:
        text = message[:_KEPT].decode("latin-1")
        if not self._answer("dot", text):
            return
        self._factory.taken(
            {
                "sender": self._sender,
                "recipients": self._recipients,
                "size": len(message),
                "tls": self._is_secure,
                "data": text,
            }
        )

    def _answer(self, step: str, text: str, default: str | None = None, expect: str = "2") -> bool:
        """Reply as the script says; whether the reply is a good one."""
        rule = self._factory.rule(step, text)
        reply = (rule and rule.reply) or default or _DEFAULTS[step]
        if rule is not None and rule.drop:
            self._is_paused = True
            self.transport.abortConnection()
            return False
        if rule is not None and rule.delay:
            self._is_paused = True
            self._factory.clock.callLater(rule.delay, self._resume, reply)
        else:
            self._say(reply)
        return reply.startswith(expect)

    def _resume(self, reply: str) -> None:
        if not self.transport.connected:
            return
        self._is_paused = False
        self._say(reply)
        self._go_on()

    def _say(self, reply: str) -> None:
        self.transport.write(reply.encode() + b"\r\n")


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one sink until killed."""
    parser = argparse.ArgumentParser(description="An SMTP sink that answers by script.")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--rules", default="[]", help="a JSON list of rules")
    parser.add_argument("--output", type=Path, help="file to which each message is appended as JSON")
    parser.add_argument("--certificate", type=Path, help="PEM file with certificate and key: offer STARTTLS")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor

    clock: Any = reactor
    tls = None
    if options.certificate:
        load: Any = ssl.PrivateCertificate.loadPEM
        tls = load(options.certificate.read_bytes()).options()
    output = options.output.open("a", encoding="utf-8") if options.output else None
    factory = SinkFactory(clock, [Rule(**rule) for rule in json.loads(options.rules)], output, tls)
    host, _, port = options.listen.rpartition(":")
    bound = clock.listenTCP(int(port), factory, interface=host, backlog=1024).getHost()
    sys.stdout.write(f"listening on {bound.host}:{bound.port}\n")
    sys.stdout.flush()
    clock.run()


if __name__ == "__main__":
    main()
