"""What strays from the RFCs is found in KumoMTA's words, and a repaired message conforms and says the same."""

from __future__ import annotations

import re
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumotwist.proto.mime import tree
from kumotwist.proto.mime.conformance import (
    MISSING_FIELDS,
    Issue,
    find_issues,
    has_canonical_line_ends,
    has_long_line,
    in_words,
    parse_issues,
)
from kumotwist.proto.mime.guess import Guess
from kumotwist.proto.mime.repair import put_field, repair
from kumotwist.proto.mime.tree import TooComplex

ALL = frozenset(Issue)
GOOD = (
    b"Date: Tue, 1 Jul 2003 10:52:37 +0200\r\nMessage-ID: <1@example.org>\r\nMime-Version: 1.0\r\n"
    b"Subject: hello\r\nFrom: a@example.org\r\n"
)
BODY = b"\r\nhello\r\n"


def issues(message: bytes) -> str:
    return in_words(find_issues(message, ALL))


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (GOOD + BODY, ""),
        (GOOD + b"Lonely\r\n" + BODY, "MISSING_COLON_VALUE"),
        (GOOD + b"X-Space : y\r\n" + BODY, "NAME_ENDS_WITH_SPACE"),
        (GOOD + b"\r\nhello\n", "NON_CANONICAL_LINE_ENDINGS"),
        (GOOD + b"\r\nhel\rlo\r\n", "NON_CANONICAL_LINE_ENDINGS"),
        (GOOD + b"\r\n" + b"x" * 76 + b"\r\n", ""),
        (GOOD + b"\r\n" + b"x" * 77 + b"\r\n", "LINE_TOO_LONG"),
        (GOOD + "\r\nGrüße\r\n".encode(), "NEEDS_TRANSFER_ENCODING"),
        (GOOD + "X-Name: Grüße\r\n".encode() + BODY, "NEEDS_TRANSFER_ENCODING"),
        (b"Subject: x\r\n" + BODY, "MISSING_DATE_HEADER|MISSING_MESSAGE_ID_HEADER|MISSING_MIME_VERSION"),
        (GOOD.replace(b"1 Jul 2003", b"yesterday") + BODY, "MISSING_DATE_HEADER"),
        (GOOD.replace(b"1 Jul 2003 10:52", b"33 Jul 2003 10:52") + BODY, "MISSING_DATE_HEADER"),
        (GOOD.replace(b"+0200", b"+0200 (CEST)") + BODY, ""),
        (GOOD.replace(b"<1@example.org>", b"1@example.org") + BODY, "MISSING_MESSAGE_ID_HEADER"),
        (GOOD.replace(b": 1.0", b": 1.1") + BODY, "MISSING_MIME_VERSION"),
        (GOOD + b"Content-Type: text\r\n" + BODY, "INVALID_MIME_HEADERS"),
        (GOOD + b"Content-Type: text/plain; charset=us-ascii; format=flowed;\r\n" + BODY, ""),
        (GOOD + b"Content-Transfer-Encoding: 9bit\r\n" + BODY, "INVALID_MIME_HEADERS"),
        (GOOD + b"Content-Disposition: attachment; filename=@\r\n" + BODY, "INVALID_MIME_HEADERS"),
        # The text is not what its charset says: found behind its encoding, too.
        (GOOD + b"Content-Transfer-Encoding: base64\r\n\r\nw7w=\r\n", "NEEDS_TRANSFER_ENCODING"),
        (GOOD + b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n', ""),
        (GOOD + b"Content-Type: text/plain; charset=klingon\r\n" + BODY, "NEEDS_TRANSFER_ENCODING"),
        (
            GOOD + b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n*$%\r\n",
            "NEEDS_TRANSFER_ENCODING",
        ),
    ],
)
def test_issues_are_found(message: bytes, found: str) -> None:
    """Each of KumoMTA's flags stands for what its documentation and source say."""
    assert issues(message) == found


@given(st.lists(st.integers(0, 160), max_size=12), st.sampled_from([b"", b"x" * 200]))
def test_long_lines_are_found_by_their_ends(lengths: list[int], rest: bytes) -> None:
    """As KumoMTA counts: from line end to line end, the first line from its first octet, the last only if it ends."""
    data = b"".join(b"x" * length + b"\n" for length in lengths) + rest
    ends = [0, *(index for index, octet in enumerate(data) if octet == 10)]
    assert has_long_line(data) == any(end - start > 78 for start, end in pairwise(ends))


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"]), max_size=12))
def test_line_ends_are_canonical_or_not(pieces: list[bytes]) -> None:
    """Each CR before an LF, each LF behind a CR."""
    data = b"".join(pieces)
    assert has_canonical_line_ends(data) == (not re.search(rb"\r(?!\n)|(?<!\r)\n", data))


