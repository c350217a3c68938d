r"""The body of a message on the wire: where it ends and what becomes of odd line ends.

The one place that judges end of data and bare CR or LF, on whole chunks and
never line by line: it is the defence against SMTP smuggling and the hot path
at once. Only `CR LF . CR LF` ends a message, whatever the chunks are.

What a lax server downstream might take for an end (`\n.\n`, `\r.\r`, a NUL
before the dot, ...) never leaves this module: `Deny` refuses such a body,
`Fix` makes every line end CRLF and drops NULs, and `Allow` does so before
dots only, so that the client side finds each dot at a line start and doubles it.

Public: `BodyReader` (stream to body), `BodyRules`, `judge` (body to verdict),
`Refused`.
"""

from __future__ import annotations

import re
from io import IncrementalNewlineDecoder
from typing import Final

from attrs import frozen

from kumotwist.config.listener import LineEndings
from kumotwist.proto.smtp import replies

_END: Final = b"\r\n.\r\n"
#: A dot at the start of a line; as a pattern, since its search is faster than `bytes.find` here.
_find_line_dot: Final = re.compile(rb"\r\n\.").search
_EDGES: Final = (b".", b"\r", b"\n", b"")
#: Octets of the end that may stand in an earlier chunk.
_CARRY: Final = len(_END) - 1
#: Chunks shorter than this are put together as they come, so that a client that
#: sends octet by octet costs one octet each. Ours.
_SMALL: Final = 2048
#: A dot with all that a lax reader may take for the line end before it.
_DOT: Final = re.compile(rb"(?:\A\0+|[\r\n\0]+)\.")

#: Notes the line ends that it sees; used on the reactor's thread only.
_newlines: Final = IncrementalNewlineDecoder(None, False)


@frozen
class Refused:
    """Why a body is not taken: an SMTP reply."""

    code: int
    text: str


@frozen
class BodyRules:
    """Limits on one body. Octets; `line_length` without the line end."""

    max_size: int
    line_length: int
    line_endings: LineEndings


class BodyReader:
    """Collects one body from the stream behind DATA.

    Feed it with `receive` until that returns a count. A body past `max_size`
    is read to its end but not kept: `is_too_big`. Without `has_dots` no line
    of it starts with a dot.
    """

    __slots__ = ("_limit", "_parts", "_received", "_tail", "has_dots", "is_too_big")

    def __init__(self, max_size: int) -> None:
        # Doubled dots do not count (RFC 1870 s3), and at most one octet in four is one.
        self._limit = max_size + max_size // 3 + len(_END)
        self._parts: list[bytes | bytearray] = []
        self._received = 0
        # Behind DATA we are at the start of a line.
        self._tail = b"\r\n"
        self.has_dots = False
        self.is_too_big = False

    def receive(self, chunk: bytes) -> int | None:
        """Take a chunk; how much of it belongs to the message, its end included, or None for all of it and more."""
        tail = self._tail
        # What matters across the border goes on with one of these.
        if chunk[:1] in _EDGES:
            border = tail + chunk[:_CARRY]
            if _find_line_dot(border) is not None:
                start = border.find(_END)
                if start >= 0:
                    return self._end(chunk, start - len(tail))
                self.has_dots = True
        dot = _find_line_dot(chunk)
        if dot is not None:
            start = dot.start()
            if not chunk.startswith(_END, start):
                self.has_dots = True
                start = chunk.find(_END, start)
            if start >= 0:
                return self._end(chunk, start)
        self._keep(chunk)
        self._tail = chunk[-_CARRY:] if len(chunk) >= _CARRY else (tail + chunk)[-_CARRY:]
        return None

    def content(self) -> bytes:
        """The octets between DATA and the dot, dots still doubled; the reader is done."""
        parts, self._parts = self._parts, []
        if len(parts) == 1 and type(parts[0]) is bytes:
            return parts[0]
        return b"".join(parts)

    def _end(self, chunk: bytes, start: int) -> int:
        """Finish with the end at `start`, counted from the chunk and negative when it began earlier."""
        # The CRLF before the dot belongs to the last line.
        last = start + 2
        if last > 0:
            self._keep(chunk[:last])
        elif last < 0 and not self.is_too_big and self._received:
            self._parts = [b"".join(self._parts)[:last]]
        return start + len(_END)

    def _keep(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received > self._limit:
            self.is_too_big = True
            self._parts.clear()
        elif len(chunk) >= _SMALL or not self._parts:
            self._parts.append(chunk)
        elif isinstance(last := self._parts[-1], bytearray):
            last += chunk
        else:
            self._parts.append(bytearray(chunk))


def judge(raw: bytes, rules: BodyRules, has_dots: bool = True) -> bytes | Refused:
    """The body behind `raw` (dots still doubled, if `has_dots`), or why it is refused."""
    body = _unstuffed(raw) if has_dots else raw
    size = len(body)
    if size > rules.max_size:
        return Refused(*replies.TOO_BIG)
    if size > rules.line_length and _has_long_line(body, rules.line_length):
        return Refused(*replies.LINE_TOO_LONG)
    return body if _is_regular(body) else _irregular(body, rules.line_endings)


def _unstuffed(raw: bytes) -> bytes:
    body = raw.replace(b"\r\n.", b"\r\n")
    return body[1:] if body[:1] == b"." else body


def _is_regular(body: bytes) -> bool:
    """Whether every CR and LF is one of a pair, and there is no NUL.

    The decoder that text files are read with notes what line ends it sees, in one pass.
    """
    _newlines.reset()
    _newlines.decode(body.decode("latin-1"), True)
    return (_newlines.newlines == "\r\n" or not body) and b"\0" not in body


def _has_long_line(body: bytes, limit: int) -> bool:
    """Whether some line has more than `limit` octets before its CRLF.

    Leaps from the last line end within reach to the next, so that short lines cost nothing.
    """
    start, size = 0, len(body)
    while size - start > limit:
        end = body.rfind(b"\n", start, start + limit + 2)
        if end < 0:
            return True
        start = end + 1
    return False


def _irregular(body: bytes, endings: LineEndings) -> bytes | Refused:
    if endings == "Fix":
        return _fixed(body)
    if endings == "Allow":
        return _DOT.sub(lambda match: _fixed(match[0]), body)
    return Refused(*(replies.HAS_NUL if b"\0" in body else replies.BAD_LINE_ENDS))


def _fixed(text: bytes) -> bytes:
    lines = text.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", b"\r\n")
