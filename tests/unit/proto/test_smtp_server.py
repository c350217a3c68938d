"""The ESMTP server core: what it says to what, whatever the cuts."""

from __future__ import annotations

import base64

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smtp.events import (
    Answer,
    Credentials,
    EndOfData,
    Hello,
    Mail,
    Rcpt,
    StartData,
    StartTls,
    Xclient,
)
from kumotwist.proto.smtp.server import MAX_ERRORS, ServerRules, ServerSession

RULES = ServerRules(
    hostname="mx.test",
    max_message_size=1000,
    line_length=998,
    line_endings="Deny",
    max_recipients=3,
    max_recipients_on_connection=5,
    client_timeout=60.0,
)

REPLIES = {
    Hello: (250, "hi"),
    Mail: (250, "OK"),
    Rcpt: (250, "OK"),
    StartData: (354, "Send body; end with CRLF.CRLF"),
    EndOfData: (250, "OK ids=1"),
    StartTls: (220, "Ready to Start TLS"),
    Credentials: (235, "2.7.0 AUTH OK!"),
    Xclient: (220, "mx.test KumoMTA"),
}


class Talk:
    """A session whose shell says yes to everything, and what came of it."""

    def __init__(self, rules=RULES, replies=(), tls=False):
        self.session = ServerSession(rules)
        self.session.greet(220, "mx.test")
        self.replies = {**REPLIES, **dict(replies)}
        self.events = []
        self.output = b""
        if tls:
            self.session.tls_started()

    def send(self, data):
        self.session.receive_data(data)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            code, text = (event.code, event.text) if isinstance(event, Answer) else self.replies[type(event)]
            self.output += self.session.answer(code, text)
        return self

    def lines(self):
        return self.output.decode().splitlines()

    def codes(self):
        return [int(line[:3]) for line in self.lines()]

    def bodies(self):
        return [event.body for event in self.events if isinstance(event, EndOfData)]


def said(data, **options):
    return Talk(**options).send(data).lines()


MESSAGE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"


