"""The client's side of SOCKS5: what it asks, whatever pieces the answers come in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import ConfigError, RemoteProtocolError
from kumotwist.proto.socks5 import SocksClient

OK = b"\x05\x00\x00\x01\x0a\x00\x00\x09\x12\x34"


def talk(client: SocksClient, answers: bytes, cuts: list[int]) -> bytes:
    """All that it sends while the answers come in pieces."""
    sent = client.start()
    edges = sorted({0, len(answers), *(cut % (len(answers) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        if client.is_done:
            client.rest += answers[start:end]
        else:
            sent += client.receive_data(answers[start:end])
    return sent


@given(st.lists(st.integers(0, 100), max_size=20))
def test_a_connection_from_an_address(cuts: list[int]) -> None:
    """Login, BIND, CONNECT, and what the peer says first is not lost (RFC 1928 s3 to s6, RFC 1929 s2)."""
    client = SocksClient("192.0.2.25", 25, "10.0.0.9", (b"ann", b"secret"))
    answers = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00\x01\x0a\x00\x00\x09\x00\x00" + OK + b"220 hello\r\n"
    assert talk(client, answers, cuts) == (
        b"\x05\x01\x02"
        b"\x01\x03ann\x06secret"
        b"\x05\x02\x00\x01\x0a\x00\x00\x09\x00\x00"
        b"\x05\x01\x00\x01\xc0\x00\x02\x19\x00\x19"
    )
    assert client.is_done
    assert client.sent_from == "10.0.0.9:4660"
    assert client.rest == b"220 hello\r\n"


def test_a_plain_connection() -> None:
    """To IPv6; the proxy keeps to itself where it connects from, by a name or by zeros."""
    for bound in (b"\x01\0\0\0\0\0\0", b"\x03\x05proxy\0\0", b"\x04" + bytes(18)):
        client = SocksClient("2001:db8::1", 2525)
        assert talk(client, b"\x05\x00\x05\x00\x00" + bound, []) == (
            b"\x05\x01\x00" + b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x09\xdd"
        )
        assert client.is_done
        assert client.sent_from == "0.0.0.0:0"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (b"HTTP/1.1 400", "does not speak SOCKS5"),
        (b"\x05\xff", "wants another way to log in"),
        (b"\x05\x02", "wants another way to log in"),
        (b"\x05\x00\x05\x07\x00\x01" + bytes(6), "cannot bind to 10.0.0.9: command not supported"),
        (b"\x05\x00" + OK + b"\x05\x05\x00\x01" + bytes(6), "cannot connect: connection refused"),
        (b"\x05\x00" + OK + b"\x05\x63\x00\x01" + bytes(6), "cannot connect: code 99"),
        (b"\x05\x00\x04\x00\x00\x01" + bytes(6), "does not speak SOCKS5"),
        (b"\x05\x00\x05\x00\x00\x09" + bytes(6), "address of an unknown type"),
    ],
)
def test_refusals_are_told(answers: bytes, error: str) -> None:
    """In words, and with what was wanted."""
    with pytest.raises(RemoteProtocolError, match=error):
        talk(SocksClient("192.0.2.25", 25, "10.0.0.9"), answers, [])


def test_a_wrong_login_is_told() -> None:
    """Without the password."""
    with pytest.raises(RemoteProtocolError, match="does not take our user name and password"):
        talk(SocksClient("192.0.2.25", 25, None, (b"ann", b"hush")), b"\x05\x02\x01\x01", [])
    with pytest.raises(ConfigError, match="1 to 255 octets") as caught:
        SocksClient("192.0.2.25", 25, None, (b"ann", b"hush" * 100))
    assert "hush" not in str(caught.value)


@given(st.binary(max_size=600))
def test_any_answer_ends_in_words(data: bytes) -> None:
    """Whatever comes is an answer, the beginning of one, or refused."""
    client = SocksClient("192.0.2.25", 25, "10.0.0.9")
    client.start()
    try:
        client.receive_data(data)
    except RemoteProtocolError:
        return
    assert client.is_done or len(client.rest) < 262