def test_flags_are_read_and_told_as_kumomta_does() -> None:
    """Empty ones pass; an unknown one is told with all that there are."""
    assert parse_issues("") == frozenset()
    assert in_words(parse_issues("NEEDS_TRANSFER_ENCODING|LINE_TOO_LONG|")) == "LINE_TOO_LONG|NEEDS_TRANSFER_ENCODING"
    with pytest.raises(ValueError, match="invalid MessageConformance flag 'spoon', possible values are 'INVALID_"):
        parse_issues("LINE_TOO_LONG|spoon")


def test_what_conforms_keeps_its_octets() -> None:
    """Fields and parts that are fit are not touched beside one that is not."""
    image = b"Content-Type: image/png;\r\n name=x.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    message = (
        GOOD
        + b"Content-Type: multipart/mixed; boundary=cut\r\n\r\npreamble\r\n--cut\r\n\r\n"
        + "Grüße\r\n--cut\r\n".encode()
        + image
        + b"--cut--\r\nepilogue\r\n"
    )
    repaired = repair(message)
    assert repaired.startswith(GOOD)
    assert b"--cut\r\n" + image + b"--cut--\r\n" in repaired
    assert message_from_bytes(repaired, policy=policy.default).get_payload(0).get_content() == "Grüße"
    assert b"preamble" not in repaired
    assert issues(repaired) == ""


def test_fields_are_put_right() -> None:
    """Names lose their blank, lines that are no field go, addresses and file names keep their meaning."""
    message = (
        b"Subject : "
        + b"word " * 40
        + "\r\nnonsense\r\nFrom: =?utf-8?q?M=C3=BCller=2C?= Jörg <joerg@example.org>\r\n".encode()
        + "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=Käse.pdf\r\n".encode()
        + b"\r\n%PDF\n"
    )
    repaired = message_from_bytes(repair(message), policy=policy.default)
    assert repaired["Subject"] == ("word " * 40).strip()
    assert repaired["From"].addresses[0].display_name == "Müller, Jörg"
    assert repaired.get_filename() == "Käse.pdf"
    assert repaired.get_content() == b"%PDF\n"
    assert issues(repair(message)) == in_words(MISSING_FIELDS)


def test_text_that_came_in_base64_keeps_its_line_ends() -> None:
    """An invitation whose charset is wrong stays what it is, octet for octet."""
    calendar = "BEGIN:VCALENDAR\nSUMMARY:تست\nEND:VCALENDAR\n"
    message = EmailMessage()
    message.set_content(calendar.encode(), "text", "calendar", cte="base64")
    assert "NEEDS_TRANSFER_ENCODING" in issues(message.as_bytes(policy=policy.SMTP))
    repaired = message_from_bytes(repair(message.as_bytes(policy=policy.SMTP)), policy=policy.default)
    assert repaired.get_payload(decode=True) == calendar.encode()
    assert repaired.get_content_charset() == "utf-8"


def test_an_encoded_delimiter_does_not_become_one() -> None:
    """Text that looks like a delimiter once it is decoded cannot add parts."""
    message = (
        b"Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n"
        + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=2D-cut\r\nContent-Type: text/html\r\n\r\n"
        + "<b>Grüße</b>\r\n--cut--\r\n".encode()
    )
    repaired = message_from_bytes(repair(message), policy=policy.default)
    assert [part.get_content_type() for part in repaired.walk()] == ["multipart/mixed", "text/plain"]


def test_charsets_are_guessed_on_demand() -> None:
    """KumoMTA's own example: a subject in Latin-1 that nothing names."""
    message = b"Subject: \xa9\r\n\r\nGBP"
    guessed = repair(message, Guess(["iso-8859-1"]))
    assert message_from_bytes(guessed, policy=policy.default)["Subject"] == "©"
    japanese = "日本語のメールです。よろしくお願いします。\r\n"
    guessed = message_from_bytes(repair(b"\r\n" + japanese.encode("shift_jis"), Guess()), policy=policy.default)
    assert guessed.get_content() == japanese
    # Without it the octets stay as they are.
    kept = message_from_bytes(repair(b"\r\n" + japanese.encode("shift_jis")), policy=policy.default)
    assert kept.get_payload(decode=True) == japanese.encode("shift_jis")