def test_a_whole_session_in_one_packet():
    """Pipelined commands are answered one after another, in order (RFC 2920)."""
    talk = Talk().send(b"EHLO client\r\n" + MESSAGE + MESSAGE + b"QUIT\r\nNOOP\r\n")
    assert talk.codes() == [250, 250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert talk.bodies() == [b"Subject: x\r\n\r\nhi\r\n"] * 2
    assert talk.session.is_closed


def test_nothing_is_given_out_before_the_last_was_answered():
    """Policy that waits cannot reorder replies."""
    session = ServerSession(RULES)
    session.receive_data(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n")
    assert session.next_event() is None, "no command is read before the banner"
    session.greet(220, "hi")
    assert isinstance(session.next_event(), Mail)
    assert session.next_event() is None
    assert session.next_timeout is None
    session.answer(250, "OK")
    assert isinstance(session.next_event(), Rcpt)
    session.answer(250, "OK")
    assert session.next_timeout == 60.0
    with pytest.raises(LocalProtocolError):
        session.answer(250, "OK")


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (b"RCPT TO:<c@d.example>", "503 5.5.0 MAIL FROM must be issued first"),
        (b"DATA", "503 5.5.0 RCPT TO must be issued first"),
        (b"MAIL FROM:<a@b.example>\r\nDATA", "503 5.5.0 RCPT TO must be issued first"),
        (
            b"MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>",
            "503 5.5.0 MAIL FROM already issued; you must RSET first",
        ),
        (b"MAIL FROM:<a b@c>", "501 5.1.7 Bad sender's mailbox address syntax"),
        (b"MAIL FROM:<local>", "501 5.1.7 Bad sender's mailbox address syntax"),
        (b"MAIL FROM:<>\r\nRCPT TO:<>", "501 5.1.3 Invalid recipient address syntax"),
        (b"MAIL FROM:<>\r\nRCPT TO:<x@y:25>", "501 5.1.3 Invalid recipient address syntax"),
        (b"MAIL <a@b>", "501 Syntax error in command or arguments: expected FROM:<path>"),
        (b"MAIL FROM:", "501 Syntax error in command or arguments: no path"),
        (b"MAIL FROM:<a@b>SIZE=1", "501 Syntax error in command or arguments: blank expected behind the path"),
        (b"MAIL FROM:<a@b> =x", "501 Syntax error in command or arguments: bad parameter"),
        (b"MAIL FROM:<a@b> SIZE=many", "501 Syntax error in command or arguments: SIZE takes a number of octets"),
        (b"MAIL FROM:<a@b> SIZE=1001", "552 5.3.4 message too big"),
        (b"MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME SMTPUTF8 X-Y", "250 OK"),
        (b"mail from: <a@b>", "250 OK"),
        (b"MAIL FROM:a@b", "250 OK"),
        (b'MAIL FROM:<"a>b"@c.example> SIZE=1', "250 OK"),
        ("MAIL FROM:<ü@bücher.example> SMTPUTF8".encode(), "250 OK"),
        (b"RSET", "250 Reset state"),
        (b"RSET x", "501 Syntax error in command or arguments: RSET takes no argument"),
        (b"NOOP anything", "250 the goggles do nothing"),
        (b"QUIT", "221 So long, and thanks for all the fish!"),
        (b"VRFY x", "502 5.5.1 Command unimplemented"),
        (b"EXPN x", "502 5.5.1 Command unimplemented"),
        (b"HELP", "502 5.5.1 Command unimplemented"),
        (b"LHLO x", "502 5.5.1 Command unimplemented"),
        (b"BDAT 3 LAST", "502 5.5.1 Command unimplemented"),
        (b"GET / HTTP/1.1", "502 5.5.1 Command unimplemented"),
        (b"", "502 5.5.1 Command unimplemented"),
        (b"EHLO", "501 Syntax error in command or arguments: expected a domain or an address literal"),
        (b"EHLO a b", "501 Syntax error in command or arguments: expected a domain or an address literal"),
        (b"EHLO (evil)", "501 Syntax error in command or arguments: expected a domain or an address literal"),
        (b"NOOP \xff", "501 5.5.2 Invalid UTF-8 in command"),
        (b"MAIL FROM:<\xff@b>", "501 5.5.2 Invalid UTF-8 in command"),
        (b"NOOP \0", "501 Syntax error in command or arguments: control characters are not allowed"),
        (b"NOOP a\rRSET", "501 Syntax error in command or arguments: control characters are not allowed"),
        (b"XCLIENT ADDR=1.2.3.4", "550 insufficient authorization"),
        (b"AUTH PLAIN AGEAYg==", "524 5.7.11 AUTH PLAIN requires an encrypted channel"),
        (b"AUTH CRAM-MD5", "524 5.7.11 AUTH CRAM-MD5 requires an encrypted channel"),
    ],
)
def test_replies(lines, reply):
    """Each situation has KumoMTA's reply."""
    assert said(lines + b"\r\n")[-1] == reply


def test_bare_line_feed_ends_a_command_but_is_not_obeyed():
    """A command that ends in a bare LF is refused at once, and the next one stands."""
    lines = said(b"MAIL FROM:<a@b.example>\nNOOP\r\n")
    assert lines == ["501 Syntax error in command or arguments: lines end with CRLF", "250 the goggles do nothing"]


@pytest.mark.parametrize("length", [2049, 12000, 20000, 200_000])
def test_over_long_command_is_refused_once(length):
    """A line over the limit is one refusal, and what follows is read as usual."""
    for size in (length, 999):
        talk = Talk()
        wire = b"NOOP " + b"x" * (length - 7) + b"\r\nNOOP\r\n"
        for start in range(0, len(wire), size):
            talk.send(wire[start : start + size])
        assert talk.lines() == ["500 5.2.3 line too long", "250 the goggles do nothing"]


