"""The reply parser: any cut of the same bytes gives the same replies."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.core.response import EnhancedCode
from kumotwist.proto.smtp.client_replies import MAX_LINE, MAX_LINES, ReplyParser

CODES = st.integers(200, 599)
TEXTS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
REPLIES = st.lists(st.tuples(CODES, st.lists(TEXTS, min_size=1, max_size=5)), max_size=6)


def wire_form(replies):
    return b"".join(
        b"%d%s%s\r\n" % (code, b" " if number == len(lines) - 1 else b"-", line)
        for code, lines in replies
        for number, line in enumerate(lines)
    )


def shown(replies):
    return [(reply.code, reply.text) for reply in replies]


def cut(data, positions):
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(REPLIES, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_cut_gives_the_same_replies(replies, positions):
    """However the network cuts a server's words, we read the same replies (RFC 5321 s4.2)."""
    parser = ReplyParser()
    seen = [reply for piece in cut(wire_form(replies), positions) for reply in parser.feed(piece)]
    assert shown(seen) == [(code, b"\n".join(lines).decode("utf-8", "replace")) for code, lines in replies]
    assert not parser.is_midway


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_random_bytes_give_replies_or_a_protocol_error(data, positions):
    """Whatever a broken server sends, nothing but a protocol error comes of it."""
    parser = ReplyParser()
    try:
        for piece in cut(data, positions):
            for reply in parser.feed(piece):
                assert 200 <= reply.code < 600
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"150 ok\r\n",
        b"650 ok\r\n",
        b"25x ok\r\n",
        b"\r\n",
        b"250-a\r\n251 b\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data):
    """A line that is no SMTP reply ends the connection instead of passing for something."""
    with pytest.raises(RemoteProtocolError):
        ReplyParser().feed(data)


def test_a_code_alone_and_bare_line_feeds_are_read():
    """Old servers answer `250` without text or with LF only; both are understood."""
    assert shown(ReplyParser().feed(b"250\r\n354\n354 go\n")) == [(250, ""), (354, ""), (354, "go")]


def test_an_endless_line_is_refused():
    """A server cannot fill our memory with one line."""
    parser = ReplyParser()
    parser.feed(b"2" * (MAX_LINE - 10))
    with pytest.raises(RemoteProtocolError, match="too long"):
        parser.feed(b"2" * 20)


def test_an_endless_reply_is_refused():
    """A server cannot fill our memory with continuation lines."""
    parser = ReplyParser()
    with pytest.raises(RemoteProtocolError, match="lines"):
        parser.feed(b"250-x\r\n" * (MAX_LINES + 1))


def test_enhanced_code_and_lines_reach_the_response():
    """Log records show the enhanced status and all lines of a refusal."""
    (reply,) = ReplyParser().feed(b"550-5.1.1 no such\r\n550 5.1.1 user\r\n")
    response = reply.response("RCPT TO:<a@b.c>\r\n")
    assert response.enhanced == EnhancedCode(5, 1, 1)
    assert response.content.startswith("no such\n")
    assert response.command == "RCPT TO:<a@b.c>\r\n"
