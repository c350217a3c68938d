"""Where a message ends, and what becomes of odd line ends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.smtp.data import BodyReader, BodyRules, Refused, judge

#: The forms that some server somewhere took for an end of data.
NOT_AN_END = (
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
)


def rules(endings="Deny", max_size=10_000, line_length=998):
    return BodyRules(max_size, line_length, endings)


def read(chunks, max_size=10_000):
    """Feed chunks; the content and the octets behind the end, or None when there was no end."""
    reader = BodyReader(max_size)
    for position, chunk in enumerate(chunks):
        used = reader.receive(chunk)
        if used is not None:
            return reader.content(), chunk[used:] + b"".join(chunks[position + 1 :])
    return None


def octets(text):
    return [text[i : i + 1] for i in range(len(text))]


def relayed(body):
    """What a correct client makes of a body on the wire (RFC 5321 s4.5.2), without the final dot."""
    stuffed = body.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed[:1] == b"." else stuffed


#: A dot alone between any two things that some server takes for line ends, NULs ignored.
LAX_END = re.compile(rb"(?:\A|[\r\n])\.[\r\n]")


@pytest.mark.parametrize("form", NOT_AN_END)
def test_lookalikes_do_not_end_a_message(form):
    """None of the nine smuggling forms ends a message, whole or cut at every byte."""
    wire = b"hello" + form + b"MAIL FROM:<evil@example.com>\r\n"
    assert read([wire]) is None
    assert read(octets(wire)) is None
    for cut in range(1, len(wire)):
        assert read([wire[:cut], wire[cut:]]) is None


@pytest.mark.parametrize("form", NOT_AN_END)
def test_lookalikes_are_refused_by_default(form):
    """With invalid_line_endings = Deny such a message is not taken."""
    refused = judge(b"hello" + form + b"x\r\n", rules())
    assert isinstance(refused, Refused)
    assert refused.code == 552


@pytest.mark.parametrize("endings", ["Allow", "Fix"])
@pytest.mark.parametrize("form", [*NOT_AN_END, b"\n.\n.\n", b"\r\0\n\0.\0\n", b"\r\n..\r\r\n"])
def test_no_lookalike_leaves_us(form, endings):
    """What is let in never leaves in a form that another server takes for an end."""
    for prefix in (b"hello", b""):
        body = judge(prefix + form + b"x\r\n", rules(endings))
        assert isinstance(body, bytes)
        assert not LAX_END.search(relayed(body).replace(b"\0", b"")), body


@given(st.text(alphabet=".\r\n\0x", max_size=40), st.sampled_from(["Allow", "Fix", "Deny"]))
def test_no_input_leaves_us_with_a_lax_end(text, endings):
    """Whatever octets come in, no dot stands alone on what anybody may call a line."""
    body = judge(text.encode() + b"\r\n", rules(endings))
    if isinstance(body, bytes):
        assert not LAX_END.search(relayed(body).replace(b"\0", b""))
        if endings != "Allow":
            assert body.count(b"\r\n") == body.count(b"\r") == body.count(b"\n")


def test_the_end_is_found_at_every_cut():
    """CRLF.CRLF ends a message wherever the packets are cut."""
    wire = b"a\r\n..b\r\n.\r\nQUIT\r\n"
    for cut in range(len(wire) + 1):
        assert read([wire[:cut], wire[cut:]]) == (b"a\r\n..b\r\n", b"QUIT\r\n")
    assert read(octets(wire)) == (b"a\r\n..b\r\n", b"QUIT\r\n")


@pytest.mark.parametrize("wire", [b".\r\n", b"\r\n.\r\n", b"x" * 5000 + b"\r\n.\r\n", b"\r\r\n.\r\n"])
def test_short_and_long_messages(wire):
    """An empty message ends at once; the CRLF before the dot belongs to the message."""
    expected = (wire[:-3], b"")
    assert read([wire]) == expected
    assert read(octets(wire)) == expected


@given(
    st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a", b"b" * 3000, b"\r\n.", b"\0"]), max_size=30),
    st.lists(st.integers(1, 5000), max_size=30),
)
def test_any_split_reads_the_same(parts, cuts):
    """How the network cuts the stream changes nothing."""
    wire = b"".join(parts) + b"\r\n.\r\nNOOP\r\n"
    chunks, start = [], 0
    for size in cuts:
        chunks.append(wire[start : start + size])
        start += size
    chunks.append(wire[start:])
    whole = read([wire], 200_000)
    assert whole is not None
    assert read([chunk for chunk in chunks if chunk], 200_000) == whole
    assert (b"\r\n" + wire).index(b"\r\n.\r\n") == len(whole[0])


@given(st.lists(st.binary(max_size=30).filter(lambda line: not set(line) & set(b"\r\n\0")), max_size=10))
def test_stuffed_dots_come_back(lines):
    """A body that a client stuffed by RFC 5321 s4.5.2 arrives as it was."""
    body = b"".join(line + b"\r\n" for line in lines)
    content, rest = read([relayed(body) + b".\r\n"])
    assert rest == b""
    assert judge(content, rules()) == body


def test_fix_makes_every_line_end_crlf():
    """invalid_line_endings = Fix: bare CR and LF become CRLF."""
    assert judge(b"a\nb\rc\r\nd\r\r\n", rules("Fix")) == b"a\r\nb\r\nc\r\nd\r\n\r\n"


def test_allow_leaves_harmless_ones_alone():
    """invalid_line_endings = Allow: bare CR and LF stay where they can do no harm."""
    assert judge(b"a\nb\rc\r\n", rules("Allow")) == b"a\nb\rc\r\n"


def test_deny_says_why():
    """Bare CR or LF: 552 5.6.0, as KumoMTA says it."""
    assert judge(b"a\nb\r\n", rules()) == Refused(552, "5.6.0 message data must use CRLF for line endings")
    assert judge(b"a\0b\r\n", rules()) == Refused(552, "5.6.0 message data must not contain NUL")


@pytest.mark.parametrize(("length", "fits"), [(998, True), (999, False), (5000, False)])
@pytest.mark.parametrize("before", [b"", b"short\r\n", b"y" * 900 + b"\r\n", b"y" * 998 + b"\r\n"])
def test_line_length_is_exact(length, fits, before):
    """998 octets before the CRLF are fine, 999 are not (RFC 5322 s2.1.1)."""
    verdict = judge(before + b"x" * length + b"\r\nend\r\n", rules())
    assert isinstance(verdict, bytes) is fits
    if not fits:
        assert verdict == Refused(500, "5.2.3 line too long")


@given(st.lists(st.integers(0, 25), max_size=20))
def test_line_length_against_the_plain_way(lengths):
    """The leaping check says what a check line by line says."""
    body = b"".join(b"x" * length + b"\r\n" for length in lengths)
    expected = any(length > 12 for length in lengths)
    assert isinstance(judge(body, rules(line_length=12)), Refused) is expected


def test_size_counts_what_is_kept():
    """The limit is on the message, doubled dots not counted (RFC 1870 s3)."""
    content, _ = read([b"..\r\n" * 100 + b".\r\n"], max_size=300)
    assert judge(content, rules(max_size=300)) == b".\r\n" * 100
    assert judge(content, rules(max_size=299)) == Refused(552, "5.3.4 message too big")


def test_too_big_is_read_to_its_end_but_not_kept():
    """A message far over the limit costs no memory and its end is still found."""
    reader = BodyReader(1000)
    for _ in range(100):
        assert reader.receive(b"x" * 998 + b"\r\n") is None
    assert reader.is_too_big
    assert reader.receive(b".\r\nQUIT") == 3
    assert reader.content() == b""
