"""Whole messages given as text are made fit to be sent, and changed no more than that takes."""

import email
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.mime.rebuild import rebuild


def test_a_fit_message_keeps_its_octets():
    """Only line ends and the missing Mime-Version change, so a signature by the injector stays valid."""
    assert rebuild(b"Subject: hello\nX-A:  b\n c\n\nHello\nthere") == (
        b"Subject: hello\r\nX-A:  b\r\n c\r\nMime-Version: 1.0\r\n\r\nHello\r\nthere\r\n"
    )
    done = b"Subject: x\r\nMIME-Version: 1.0\r\n\r\nbody\r\n"
    assert rebuild(done) == done


@pytest.mark.parametrize("text", ["Hello there", "A: b\nno colon here\n\nbody", " starts: folded\n\nx"])
def test_text_without_header_is_refused(text):
    """A message has to begin with its header fields; the error shows the line."""
    with pytest.raises(ValueError, match="is not a header line"):
        rebuild(text.encode())


def test_a_message_may_have_no_body_or_no_header():
    """The blank line is what divides them; either side may be empty."""
    assert rebuild(b"Subject: x\nMime-Version: 1.0") == b"Subject: x\r\nMime-Version: 1.0\r\n\r\n\r\n"
    assert rebuild(b"\nbody") == b"Mime-Version: 1.0\r\n\r\nbody\r\n"


def test_unicode_is_encoded():
    """Emoji in subject, name and body arrive at a server that knows ASCII only."""
    raw = rebuild(
        'From: Me <me@example.com>\nSubject: A test 🛳️\nTo: "Jörg" <u@bücher.de>\n\nsome 👻🍉 emoji!\n'.encode()
    )
    assert raw.isascii()
    message = email.message_from_bytes(raw, policy=policy.default)
    assert message["Subject"] == "A test 🛳️"
    assert message["To"].addresses[0].display_name == "Jörg"
    assert message["To"].addresses[0].domain == "xn--bcher-kva.de"
    assert message.get_content() == "some 👻🍉 emoji!\r\n"


def test_only_the_parts_that_need_it_are_encoded():
    """In a multipart a fit part, the preamble and the boundaries stay as they are."""
    raw = rebuild(
        (
            "Content-Type: multipart/mixed; boundary=abc\n\npreamble\n--abc\nContent-Type: text/plain; charset=latin1;"
            " format=flowed\n\n"
            "hé\n--abc\nX-Kept:   yes\n\nplain\n--abc\nContent-Type: image/x\n\né\n--abc--\nepilogue\n"
        ).encode()
    )
    assert raw.isascii()
    assert b"preamble\r\n--abc\r\n" in raw
    assert b"X-Kept:   yes\r\n\r\nplain\r\n--abc" in raw
    assert raw.endswith(b"--abc--\r\nepilogue\r\n")
    message = email.message_from_bytes(raw)
    first, second, third = message.get_payload()
    assert first.get_payload(decode=True).decode().rstrip() == "hé"
    assert first.get_content_charset() == "utf-8"
    assert first.get_param("format") == "flowed"
    assert second.get_payload() == "plain"
    assert third.get_payload(decode=True).decode() == "é"


def test_long_lines_are_encoded():
    """RFC 5322 s2.1.1: no line over 998 octets leaves the house."""
    raw = rebuild(b"Subject: x\n\n" + b"y" * 5000 + b"\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert email.message_from_bytes(raw).get_payload(decode=True) == b"y" * 5000 + b"\r\n"


def test_nesting_is_bounded():
    """A message of multiparts within multiparts without end is refused."""
    text = "é"
    for number in range(40):
        text = f"Content-Type: multipart/mixed; boundary=b{number}\n\n--b{number}\n{text}\n--b{number}--\n"
    with pytest.raises(ValueError, match="multiparts within each other"):
        rebuild(text.encode())


@given(st.binary(max_size=600) | st.text(max_size=300).map(lambda text: b"A: b\n\n" + text.encode("utf-8", "replace")))
def test_anything_is_either_refused_or_sendable(data):
    """Whatever text comes, the result has CRLF line ends only and no line that SMTP forbids."""
    try:
        raw = rebuild(data)
    except ValueError:
        return
    rest = raw.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    assert raw.endswith(b"\r\n")
