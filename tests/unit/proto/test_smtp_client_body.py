"""Dot stuffing: no message can end early at any server."""

import itertools
import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.smtp import client_body
from kumotwist.proto.smtp.events import EndOfData, StartData
from kumotwist.proto.smtp.server import ServerRules, ServerSession

RULES = ServerRules(
    hostname="mx.test",
    max_message_size=1000,
    line_length=998,
    line_endings="Deny",
    max_recipients=3,
    max_recipients_on_connection=5,
    client_timeout=60.0,
)

#: The forms that one server or another takes for the end of data.
FALSE_ENDS = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
]  # fmt: skip
ANY_END = re.compile(rb"(?:\A|[\r\n\0])\.[\r\n]")
NASTY = st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\0", b"a", b"\r\n.", b".."]), max_size=30).map(
    b"".join
)


def unstuff(data):
    """As a server that keeps to RFC 5321 s4.5.2 reads it."""
    assert data.endswith(b"\r\n.\r\n") or data == b".\r\n"
    lines = data[:-3].split(b"\r\n")
    assert b"." not in lines[:-1]
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@given(st.lists(st.sampled_from([b".", b"..", b"a", b".a", b"", b"a.", b"\xff"]), max_size=12))
def test_a_strict_server_gets_the_same_lines_back(lines):
    """What arrives is what was sent, dots and all (RFC 5321 s4.5.2)."""
    body = b"".join(line + b"\r\n" for line in lines)
    assert unstuff(b"".join(client_body.encode(body))) == body


@given(NASTY)
def test_no_server_finds_an_end_inside(body):
    """SMTP smuggling (CVE-2023-51764 and siblings): only our own end of data can be taken for one."""
    wire = b"".join(client_body.encode(body))
    assert wire.endswith(b".\r\n")
    assert not ANY_END.search(wire[:-3])


@pytest.mark.parametrize("end", FALSE_ENDS)
def test_each_known_false_end_is_broken_up(end):
    """None of the nine forms leaves us, wherever it stands in the message."""
    for before, after in itertools.product([b"", b"x", b"x\r\n"], repeat=2):
        wire = b"".join(client_body.encode(before + end + after))
        assert end not in wire[:-3].replace(b"..", b"\1\1")
        assert not ANY_END.search(wire[:-3])


def test_a_clean_body_is_not_copied():
    """The common message goes to the socket as it lies in memory."""
    body = b"Subject: x\r\n\r\nhello.\r\n"
    assert client_body.encode(body)[0] is body


@given(st.lists(NASTY, max_size=4), st.sampled_from(["Deny", "Fix", "Allow"]))
def test_what_intake_knows_to_have_no_dots_needs_no_stuffing(chunks, endings):
    """The search is spared only where it would find nothing, whatever was received and at whatever cuts."""
    session = ServerSession(evolve(RULES, line_endings=endings))
    session.greet(220, "mx.test")
    for chunk in (b"MAIL FROM:<>\r\n", b"RCPT TO:<u@h.example>\r\n", b"DATA\r\n", *chunks, b"\r\n.\r\n"):
        session.receive_data(chunk)
        event = session.next_event()
        if isinstance(event, EndOfData):
            assert event.has_dots or not client_body.needs_stuffing(event.body)
            assert client_body.encode(event.body, event.has_dots) == client_body.encode(event.body)
            break
        if event is not None:
            session.answer(354 if isinstance(event, StartData) else 250, "OK")


def test_most_messages_are_known_to_have_no_dots():
    """Otherwise nothing would be spared."""
    session = ServerSession(RULES)
    session.greet(220, "mx.test")
    bodies = []
    for chunk in (b"MAIL FROM:<>\r\n", b"RCPT TO:<u@h.example>\r\n", b"DATA\r\n", b"A: b\r\n\r\nx.\r\n.\r\n"):
        session.receive_data(chunk)
        event = session.next_event()
        session.answer(354 if isinstance(event, StartData) else 250, "OK")
        bodies.append(event)
    assert not bodies[-1].has_dots


@pytest.mark.parametrize(("body", "wire"), [(b"", b".\r\n"), (b"a", b"a\r\n.\r\n"), (b"a\n", b"a\n\r\n.\r\n")])
def test_the_last_line_gets_its_line_end(body, wire):
    """A body without a final CRLF still ends where it should."""
    assert b"".join(client_body.encode(body)) == wire
