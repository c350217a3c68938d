"""Reading and editing headers on bytes, held against the standard library."""

import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.mime import headers
from kumotwist.proto.mime.addresses import Mailbox, mailboxes

MESSAGE = (
    b"Received: from a\r\n\tby b;\r\n  date\r\n"
    b"X-Tenant: one\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus\r\n =?utf-8?q?K=C3=B6ln?=\r\n"
    b"x-tenant: two\r\n"
    b'From: "O\'Neil, Ann" <ann@example.com>\r\n'
    b"\r\n"
    b"X-Tenant: not a header\r\n"
)


def test_the_first_of_a_name_in_any_case() -> None:
    """Policies ask for `x-tenant`, clients write `X-Tenant`."""
    assert headers.first_value(MESSAGE, "x-TENANT") == "one"
    assert headers.all_values(MESSAGE, "X-Tenant") == ["one", "two"]
    assert headers.first_value(MESSAGE, "x-tenan") is None
    assert headers.first_value(MESSAGE, "received") == "from a\tby b;  date"


def test_encoded_words_are_decoded_and_bad_ones_left() -> None:
    """RFC 2047; a broken word is better shown than lost."""
    assert headers.first_value(MESSAGE, "subject") == "Grüße aus Köln"
    assert headers.decode(b"=?nonsense?q?x?= y") == "=?nonsense?q?x?= y"
    assert headers.decode(b" caf\xe9") == "café"
    assert headers.decode("Größe".encode()) == "Größe"


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (b"A: 1\r\n\r\nbody", 6),
        (b"A: 1\n\nbody\r\n\r\n", 5),
        (b"\r\nbody", 0),
        (b"\nA: 1\r\n\r\n", 0),
        (b"A: 1\r\n", 6),
        (b"", 0),
        (b"A: 1", 4),
        (b"A: 1\n\r\nbody\r\n\r\nmore", 5),
    ],
)
def test_where_the_block_ends(message: bytes, end: int) -> None:
    """Nothing of the body is ever taken for a header."""
    assert headers.block_end(message) == end


def test_removing_takes_the_folded_lines_along() -> None:
    """And leaves the body alone."""
    without = headers.remove(MESSAGE, lambda name: name in ("x-tenant", "received"))
    assert [name for name, _ in headers.all_headers(without)] == ["Subject", "From"]
    assert without.endswith(b"\r\n\r\nX-Tenant: not a header\r\n")
    assert headers.remove(MESSAGE, lambda name: name == "nope") is MESSAGE


def test_a_name_with_blanks_before_the_colon_is_found_and_removed() -> None:
    """RFC 5322 s4.5: some servers take it, so a policy that removes a header removes this too."""
    message = b"X-Tenant : sly\r\nX-Tenant: open\r\n\r\n"
    assert headers.first_value(message, "x-tenant") == "sly"
    assert headers.remove(message, lambda name: name == "x-tenant") == b"\r\n"


def test_prepend_and_append() -> None:
    """On top, or as the last header, also without a body."""
    assert headers.prepend(b"A: 1\r\n\r\nx", "B", "2") == b"B: 2\r\nA: 1\r\n\r\nx"
    assert headers.append(b"A: 1\r\n\r\nx", "B", "2") == b"A: 1\r\nB: 2\r\n\r\nx"
    assert headers.append(b"A: 1", "B", "2") == b"A: 1\r\nB: 2\r\n\r\n"
    assert headers.append(b"\r\nx", "B", "2") == b"B: 2\r\n\r\nx"
    assert b"=?utf-8?" in headers.prepend(b"", "B", "Größe", encode=True).lower()
    assert headers.prepend(b"", "B", "two\r\n lines") == b"B: two\r\n lines\r\n"


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y", "a\n", "a\rb", "a\0b", "a\r\n", "a\n\nb"])
def test_a_value_cannot_end_its_header(value: str) -> None:
    """No header injection through a policy that passes on what a client wrote."""
    for edit in (headers.prepend, headers.append):
        with pytest.raises(ValueError, match="line break"):
            edit(MESSAGE, "X-A", value)
    with pytest.raises(ValueError, match="header name"):
        headers.prepend(MESSAGE, "X A", "v")


def test_mailboxes() -> None:
    """Display names with commas, also encoded ones, groups flattened."""
    assert mailboxes(b'"O\'Neil, Ann" <ann@example.com>, bob@b.example') == [
        Mailbox("O'Neil, Ann", "ann", "example.com"),
        Mailbox(None, "bob", "b.example"),
    ]
    assert mailboxes(b"=?utf-8?q?M=C3=BCller=2C_J=C3=B6rg?= <j@x.example>") == [
        Mailbox("Müller, Jörg", "j", "x.example")
    ]
    assert [one.email for one in mailboxes(b"friends: a@x.example, b@x.example;")] == ["a@x.example", "b@x.example"]
    for bad in (b"", b"nobody", b"<>", b"(" * 10_000):
        with pytest.raises(ValueError, match="address"):
            mailboxes(bad)


names = st.text("ABCdef-", min_size=1, max_size=6)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(
    lambda text: text.replace("=?", "")
)


@given(st.lists(st.tuples(names, values), max_size=6), st.binary(max_size=20))
def test_agrees_with_the_standard_library(fields: list[tuple[str, str]], body: bytes) -> None:
    """For ordinary headers both readers see the same."""
    block = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
    message = block + b"\r\n" + body
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    assert headers.all_headers(message) == [(name, value.strip()) for name, value in parsed.items()]
    for name, _ in fields:
        assert headers.first_value(message, name) == (parsed[name] or "").strip()


@given(st.binary(max_size=60), names)
def test_no_bytes_make_it_fail(message: bytes, name: str) -> None:
    """Whatever arrived, reading gives an answer and removing removes."""
    headers.all_headers(message)
    without = headers.remove(message, lambda found: found == name.lower())
    assert headers.all_values(without, name) == []
    assert (headers.first_value(message, name) is None) == (headers.all_values(message, name) == [])
