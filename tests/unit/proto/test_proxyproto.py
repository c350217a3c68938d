"""The PROXY protocol: who the client behind the balancer is."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.proxyproto import Endpoints, Malformed, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version2(command, kind, block):
    return SIGNATURE + bytes([0x20 | command, kind]) + struct.pack("!H", len(block)) + block


TCP4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 1234, 25)
TCP6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 1234, 25)
)


@pytest.mark.parametrize(
    ("header", "ends"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 25\r\n", Endpoints("192.0.2.1", 1234, "198.51.100.2", 25)),
        (b"PROXY TCP6 2001:db8::1 ::1 1234 25\r\n", Endpoints("2001:db8::1", 1234, "::1", 25)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (version2(1, 0x11, TCP4), Endpoints("192.0.2.1", 1234, "198.51.100.2", 25)),
        (version2(1, 0x21, TCP6), Endpoints("2001:db8::1", 1234, "::1", 25)),
        (version2(1, 0x11, TCP4 + b"\x03\0\x04abcd"), Endpoints("192.0.2.1", 1234, "198.51.100.2", 25)),
        (version2(0, 0x00, b""), None),
        (version2(1, 0x31, b"x" * 216), None),
    ],
)
def test_headers(header, ends):
    """Both versions, whole and cut at every octet; what follows is left alone."""
    assert parse(header + b"EHLO x\r\n") == (ends, len(header))
    for cut in range(len(header)):
        assert parse(header[:cut]) is None


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO x\r\n",
        b"PROXX",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1234\r\n",
        b"PROXY TCP4 2001:db8::1 ::1 1234 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 70000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n",
        b"PROXY TCP4 192.0.2.999 198.51.100.2 1 25\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n",
        b"PROXY " + b"x" * 120,
        version2(2, 0x11, TCP4),
        version2(1, 0x11, TCP4[:8]),
        version2(1, 0x11, b"x" * 5000),
        SIGNATURE + b"\x11\x11\0\0",
    ],
)
def test_what_is_no_header_is_told_at_once(header):
    """A client that reaches the port without the balancer is not taken for one behind it."""
    with pytest.raises(Malformed):
        parse(header)


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"])
)
def test_random_octets_are_harmless(data, prefix):
    """Whatever comes, the answer is one of three."""
    try:
        parsed = parse(prefix + data)
    except Malformed:
        return
    assert parsed is None or parsed[1] <= len(prefix + data)
