"""Octets of a PDU body, read and written field by field (SMPP 3.4 s3.1).

Texts are C-octet strings: Latin-1 octets up to a NUL, each field with a limit
that counts it. Optional parameters (TLVs) follow the mandatory fields.

Public: `Fields`, `Malformed`, `Tlv`, `cstring`, `write_tlvs`. Reading raises
`Malformed` with the status that the peer is answered; writing a text that
cannot stand in its field raises LocalProtocolError.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from kumotwist.core.errors import LocalProtocolError, RemoteProtocolError
from kumotwist.proto.smpp.commands import Status

#: Optional parameters in one PDU. Ours: the specification has some forty, of which a message carries a few.
MAX_TLVS: Final = 256

_HEAD: Final = Struct(">HH")


class Malformed(RemoteProtocolError):
    """A body that is not what its command says; `status` is the answer it deserves."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Tlv(NamedTuple):
    """An optional parameter: its tag, known to us or not, and its octets."""

    tag: int
    value: bytes


class Fields:
    """Reads a body from its start."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def cstring(self, limit: int) -> str:
        """The text up to the next NUL, of fewer than `limit` octets."""
        end = self._body.find(b"\0", self._at, self._at + limit)
        if end < 0:
            raise Malformed(Status.ESME_RINVPARLEN, "a text without its end")
        text = self._body[self._at : end].decode("latin-1")
        self._at = end + 1
        return text

    def byte(self) -> int:
        """One octet."""
        if self._at >= len(self._body):
            raise Malformed(Status.ESME_RINVCMDLEN, "the PDU ends too soon")
        self._at += 1
        return self._body[self._at - 1]

    def octets(self, count: int) -> bytes:
        """So many octets."""
        end = self._at + count
        if end > len(self._body):
            raise Malformed(Status.ESME_RINVMSGLEN, "a length that goes past the end of the PDU")
        value = self._body[self._at : end]
        self._at = end
        return value

    def tlvs(self) -> tuple[Tlv, ...]:
        """All optional parameters, in their order; nothing may follow."""
        body, at, size = self._body, self._at, len(self._body)
        found: list[Tlv] = []
        while at < size:
            if at + 4 > size or len(found) >= MAX_TLVS:
                raise Malformed(Status.ESME_RINVOPTPARSTREAM, "optional parameters that do not end where the PDU does")
            tag, length = _HEAD.unpack_from(body, at)
            at += 4
            if at + length > size:
                raise Malformed(Status.ESME_RINVPARLEN, "an optional parameter that goes past the end of the PDU")
            found.append(Tlv(tag, body[at : at + length]))
            at += length
        self._at = at
        return tuple(found)


def cstring(text: str, limit: int, name: str) -> bytes:
    """`text` with its NUL, of at most `limit` octets together; `name` is the field's."""
    if not text:
        return b"\0"
    try:
        octets = text.encode("latin-1")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{name} has characters outside Latin-1") from None
    if b"\0" in octets:
        raise LocalProtocolError(f"{name} has a NUL in it")
    if len(octets) >= limit:
        raise LocalProtocolError(f"{name} is longer than {limit - 1} octets")
    return octets + b"\0"


def write_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Optional parameters as octets."""
    parts = []
    for tag, value in tlvs:
        if len(value) > 0xFFFF:
            raise LocalProtocolError("an optional parameter is longer than 65535 octets")
        parts.append(_HEAD.pack(tag, len(value)) + value)
    return b"".join(parts)