def test_messages_within_messages() -> None:
    """A forwarded message is repaired in its place: RFC 2046 forbids to encode it as a whole."""
    inner = "Subject: Grüße\r\n\r\nHallo Jörg\r\n".encode()
    message = GOOD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + inner
    for _ in range(6):
        message = b"Content-Type: message/rfc822\r\n\r\n" + message
    outer = repair(message)
    assert outer.isascii()
    shallow = repair(GOOD + b"Content-Type: message/rfc822\r\n\r\n" + inner)
    nested = message_from_bytes(shallow, policy=policy.default).get_payload(0)
    assert (nested["Subject"], nested.get_content().strip()) == ("Grüße", "Hallo Jörg")


texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=300)


@settings(deadline=None)
@given(texts, texts, st.binary(max_size=500), st.sampled_from(["utf-8", "8bit", "latin"]), st.booleans())
def test_a_repaired_message_says_the_same(subject: str, text: str, octets: bytes, way: str, is_html: bool) -> None:
    """Subject, text and attachment come out as they went in, for any text, octets and charset."""
    charset = "iso-8859-15" if way == "latin" else "utf-8"
    text = text.encode(charset, "replace").decode(charset)
    subject = " ".join(subject.split())
    kind = "text/html" if is_html else "text/plain"
    raw = (
        f"Subject: {subject}\r\n".encode()
        + b"Content-Type: multipart/mixed; boundary=oOo\r\n\r\n--oOo\r\n"
        + f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
        + text.encode(charset)
        + b"\r\n--oOo\r\nContent-Type: application/x-any\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + octets
        + b"\r\n--oOo--\r\n"
    )
    repaired = repair(raw)
    first, second = message_from_bytes(repaired, policy=policy.default).get_payload()
    assert first.get_payload(decode=True).decode(first.get_content_charset()) == text
    assert second.get_payload(decode=True) == octets
    assert repair(repaired) == repaired
    assert in_words(find_issues(repaired, ALL - MISSING_FIELDS - {Issue.LINE_TOO_LONG})) == ""


#: What makes trouble, between any octets.
lines = st.one_of(
    st.binary(max_size=100),
    st.sampled_from(
        [
            b"Subject: x",
            b"Content-Type: multipart/mixed; boundary=a",
            b"Content-Type: text/plain; charset=",
            b"Content-Transfer-Encoding: base64",
            b"Content-Transfer-Encoding : quoted-printable",
            b"Content-Disposition: ;;;=",
            b" folded",
            b"--a",
            b"--a--",
            b"",
            b"x" * 1100,
        ]
    ),
)


@settings(deadline=None)
@given(st.lists(lines, max_size=30), st.sampled_from([b"\r\n", b"\n", b"\r"]))
def test_any_octets_can_be_repaired(given_lines: list[bytes], end: bytes) -> None:
    """Whatever comes, the outcome is ASCII with canonical line ends and structure, and needs no second repair."""
    repaired = repair(end.join(given_lines))
    # Octets that are no text of any known charset stay, in base64, a text that cannot be read.
    left = find_issues(repaired, ALL - MISSING_FIELDS - {Issue.LINE_TOO_LONG, Issue.NEEDS_TRANSFER_ENCODING})
    assert in_words(left) == ""
    assert repaired.isascii()
    assert repair(repaired) == repaired


def test_missing_fields_are_put_in() -> None:
    """A wrong one is replaced; text without any field stays text."""
    assert put_field(b"Date: no\r\nA: b\r\n\r\nx", "Date", "now") == b"A: b\r\nDate: now\r\n\r\nx"
    assert put_field(b"just text\r\n", "Date", "now") == b"Date: now\r\n\r\njust text\r\n"
    assert put_field(b"\r\ntext", "Date", "now") == b"Date: now\r\n\r\ntext"


def test_hostile_messages_are_bounded() -> None:
    """A hundred megabytes in one line, and structure without end: judged in seconds or refused."""
    began = time.process_time()
    long_line = b"Subject: x\r\n\r\n" + b"a" * 100_000_000
    assert Issue.LINE_TOO_LONG not in find_issues(long_line, ALL)  # as KumoMTA: it has no end
    assert find_issues(long_line + b"\r\n", ALL) >= {Issue.LINE_TOO_LONG}
    many = b"a:b\r\n" * (tree.MAX_HEAD_LINES + 1) + b"\r\nx\r\n"
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5_000))
    parts = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 100_000
    for message in (many, deep, parts):
        find_issues(message, ALL)
        with pytest.raises(TooComplex):
            repair(message)
    marks = b"Content-Type: text/plain" + b";" * 1_000_000 + b"\xff\r\n\r\nx"
    spaces = b"Content-Type: text/plain" + b" " * 1_000_000 + b"\xff\r\n\r\nx"
    comments = b"Date: " + b"(" * 1_000_000 + b"\r\n\r\nx"
    for message in (marks, spaces, comments):
        find_issues(message, ALL)
        repair(message)
    assert time.process_time() - began < 60