def test_longest_command_is_taken():
    """2048 octets with CRLF are still a command."""
    assert said(b"NOOP " + b"x" * 2041 + b"\r\n") == ["250 the goggles do nothing"]


def test_endless_line_ends_the_session():
    """A client that never ends its line is shown the door."""
    talk = Talk()
    for _ in range(200):
        talk.send(b"x" * 10_000)
    assert talk.lines() == ["421 4.7.0 mx.test too many errors"]
    assert talk.session.is_closed


def test_endless_nonsense_ends_the_session():
    """So is one that only talks nonsense."""
    talk = Talk().send(b"FOO\r\n" * (MAX_ERRORS + 5))
    assert talk.codes() == [502] * MAX_ERRORS + [421]


def test_recipients_in_one_message():
    """Past max_recipients_per_message: 452 4.5.3, the others stand."""
    talk = Talk().send(b"MAIL FROM:<>\r\n" + b"RCPT TO:<c@d.example>\r\n" * 4 + b"DATA\r\nx\r\n.\r\n")
    assert talk.lines()[4] == "452 4.5.3 too many recipients"
    assert len(talk.events[-1].recipients) == 3


def test_recipients_on_one_connection():
    """Past max_messages_per_connection: 452 within a transaction, 421 and the end at its start."""
    talk = Talk().send((b"MAIL FROM:<>\r\n" + b"RCPT TO:<c@d.example>\r\n" * 3 + b"DATA\r\nx\r\n.\r\n") * 2)
    talk.send(b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nNOOP\r\n")
    assert talk.codes() == [250, 250, 250, 250, 354, 250, 250, 250, 250, 452, 354, 250, 250, 421]
    assert talk.lines()[-1] == "421 4.5.3 mx.test too many recipients on this connection"
    assert talk.session.is_closed


def test_rejected_recipient_counts_on_the_connection_but_not_in_the_message():
    """As in KumoMTA: a RCPT that policy refused still counts towards max_messages_per_connection."""
    talk = Talk(replies={Rcpt: (550, "no")}).send(b"MAIL FROM:<>\r\n" + b"RCPT TO:<c@d.example>\r\n" * 6)
    assert talk.codes() == [250, 550, 550, 550, 550, 550, 421]


def test_message_over_the_limit():
    """Too big: read to its end, then 552."""
    body = b"x" * 998 + b"\r\n" + b"y\r\n"
    talk = Talk().send(MESSAGE[:-20] + body + b".\r\nNOOP\r\n")
    assert talk.lines()[-2:] == ["552 5.3.4 message too big", "250 the goggles do nothing"]


def test_end_of_data_ends_the_transaction_however_it_ends():
    """RFC 5321 s4.1.1.4: after the end of data the buffers are clear, also after a refusal."""
    talk = Talk().send(b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\na\nb\r\n.\r\nMAIL FROM:<>\r\n")
    assert talk.lines()[-2:] == ["552 5.6.0 message data must use CRLF for line endings", "250 OK"]


def test_the_code_that_was_sent_counts():
    """When policy turns a yes into a no, the state follows what the client was told."""
    talk = Talk(replies={Mail: (550, "no")}).send(b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n")
    assert talk.codes() == [550, 503]
    talk = Talk(replies={StartData: (451, "later")}).send(MESSAGE)
    assert talk.codes()[2] == 451
    assert not talk.bodies()


def test_421_ends_the_session_whoever_says_it():
    """After a 421 nothing more is read."""
    talk = Talk(replies={Mail: (421, "4.3.0 go away")}).send(MESSAGE)
    assert talk.lines() == ["421 4.3.0 go away"]
    assert talk.session.is_closed


@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@example.com>\r\n", b"NO", b"DATA\r\n.\r\n"])
def test_commands_behind_starttls_are_dropped(behind):
    """What was sent in clear behind STARTTLS is never obeyed, and the state is reset (CVE-2011-0411)."""
    talk = Talk().send(b"MAIL FROM:<a@b.example>\r\nSTARTTLS\r\n" + behind)
    assert talk.lines() == ["250 OK", "220 Ready to Start TLS"]
    talk.send(b"NOOP\r\n")
    assert len(talk.lines()) == 2, "octets between 220 and the handshake are no commands"
    talk.session.tls_started()
    talk.send(b"MAIL FROM:<good@b.example>\r\n")
    assert talk.lines()[-1] == "250 OK"
    assert talk.session.sender.email == "good@b.example"
    assert talk.send(b"STARTTLS\r\n").lines()[-1] == "501 Cannot STARTTLS as TLS is already active"


def test_offered_extensions():
    """EHLO offers STARTTLS in clear and AUTH under TLS only, XCLIENT where it is allowed."""
    session = ServerSession(evolve(RULES, allows_xclient=True))
    clear = ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 1000"]
    xclient = "XCLIENT ADDR PORT DESTADDR DESTPORT"
    assert session.extensions() == [*clear, "STARTTLS", xclient]
    session.tls_started()
    assert session.extensions() == [*clear, "AUTH PLAIN LOGIN", xclient]


def b64(text):
    return base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("wire", "codes"),
    [
        (b"AUTH PLAIN " + b64("\0user\0pw") + b"\r\n", [235]),
        (b"auth plain\r\n" + b64("\0user\0pw") + b"\r\n", [334, 235]),
        (b"AUTH LOGIN\r\n" + b64("user") + b"\r\n" + b64("pw") + b"\r\n", [334, 334, 235]),
        (b"AUTH LOGIN " + b64("user") + b"\r\n" + b64("pw") + b"\r\n", [334, 235]),
    ],
)
def test_auth(wire, codes):
    """PLAIN and LOGIN, with and without an initial response."""
    talk = Talk(tls=True).send(wire + b"NOOP\r\n")
    assert talk.codes() == [*codes, 250]
    given_ = talk.events[-2]
    assert (given_.authz, given_.authc, given_.password) == ("user", "user", "pw")
    assert talk.send(b"AUTH PLAIN\r\n").lines()[-1] == "503 5.5.1 AUTH me once, can't get authed again!"


def test_auth_for_another():
    """An authorisation identity of its own is kept apart."""
    event = Talk(tls=True).send(b"AUTH PLAIN " + b64("boss\0user\0pw") + b"\r\n").events[-1]
    assert (event.authz, event.authc) == ("boss", "user")


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"AUTH PLAIN\r\n*\r\n", "501 5.5.0 AUTH cancelled by client"),
        (b"AUTH PLAIN !!\r\n", "501 5.5.2 AUTH response is not valid base64"),
        (b"AUTH PLAIN " + b64("nonuls") + b"\r\n", "501 5.5.2 AUTH response is not valid base64"),
        (b"AUTH PLAIN " + base64.b64encode(b"\0\xff\0x") + b"\r\n", "501 5.5.2 AUTH response is not valid base64"),
        (b"AUTH LOGIN =\r\n", "501 5.5.2 AUTH response is not valid base64"),
        (b"AUTH LOGIN\r\n" + b64("user") + b"\n", "501 5.5.2 AUTH response is not valid base64"),
        (b"AUTH GSSAPI\r\n", "504 5.5.4 AUTH GSSAPI not supported"),
        (b"MAIL FROM:<>\r\nAUTH PLAIN\r\n", "503 5.5.1 AUTH not permitted inside a transaction"),
        (b"AUTH PLAIN " + b"A" * 12300 + b"\r\n", "500 5.2.3 line too long"),
    ],
)
def test_auth_refusals(wire, reply):
    """What is wrong with an AUTH is said, and the session goes on."""
    assert said(wire + b"NOOP\r\n", tls=True)[-2:] == [reply, "250 the goggles do nothing"]


