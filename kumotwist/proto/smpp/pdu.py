"""PDUs: cut out of the stream, and put together (SMPP 3.4 s3.2).

Public: `Pdu`, `PduReader`, `MAX_PDU`. After a length that no PDU can have there
is no way to find the next one: the reader has a `problem` then, and no more PDUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from kumotwist.core.errors import RemoteProtocolError

#: Octets of a PDU: a message_payload of 65,535 with every other field at its limit stays below. Ours.
MAX_PDU: Final = 72 * 1024
#: Octets of the header, which every PDU has.
HEADER: Final = 16

_HEADER: Final = Struct(">IIII")


class Pdu(NamedTuple):
    """One PDU: the header's fields and the body's octets."""

    command: int
    status: int
    sequence: int
    body: bytes = b""

    def encode(self) -> bytes:
        """Its octets."""
        return _HEADER.pack(HEADER + len(self.body), self.command, self.status, self.sequence) + self.body


class PduReader:
    """Collects PDUs from a stream; holds at most one incomplete PDU, and reads its length before its body."""

    __slots__ = ("_buffer", "problem")

    def __init__(self) -> None:
        self._buffer = b""
        self.problem: RemoteProtocolError | None = None

    def feed(self, data: bytes) -> Sequence[Pdu]:
        """Take a chunk; the PDUs it completes."""
        if self.problem is not None:
            return ()
        buffer = self._buffer + data if self._buffer else data
        found: list[Pdu] = []
        at, size = 0, len(buffer)
        while size - at >= HEADER:
            length, command, status, sequence = _HEADER.unpack_from(buffer, at)
            if not HEADER <= length <= MAX_PDU:
                self.problem = RemoteProtocolError(f"a PDU that claims {length} octets")
                at = size
                break
            if size - at < length:
                break
            found.append(Pdu(command, status, sequence, buffer[at + HEADER : at + length]))
            at += length
        self._buffer = buffer[at:]
        return found
