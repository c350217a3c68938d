r"""Replies of an SMTP or LMTP server, read out of its bytes.

The first step of the client's wire core (`proto.smtp.client`): bytes in at any
cut, whole replies out. Lines may end in CRLF or, as old servers do, in LF.

Public: `Reply`, `ReplyParser`, `MAX_LINE`, `MAX_LINES`. A peer that breaks the
grammar of RFC 5321 s4.2 or one of the limits raises `RemoteProtocolError`; the
parser is of no use after that.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.errors import RemoteProtocolError
from kumotwist.core.response import Response

#: Octets in one reply line; RFC 5321 s4.5.3.1.5 says 512, KumoMTA bears 4096.
MAX_LINE: Final = 4096
#: Lines in one reply, ours: the longest EHLO replies seen in the field have about 25.
MAX_LINES: Final = 128

_LF: Final = b"\n"
_SPACE: Final = 0x20
_HYPHEN: Final = 0x2D


class Reply:
    """One whole reply; the text is decoded when somebody asks for it."""

    __slots__ = ("_lines", "code")

    def __init__(self, code: int, lines: list[bytes]) -> None:
        """`lines` are without codes and line ends."""
        self.code = code
        self._lines = lines

    @property
    def text(self) -> str:
        r"""All lines, joined by "\n"; octets that are not UTF-8 become U+FFFD."""
        if len(self._lines) == 1:
            return self._lines[0].decode("utf-8", "replace")
        return b"\n".join(self._lines).decode("utf-8", "replace")

    def response(self, command: str | None) -> Response:
        """The reply as an answer to `command`, for outcomes and records."""
        return Response.parse(self.code, self.text, command)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and (self.code, self._lines) == (other.code, other._lines)

    __hash__ = None  # type: ignore[assignment]  # equality is for tests; nothing keys on replies

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self._lines!r})"


class ReplyParser:
    """Cuts a stream of bytes into replies."""

    __slots__ = ("_code", "_lines", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._code = 0
        self._lines: list[bytes] = []

    @property
    def is_midway(self) -> bool:
        """Whether a reply has begun and is not complete."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order. Raises RemoteProtocolError."""
        lines = (self._rest + data if self._rest else data).split(_LF)
        self._rest = lines.pop()
        replies: list[Reply] = []
        for line in lines:
            self._take_line(line, replies)
        if len(self._rest) > MAX_LINE:
            raise RemoteProtocolError("Response line is too long")
        return replies

    def reset(self) -> None:
        """Forget what was buffered: it was sent in clear, before TLS."""
        self._rest = b""
        self._lines = []

    def _take_line(self, line: bytes, replies: list[Reply]) -> None:
        if line[-1:] == b"\r":
            line = line[:-1]
        if len(line) > MAX_LINE:
            raise RemoteProtocolError("Response line is too long")
        code, is_last = _code_of(line)
        if self._lines and code != self._code:
            raise RemoteProtocolError(f"Malformed Response: code changes from {self._code} to {code} within a reply")
        self._lines.append(line[4:])
        if is_last:
            replies.append(Reply(code, self._lines))
            self._lines = []
            return
        self._code = code
        if len(self._lines) >= MAX_LINES:
            raise RemoteProtocolError(f"Malformed Response: more than {MAX_LINES} lines")


def _code_of(line: bytes) -> tuple[int, bool]:
    """The code and whether this is the last line of the reply."""
    digits = line[:3]
    # RFC 5321 s4.2: Reply-code = %x32-35 %x30-35 %x30-39; second digits of 6 to 9 occur and do no harm.
    if len(digits) == 3 and digits.isdigit() and b"2" <= digits < b"6":
        if len(line) == 3 or line[3] == _SPACE:
            return int(digits), True
        if line[3] == _HYPHEN:
            return int(digits), False
    raise RemoteProtocolError(f"Malformed Response: {line[:64].decode('utf-8', 'replace')}")