def test_no_secret_in_what_can_be_logged():
    """The password and the line that carried it show neither in commands nor in reprs."""
    secret = b64("\0user\0hunter2")
    events = Talk(tls=True).send(b"AUTH PLAIN " + secret + b"\r\nAUTH PLAIN " + secret + b"\r\n").events
    assert len(events) == 2
    for event in events:
        assert event.command == "AUTH PLAIN\r\n"
        assert "hunter2" not in repr(event)
        assert secret.decode() not in repr(event)
    clear = Talk().send(b"AUTH PLAIN " + secret + b"\r\n").events[0]
    assert secret.decode() not in repr(clear)


def test_xclient():
    """XCLIENT from a trusted peer states its origin."""
    rules = evolve(RULES, allows_xclient=True)
    talk = Talk(rules=rules)
    talk.send(b"XCLIENT ADDR=10.0.0.1 PORT=25 DESTADDR=IPV6:::1 DESTPORT=[UNAVAILABLE]\r\n")
    assert talk.events[-1].attributes == {"ADDR": "10.0.0.1", "PORT": "25", "DESTADDR": "::1"}
    for bad in (b"XCLIENT", b"XCLIENT NAME=x", b"XCLIENT ADDR=x", b"XCLIENT PORT=70000", b"XCLIENT ADDR"):
        assert talk.send(bad + b"\r\n").codes()[-1] == 501
    assert talk.send(b"MAIL FROM:<>\r\nXCLIENT ADDR=10.0.0.1\r\n").codes()[-1] == 503


