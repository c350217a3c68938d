r"""The PROXY protocol, versions 1 and 2: who the client behind a balancer is.

A connection from a balancer starts with a header that names the real ends;
the octets behind it are the client's. Source: HAProxy's proxy-protocol.txt.

Public: `Endpoints`, `parse` (and `Malformed`). `parse` wants all octets seen
so far and asks for more by None; it raises `Malformed` as soon as they cannot
become a header, and the connection is to be dropped then.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from attrs import frozen

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: Octets of a version 1 header with CRLF: specification s2.1.
_V1_MAX: Final = 107
#: Octets behind the fixed part of a version 2 header that we are ready to read over (TLVs). Ours.
_V2_MAX: Final = 4096
_V2_FIXED: Final = 16
#: Address families by their nibble: octets in an address.
_FAMILIES: Final = {1: 4, 2: 16}


class Malformed(ValueError):
    """These octets are no PROXY header."""


@frozen
class Endpoints:
    """The ends of the client's own connection: addresses as text, ports."""

    source: str
    source_port: int
    destination: str
    destination_port: int


def parse(data: bytes) -> tuple[Endpoints | None, int] | None:
    """The ends and the length of the header at the start of `data`; None when it is not whole yet.

    The ends are None when the balancer speaks for itself (LOCAL, UNKNOWN): the
    connection's own ends hold.
    """
    if data.startswith(_V2):
        return _parse_v2(data)
    if data.startswith(_V1):
        return _parse_v1(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    raise Malformed("no PROXY header")


def _parse_v1(data: bytes) -> tuple[Endpoints | None, int] | None:
    end = data.find(b"\r\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise Malformed("PROXY header without an end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return None, end + 2
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise Malformed("PROXY header of an unknown form")
    version = 4 if words[1] == "TCP4" else 6
    source, destination = (_address(word, version) for word in words[2:4])
    return Endpoints(source, _port(words[4]), destination, _port(words[5])), end + 2


def _address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Malformed("PROXY header with a bad address") from None
    if address.version != version:
        raise Malformed("PROXY header whose address is of another family")
    return str(address)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise Malformed("PROXY header with a bad port")
    return int(text)


def _parse_v2(data: bytes) -> tuple[Endpoints | None, int] | None:
    if len(data) < _V2_FIXED:
        return None
    version, command = divmod(data[12], 16)
    size = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or size > _V2_MAX:
        raise Malformed("PROXY header of an unknown form")
    if len(data) < _V2_FIXED + size:
        return None
    end = _V2_FIXED + size
    if command == 0:
        return None, end
    return _v2_endpoints(data[13], data[_V2_FIXED:end]), end


def _v2_endpoints(kind: int, block: bytes) -> Endpoints | None:
    family, transport = divmod(kind, 16)
    width = _FAMILIES.get(family)
    if width is None or transport != 1:
        return None
    if len(block) < 2 * width + 4:
        raise Malformed("PROXY header that is too short for its addresses")
    source, destination = (str(ipaddress.ip_address(block[at : at + width])) for at in (0, width))
    ports = block[2 * width :]
    return Endpoints(source, int.from_bytes(ports[:2], "big"), destination, int.from_bytes(ports[2:4], "big"))
