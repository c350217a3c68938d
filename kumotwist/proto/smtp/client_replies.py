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
#: Beginnings of a reply's last line. RFC 5321 s4.2 has second digits to 5 only; others occur and do no harm.
_FINAL: Final = {b"%d " % code: code for code in range(200, 600)}


class Reply:
    """One whole reply; the text is made when somebody asks for it."""

    __slots__ = ("_lines", "code")

    def __init__(self, code: int, lines: list[bytes]) -> None:
        """`lines` are as they came, with codes, without LF."""
        self.code = code
        self._lines = lines

    @property
    def text(self) -> str:
        r"""All lines without codes, joined by "\n"; octets that are not UTF-8 become U+FFFD."""
        return b"\n".join([line[4:].removesuffix(b"\r") for line in self._lines]).decode("utf-8", "replace")

    def response(self, command: str | None) -> Response:
        """The reply as an answer to `command`, for outcomes and records."""
        return Response.parse(self.code, self.text, command)

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self.text!r})"


class ReplyParser:
    """Cuts a stream of bytes into replies.

    `problem` is what was wrong behind the replies that the last `feed` gave;
    the next one raises it.
    """

    __slots__ = ("_code", "_lines", "_rest", "problem")

    def __init__(self) -> None:
        self._rest = b""
        self._code = 0
        self._lines: list[bytes] = []
        self.problem: RemoteProtocolError | None = None

    @property
    def is_midway(self) -> bool:
        """Whether something has come that is not a whole reply."""
        return bool(self._rest or self._lines or self.problem)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order. Raises RemoteProtocolError."""
        if self.problem is not None:
            raise self.problem
        lines = (self._rest + data if self._rest else data).split(_LF)
        self._rest = lines.pop()
        replies: list[Reply] = []
        try:
            for line in lines:
                code = _FINAL.get(line[:4])
                if code is None or self._lines or len(line) > MAX_LINE:
                    self._take_line(line, replies)
                else:
                    replies.append(Reply(code, [line]))
            if len(self._rest) > MAX_LINE:
                raise RemoteProtocolError("Response line is too long")
        except RemoteProtocolError as problem:
            # What came before still counts: it may be the verdict on a recipient.
            if not replies:
                raise
            self.problem = problem
        return replies

    def reset(self) -> None:
        """Forget what was buffered: it was sent in clear, before TLS."""
        self._rest = b""
        self._lines = []
        self.problem = None

    def _take_line(self, line: bytes, replies: list[Reply]) -> None:
        if len(line) > MAX_LINE:
            raise RemoteProtocolError("Response line is too long")
        code, is_last = _code_of(line.removesuffix(b"\r"))
        if self._lines and code != self._code:
            raise RemoteProtocolError(f"Malformed Response: code changes from {self._code} to {code} within a reply")
        self._lines.append(line)
        if is_last:
            replies.append(Reply(code, self._lines))
            self._lines = []
            return
        self._code = code
        if len(self._lines) >= MAX_LINES:
            raise RemoteProtocolError(f"Malformed Response: more than {MAX_LINES} lines")


def _code_of(line: bytes) -> tuple[int, bool]:
    """The code and whether this is the last line of the reply."""
    head = line[:4]
    code = _FINAL.get(head if len(head) == 4 else head + b" ")
    if code is not None:
        return code, True
    if head[3:] == b"-" and (code := _FINAL.get(head[:3] + b" ")) is not None:
        return code, False
    raise RemoteProtocolError(f"Malformed Response: {line[:64].decode('utf-8', 'replace')}")