def summary(events):
    return [
        (type(event).__name__, event.command, getattr(event, "code", None), getattr(event, "body", None))
        for event in events
    ]


WORDS = st.sampled_from(
    [
        b"EHLO c\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"DATA\r\n",
        b"text\r\n",
        b".\r\n",
        b"RSET\r\n",
        b"AUTH PLAIN\r\n",
        b"AGEAYg==\r\n",
        b"\n",
        b"\r",
        b"..\r\n",
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n..x\r\n..\r\n.\r\n",
        b"x" * 2100 + b"\r\n",
        b"y" * 13000,
        b"\0\xff\r\n",
    ]
)


@settings(max_examples=examples(200))
@given(st.lists(WORDS | st.binary(max_size=6), max_size=25), st.lists(st.integers(1, 3000), max_size=25), st.booleans())
def test_any_split_gives_the_same_session(words, cuts, tls):
    """How the network cuts the stream changes neither decisions nor replies."""
    wire = b"".join(words)
    whole = Talk(tls=tls).send(wire)
    pieces = Talk(tls=tls)
    start = 0
    for size in cuts:
        pieces.send(wire[start : start + size])
        start += size
    pieces.send(wire[start:])
    assert pieces.output == whole.output
    assert summary(pieces.events) == summary(whole.events)


def test_any_cut_of_a_session():
    """Octet by octet, the session is the same, doubled dots included."""
    wire = b"EHLO client\r\n" + MESSAGE.replace(b"hi", b"hi\r\n..dots\r\n...") + b"QUIT\r\n"
    whole = Talk().send(wire)
    pieces = Talk()
    for position in range(len(wire)):
        pieces.send(wire[position : position + 1])
    assert pieces.output == whole.output
    assert pieces.bodies() == [b"Subject: x\r\n\r\nhi\r\n.dots\r\n..\r\n"]
    for cut in range(len(wire)):
        assert Talk().send(wire[:cut]).send(wire[cut:]).bodies() == pieces.bodies()


@given(st.integers(200, 599), st.text(max_size=2000))
def test_replies_are_well_formed_whatever_the_text(code, text):
    """No text of policy's can forge a second reply or break the line limit (RFC 5321 s4.5.3.1.5)."""
    talk = Talk(replies={Mail: (code, text)})
    output = talk.send(b"MAIL FROM:<>\r\n").output
    assert output.endswith(b"\r\n")
    lines = output[:-2].split(b"\r\n")
    for number, line in enumerate(lines, 1):
        assert line[:4] == b"%d%b" % (code, b" " if number == len(lines) else b"-")
        assert len(line) <= 510
        assert not set(line) & {*b"\r\n\0"}
