"""Envelope addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.address import NULL_SENDER, EnvelopeAddress, parse_address


@pytest.mark.parametrize(
    ("text", "user", "domain"),
    [
        ("<a@b.example>", "a", "b.example"),
        ("a@b.example", "a", "b.example"),
        ("<Some.One+tag@Sub.Example.COM>", "Some.One+tag", "Sub.Example.COM"),
        ('"quoted user"@b.example', '"quoted user"', "b.example"),
        ('"a\\"b@c"@b.example', '"a\\"b@c"', "b.example"),
        ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
        ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
        ("<@relay.example,@other.example:a@b.example>", "a", "b.example"),
        ("Postmaster", "Postmaster", ""),
        ("<postmaster>", "postmaster", ""),
        ("жанна@пример.example", "жанна", "пример.example"),
    ],
)
def test_reads_what_rfc_5321_allows(text: str, user: str, domain: str) -> None:
    """Case is kept; a source route is dropped."""
    assert parse_address(text) == EnvelopeAddress(user, domain)


@pytest.mark.parametrize("text", ["", "<>"])
def test_the_null_path(text: str) -> None:
    """Bounces come from nobody."""
    assert parse_address(text) is NULL_SENDER
    assert parse_address(text).email == ""


@pytest.mark.parametrize(
    "text",
    [
        "a", "@b", "a@", "a@b@c", "a b@c", "a@b c", ".a@b", "a.@b", "a..b@c", "a@-b.example", "a@b..c", "<a@b", "a@b>",
        "a@b\r\nRCPT TO:<x@y>", "a\n@b", "a\0@b", "a@b\r", "a@[1.2.3.4", '"a@b', "x" * 65 + "@b", "a@" + "d" * 256,
    ],
)  # fmt: skip
def test_refuses_the_rest(text: str) -> None:
    """Whatever could smuggle a command or is no mailbox is an error, never a guess."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_address(text)


@given(st.text(max_size=40))
def test_what_is_accepted_holds_no_control_and_reads_back(text: str) -> None:
    """An accepted address can be written into an SMTP command as it is."""
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert not any(ord(char) < 32 or ord(char) == 127 for char in address.email)
    assert parse_address(f"<{address.email}>") == address
