"""GOAWAY frames, taken out of what a peer sends before the protocol engine sees them.

h2 takes the connection for closed when a GOAWAY comes, yet its very point is
that streams up to the one it names are still answered (RFC 9113 s6.8). So it
is read here, and everything else goes on to h2 unchanged.

Public: `GoawayFilter`, `Goaway`. What can go wrong: a GOAWAY that is too short
and a frame that is too long raise RemoteProtocolError.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen
from h2.errors import ErrorCodes

from kumotwist.core.errors import RemoteProtocolError

#: Octets in front of every frame, and the type of GOAWAY: RFC 9113 s4.1, s6.8.
_HEADER: Final = 9
_GOAWAY: Final = 7
#: Octets of a GOAWAY's payload before its text, and how much of the text is kept (for logs; ours).
_FIXED: Final = 8
_MAX_TEXT: Final = 200
#: Octets of a frame's payload, as we never ask for more: RFC 9113 s4.2. h2 would wait for all 16 MiB of a longer one.
_MAX_FRAME: Final = 16384


@frozen
class Goaway:
    """The peer will answer streams up to `last_stream` and no other; `reason` is its code and its text."""

    last_stream: int
    reason: str


@define(eq=False)
class GoawayFilter:
    """Follows the frames of one direction of one connection."""

    _held: bytes = field(default=b"", init=False)
    #: Octets of the current frame that are still to come, and what has come of it when it is a GOAWAY.
    _left: int = field(default=0, init=False)
    _payload: bytearray | None = field(default=None, init=False)

    def feed(self, data: bytes) -> tuple[bytes, list[Goaway]]:
        """What h2 is to see of `data`, and the GOAWAYs that ended in it. Any split gives the same in the end."""
        if self._held:
            data, self._held = self._held + data, b""
        position, passed, kept, found = 0, 0, [], []
        while position < len(data):
            if self._left == 0:
                if len(data) - position < _HEADER:
                    self._held = data[position:]
                    break
                self._left = int.from_bytes(data[position : position + 3], "big")
                if self._left > _MAX_FRAME:
                    raise RemoteProtocolError(f"a frame of {self._left} octets")
                if data[position + 3] == _GOAWAY:
                    kept.append(data[passed:position])
                    self._payload = bytearray()
                    passed = position + _HEADER
                position += _HEADER
            taken = min(self._left, len(data) - position)
            if self._payload is not None:
                self._payload += data[position : position + min(taken, _FIXED + _MAX_TEXT)]
                passed = position + taken
            position += taken
            self._left -= taken
            if self._payload is not None and self._left == 0:
                found.append(_parse(bytes(self._payload)))
                self._payload = None
        if not kept and not self._held and passed == 0:
            return data, found
        return b"".join([*kept, data[passed : len(data) - len(self._held)]]), found


def _parse(payload: bytes) -> Goaway:
    if len(payload) < _FIXED:
        raise RemoteProtocolError("a GOAWAY frame that is too short")
    last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
    text = payload[_FIXED : _FIXED + _MAX_TEXT].decode("ascii", "replace")
    words = "".join([one if one.isprintable() else "?" for one in text])
    return Goaway(last, f"{code_name(int.from_bytes(payload[4:8], 'big'))} {words}".strip())


def code_name(code: int) -> str:
    """The name of an error code (RFC 9113 s7), or its number."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code}"
