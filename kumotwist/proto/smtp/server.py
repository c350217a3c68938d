"""The server side of an ESMTP session as a state machine: octets in, decisions out, replies back.

No socket, no clock, no waiting. The shell feeds `receive_data`, takes one
decision at a time from `next_event`, and answers it with `answer`, which
gives the octets to write. Until a decision is answered there is no other, so
policy that waits cannot reorder pipelined replies (RFC 2920 s3.2).

The state follows the code that is really sent: a MAIL that policy's rewrite
turned from 250 into 550 opens no transaction.

Over 400 lines, since the commands and the state that they move are one machine.

Public: `ServerSession`, `ServerRules`. What can go wrong: `LocalProtocolError`
when the shell answers what was not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from kumotwist.config.listener import LineEndings
from kumotwist.core.address import NULL_SENDER, EnvelopeAddress, parse_address
from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smtp import auth, grammar, replies
from kumotwist.proto.smtp.data import BodyReader, BodyRules, Refused, judge
from kumotwist.proto.smtp.events import (
    END_OF_DATA,
    Answer,
    Credentials,
    EndOfData,
    Event,
    Hello,
    Mail,
    Rcpt,
    StartData,
    StartTls,
    Xclient,
)
from kumotwist.proto.smtp.grammar import Malformed

#: Refusals of the core's own, one after another, after which the session ends. Ours;
#: Postfix's hard error limit is 20, but each of ours may also be a misspelt recipient.
MAX_ERRORS: Final = 100
#: Octets of one command line that are read over in search of its end before the session ends. Ours.
MAX_SKIPPED: Final = 1024 * 1024
#: Codes of the core's own after which the session is over, whatever policy makes of them.
_LAST_WORDS: Final = (221, 421)


@define
class ServerRules:
    """What the session allows; may be replaced between two events. Octets, seconds, counts."""

    hostname: str
    max_message_size: int
    line_length: int
    line_endings: LineEndings
    max_recipients: int
    max_recipients_on_connection: int
    client_timeout: float
    offers_tls: bool = True
    allows_xclient: bool = False
    body_rules: BodyRules = field(init=False, repr=False)

    @body_rules.default
    def _body_rules(self) -> BodyRules:
        return BodyRules(self.max_message_size, self.line_length, self.line_endings)


class ServerSession:
    """One client's session. Starts mute: nothing is read before `greet`."""

    __slots__ = (
        "_buffer",
        "_errors",
        "_exchange",
        "_is_greeted",
        "_mechanism",
        "_offset",
        "_pending",
        "_reader",
        "_recipients",
        "_recipients_seen",
        "_sender",
        "_skipped",
        "_starts_tls",
        "is_authenticated",
        "is_closed",
        "is_tls",
        "rules",
    )

    def __init__(self, rules: ServerRules) -> None:
        self.rules = rules
        self.is_closed = False
        self.is_tls = False
        self.is_authenticated = False
        self._is_greeted = False
        self._buffer = b""
        self._offset = 0
        self._pending: Event | None = None
        self._sender: EnvelopeAddress | None = None
        self._recipients: list[EnvelopeAddress] = []
        self._recipients_seen = 0
        self._reader: BodyReader | None = None
        self._exchange: auth.Exchange | None = None
        self._mechanism = ""
        self._starts_tls = False
        self._errors = 0
        self._skipped = 0

    # -- what the shell asks --------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a command and holds no decision: a good moment to end the session."""
        return self._pending is None and self._reader is None and not self._starts_tls

    @property
    def is_receiving_body(self) -> bool:
        """Whether DATA was answered 354 and the end is still to come."""
        return self._reader is not None

    @property
    def buffered(self) -> int:
        """Octets that wait to be looked at; the shell stops reading when they grow."""
        return len(self._buffer) - self._offset

    @property
    def next_timeout(self) -> float | None:
        """Seconds the client may take from its last octets to the next; None while it is our turn."""
        return self.rules.client_timeout if self._pending is None else None

    @property
    def sender(self) -> EnvelopeAddress | None:
        """The reverse path of the open transaction."""
        return self._sender

    @property
    def recipients(self) -> tuple[EnvelopeAddress, ...]:
        """The forward paths taken so far."""
        return tuple(self._recipients)

    def extensions(self) -> list[str]:
        """What EHLO offers now, in KumoMTA's order, SIZE added."""
        offered = [
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "SMTPUTF8",
            f"SIZE {self.rules.max_message_size}",
        ]
        if self.is_tls:
            offered.append(f"AUTH {' '.join(auth.MECHANISMS)}")
        elif self.rules.offers_tls:
            offered.append("STARTTLS")
        if self.rules.allows_xclient:
            offered.append(f"XCLIENT {' '.join(grammar.XCLIENT_ATTRIBUTES)}")
        return offered

    # -- octets in, decisions out -----------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Take octets from the client; between 220 for STARTTLS and `tls_started` they are dropped."""
        if self.is_closed or self._starts_tls:
            return
        if self._offset < len(self._buffer):
            self._buffer = self._buffer[self._offset :] + data
        else:
            self._buffer = data
        self._offset = 0

    def next_event(self) -> Event | None:
        """The next decision, or None when one is open or more octets are needed."""
        if self._offset == len(self._buffer) or self._pending is not None or self.is_closed or not self._is_greeted:
            return None
        if self._reader is not None:
            self._pending = self._read_body(self._reader)
        else:
            line = self._next_line()
            if line is not None:
                self._pending = self._read_line(line)
        return self._pending

    def _next_line(self) -> bytes | None:
        """The next line with its line end; b"" stands for one that was too long."""
        start = self._offset
        end = self._buffer.find(b"\n", start) + 1
        if end == 0:
            self._skip_long_line()
            return None
        self._offset = end
        size, self._skipped = end - start + self._skipped, 0
        if size <= grammar.MAX_COMMAND:
            return self._buffer[start:end]
        if size > MAX_SKIPPED:
            self._pending = self._too_many_errors()
            return None
        is_auth = self._exchange is not None or self._buffer[start : start + 5].upper() == b"AUTH "
        return self._buffer[start:end] if is_auth and size <= grammar.MAX_AUTH else b""

    def _skip_long_line(self) -> None:
        """Read over the start of a line that is too long already; only its end matters."""
        size = len(self._buffer) - self._offset
        if not self._skipped and size <= grammar.MAX_AUTH:
            return
        self._skipped += size
        self._buffer, self._offset = b"", 0
        if self._skipped > MAX_SKIPPED:
            self._pending = self._too_many_errors()

    def _read_line(self, line: bytes) -> Event:
        if not line:
            self._exchange = None
            return self._error(*replies.LINE_TOO_LONG, None)
        if self._exchange is not None:
            return self._step(line[:-2] if line[-2:-1] == b"\r" else b"")
        line, end = line[:-2], line[-2:]
        try:
            # Most lines are printable; only for the others it matters why they are not.
            if not line.decode().isprintable() and grammar.has_controls(line):
                raise Malformed("control characters are not allowed")
            if end != b"\r\n":
                raise Malformed("lines end with CRLF")
            verb, _, argument = line.partition(b" ")
            handler = _COMMANDS.get(verb.upper())
            if handler is None:
                return self._error(*replies.UNIMPLEMENTED, _printable(line))
            return handler(self, line, argument)
        except UnicodeDecodeError:
            return self._error(*replies.BAD_UTF8, _printable(line))
        except Malformed as error:
            return self._error(replies.SYNTAX[0], f"{replies.SYNTAX[1]}: {error}", _printable(line))

    def _read_body(self, reader: BodyReader) -> Event | None:
        data = self._buffer[self._offset :] if self._offset else self._buffer
        used = reader.receive(data)
        if used is None or used == len(data):
            self._buffer, self._offset = b"", 0
        else:
            self._buffer, self._offset = data, used
        if used is None:
            return None
        self._reader = None
        body = Refused(*replies.TOO_BIG) if reader.is_too_big else self._judge(reader)
        if isinstance(body, Refused):
            return Answer(body.code, body.text, END_OF_DATA)
        # Only where odd line ends are denied does "no CRLF dot" mean that there is no other kind either.
        has_dots = reader.has_dots or self.rules.line_endings != "Deny"
        return EndOfData(self._sender or NULL_SENDER, tuple(self._recipients), body, has_dots)

    def _judge(self, reader: BodyReader) -> bytes | Refused:
        return judge(reader.content(), self.rules.body_rules, reader.has_dots)

    # -- replies --------------------------------------------------------------------------------

    def greet(self, code: int, text: str) -> bytes:
        """The banner; 220 opens the session, anything else ends it."""
        self._is_greeted = code == 220
        self.is_closed = not self._is_greeted
        return replies.format_reply(code, text)

    def answer(self, code: int, text: str) -> bytes:
        """Answer the open decision; the octets to write. The state moves as `code` says."""
        event = self._pending
        if event is None:
            raise LocalProtocolError("answered without a question")
        self._pending = None
        if code == 421:
            self.is_closed = True
        elif isinstance(event, Answer):
            self.is_closed = event.code in _LAST_WORDS
            self._exchange = self._exchange if code == 334 else None
            if event.command == END_OF_DATA:
                self._reset()
        elif isinstance(event, EndOfData):
            # RFC 5321 s4.1.1.4: the transaction is over, however it ended.
            self._reset()
        elif code < 400:
            self._accepted(event, code)
        return replies.format_reply(code, text)

    def end(self, code: int, text: str) -> bytes:
        """A reply that nobody asked for, usually 421; the session is over."""
        self.is_closed = True
        self._pending = None
        return replies.format_reply(code, text)

    def tls_started(self) -> None:
        """The transport speaks TLS now; what follows was sent under it (RFC 3207 s4.2)."""
        self._starts_tls = False
        self.is_tls = True

    def _accepted(self, event: Event, code: int) -> None:
        self._errors = 0
        if isinstance(event, Rcpt):
            self._recipients.append(event.address)
        elif isinstance(event, Mail):
            self._sender = event.address
        elif isinstance(event, StartData):
            self._reader = BodyReader(self.rules.max_message_size) if code == 354 else None
        elif isinstance(event, Hello | Xclient):
            # RFC 5321 s4.1.4: as if RSET had been sent.
            self._reset()
        elif isinstance(event, StartTls):
            # What came behind STARTTLS in clear is never obeyed (CVE-2011-0411).
            self._reset()
            self._buffer, self._offset = b"", 0
            self._starts_tls = True
        elif isinstance(event, Credentials):
            self.is_authenticated = True

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []

    def _error(self, code: int, text: str, command: str | None) -> Answer:
        self._errors += 1
        if self._errors > MAX_ERRORS:
            return self._too_many_errors()
        return Answer(code, text, command)

    def _too_many_errors(self) -> Answer:
        return Answer(421, replies.TOO_MANY_ERRORS.format(self.rules.hostname), None)

    # -- commands ---------------------------------------------------------------------------------

    def _hello(self, line: bytes, argument: bytes) -> Event:
        return Hello(line, grammar.parse_hello(argument), line[:4].upper() == b"EHLO")

    def _mail(self, line: bytes, argument: bytes) -> Event:
        if self._sender is not None:
            return self._error(*replies.MAIL_TWICE, _printable(line))
        path, parameters = grammar.parse_path(argument, b"FROM:")
        try:
            address = parse_address(path)
        except ValueError:
            return self._error(*replies.BAD_SENDER, _printable(line))
        if parameters:
            size = parameters.get("SIZE")
            if size is not None:
                if not size.isascii() or not size.isdigit() or len(size) > 20:
                    raise Malformed("SIZE takes a number of octets")
                if int(size) > self.rules.max_message_size:
                    return Answer(*replies.TOO_BIG, _printable(line))
        return Mail(line, address, parameters)

    def _rcpt(self, line: bytes, argument: bytes) -> Event:
        if self._sender is None:
            return self._error(*replies.NEED_MAIL, _printable(line))
        path, parameters = grammar.parse_path(argument, b"TO:")
        try:
            address = parse_address(path)
        except ValueError:
            return self._error(*replies.BAD_RECIPIENT, _printable(line))
        if address.is_null:
            return self._error(*replies.BAD_RECIPIENT, _printable(line))
        rules = self.rules
        if len(self._recipients) >= rules.max_recipients:
            return Answer(*replies.TOO_MANY_RECIPIENTS, _printable(line))
        if self._recipients_seen >= rules.max_recipients_on_connection:
            text = replies.TOO_MANY_ON_CONNECTION.format(rules.hostname)
            return Answer(452 if self._recipients else 421, text, _printable(line))
        self._recipients_seen += 1
        return Rcpt(line, address, parameters)

    def _data(self, line: bytes, argument: bytes) -> Event:
        if argument.strip(b" "):
            raise Malformed("DATA takes no argument")
        if not self._recipients:
            return self._error(*replies.NEED_RCPT, _printable(line))
        return StartData(line)

    def _rset(self, line: bytes, argument: bytes) -> Event:
        if argument.strip(b" "):
            raise Malformed("RSET takes no argument")
        self._reset()
        return Answer(*replies.OK_RSET, _printable(line))

    def _noop(self, line: bytes, _: bytes) -> Event:
        return Answer(*replies.OK_NOOP, _printable(line))

    def _quit(self, line: bytes, _: bytes) -> Event:
        return Answer(*replies.BYE, _printable(line))

    def _starttls(self, line: bytes, argument: bytes) -> Event:
        if argument.strip(b" "):
            raise Malformed("STARTTLS takes no argument")
        if self.is_tls:
            return self._error(*replies.TLS_ALREADY, _printable(line))
        if not self.rules.offers_tls:
            return self._error(*replies.UNIMPLEMENTED, _printable(line))
        return StartTls(line)

    def _xclient(self, line: bytes, argument: bytes) -> Event:
        if not self.rules.allows_xclient:
            return self._error(*replies.XCLIENT_DENIED, _printable(line))
        if self._sender is not None:
            return self._error(*replies.XCLIENT_IN_TRANSACTION, _printable(line))
        return Xclient(line, grammar.parse_xclient(argument))

    def _auth(self, _: bytes, argument: bytes) -> Event:
        name, _, initial = argument.strip(b" ").partition(b" ")
        mechanism = name.decode().upper()
        command = f"AUTH {mechanism}\r\n"
        if not self.is_tls:
            return self._error(524, replies.AUTH_NEEDS_TLS.format(mechanism), command)
        if self._sender is not None:
            return self._error(*replies.AUTH_IN_TRANSACTION, command)
        if self.is_authenticated:
            return self._error(*replies.AUTH_TWICE, command)
        if mechanism not in auth.MECHANISMS:
            return self._error(504, replies.AUTH_UNSUPPORTED.format(mechanism), command)
        self._exchange = auth.MECHANISMS[mechanism]()
        self._mechanism = mechanism
        return self._step(initial.strip(b" ") or None)

    def _step(self, response: bytes | None) -> Event:
        exchange = self._exchange
        if exchange is None:
            raise LocalProtocolError("no AUTH exchange is under way")
        step = exchange.receive(response)
        command = f"AUTH {self._mechanism}\r\n"
        if isinstance(step, auth.Challenge):
            return Answer(334, step.text, command)
        self._exchange = None
        if isinstance(step, auth.Failed):
            return self._error(step.code, step.text, command)
        return Credentials(self._mechanism, step.authz, step.authc, step.password)


def _printable(line: bytes) -> str:
    return line.decode("utf-8", "replace") + "\r\n"


_COMMANDS: Final[dict[bytes, Callable[[ServerSession, bytes, bytes], Event]]] = {
    b"EHLO": ServerSession._hello,
    b"HELO": ServerSession._hello,
    b"MAIL": ServerSession._mail,
    b"RCPT": ServerSession._rcpt,
    b"DATA": ServerSession._data,
    b"RSET": ServerSession._rset,
    b"NOOP": ServerSession._noop,
    b"QUIT": ServerSession._quit,
    b"STARTTLS": ServerSession._starttls,
    b"XCLIENT": ServerSession._xclient,
    b"AUTH": ServerSession._auth,
}
