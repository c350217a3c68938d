"""A message as a tree of MIME parts, cut on its bytes.

The standard library's parser recurses as deep as the sender likes and keeps
every line as an object; this one has bounds and slices the body.

Public: `Node`, `parse`, `TooComplex`. What can go wrong: `TooComplex` for more
parts or header fields or a deeper nesting than mail has. Damaged structure is read as far as it
goes, and `Node.is_damaged` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from attrs import define, field

from kumotwist.core.errors import KumotwistError
from kumotwist.proto.mime import parameters
from kumotwist.proto.mime.headers import block_end, fields
from kumotwist.proto.mime.parameters import Parameterised

#: Multiparts within multiparts. Ours: real mail stays below ten.
MAX_DEPTH: Final = 32
#: Parts of one message. Ours: no provider's API takes as many attachments.
MAX_PARTS: Final = 500
#: Lines of all header blocks of one message. Ours: real mail stays below a thousand, and each is an object.
MAX_HEAD_LINES: Final = 50_000

_KIND: Final = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9a-z]{1,127}/[!#$%&'*+\-.^_`{|}~0-9a-z]{1,127}\Z")
_DELIMITER_END: Final = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")
_EMPTY_LINE: Final = re.compile(rb"\r?\n")


class TooComplex(KumotwistError):
    """The message has more parts than mail has: the sender's fault. Do not take it apart."""


@define(eq=False)
class Node:
    """One part: `head` and `content` are its header block and body as they stand; `children` for a multipart.

    `number` counts as IMAP does: "1.2" is the second part of the first; "" is the message itself.
    """

    number: str
    type: Parameterised
    disposition: Parameterised
    raw: dict[str, bytes]
    content: bytes = field(repr=False)
    children: list[Node] = field(factory=list, repr=False)
    is_damaged: bool = False
    head: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """`type/subtype` in lower case."""
        return self.type.kind

    @property
    def is_multipart(self) -> bool:
        """Whether it was read as one: a multipart without boundary is not."""
        return self.type.kind.startswith("multipart/")

    def header(self, name: str) -> bytes:
        """The raw value of the first header of that name (in lower case), b"" when there is none."""
        return self.raw.get(name, b"")

    def walk(self) -> Iterator[Node]:
        """It and all parts within it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> Iterator[Node]:
        """All parts that are no multipart, in order."""
        if not self.is_multipart:
            yield self
        for child in self.children:
            yield from child.leaves()


def parse(message: bytes) -> Node:
    """The tree of a whole message. Raises TooComplex."""
    return _Parser().node(message, "", 0, "text/plain")


class _Parser:
    """Counts the parts of one message."""

    def __init__(self) -> None:
        self._parts = 0
        self._head_lines = 0

    def node(self, data: bytes, number: str, depth: int, default: str) -> Node:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooComplex(f"more than {MAX_PARTS} parts")
        if depth > MAX_DEPTH:
            raise TooComplex(f"more than {MAX_DEPTH} multiparts within each other")
        end = block_end(data)
        self._head_lines += data.count(b"\n", 0, end)
        if self._head_lines > MAX_HEAD_LINES:
            raise TooComplex(f"more than {MAX_HEAD_LINES} lines of header fields")
        raw: dict[str, bytes] = {}
        for name, value in fields(data[:end]):
            raw.setdefault(name.decode("ascii").lower(), value)
        line = _EMPTY_LINE.match(data, end)
        # A part that begins neither with fields nor with an empty line is all body.
        has_head = bool(raw) or line is not None
        content = data[line.end() if line is not None else end :] if has_head else data
        kind = _content_type(raw, default)
        node = Node(number, kind, parameters.read(raw.get("content-disposition", b"")), raw, content)
        node.head = data[:end] if has_head else b""
        if node.is_multipart:
            self._cut(node, depth)
        return node

    def _cut(self, node: Node, depth: int) -> None:
        boundary = node.type.get("boundary")
        chunks, is_closed = _between(node.content, boundary) if boundary else ([], False)
        node.is_damaged = not (chunks and is_closed)
        if not chunks:
            # Nothing can be told apart in it; whoever sees it as text sees all of it.
            node.type = Parameterised("text/plain", {})
            return
        default = "message/rfc822" if node.kind == "multipart/digest" else "text/plain"
        prefix = f"{node.number}." if node.number else ""
        for position, chunk in enumerate(chunks, 1):
            node.children.append(self.node(chunk, f"{prefix}{position}", depth + 1, default))


def _content_type(raw: dict[str, bytes], default: str) -> Parameterised:
    """RFC 2045 s5.2: what has no content type is plain text (RFC 2046 s5.1.5: or a message)."""
    value = raw.get("content-type")
    if value is None:
        return Parameterised(default, {})
    found = parameters.read(value)
    if _KIND.match(found.kind):
        return found
    # Unreadable ones such as `pdf` come with a file name where they mean a file.
    return Parameterised("application/octet-stream" if found.get("name") else "text/plain", found.parameters)


def _between(content: bytes, boundary: str) -> tuple[list[bytes], bool]:
    """What stands between the delimiter lines (RFC 2046 s5.1.1), and whether the last one was there."""
    chunks: list[bytes] = []
    start = -1
    for begin, end, is_last in _delimiters(content, b"--" + boundary.encode("utf-8", "replace")):
        if start >= 0:
            chunks.append(content[start : max(begin, start)])
        if is_last:
            return chunks, True
        if len(chunks) > MAX_PARTS:
            raise TooComplex(f"more than {MAX_PARTS} parts")
        start = end
    if start >= 0:
        chunks.append(content[start:])
    return chunks, False


def _delimiters(content: bytes, mark: bytes) -> Iterator[tuple[int, int, bool]]:
    """Each delimiter line: where the line end before it begins, where the line ends, and whether it is the last."""
    # One search for the literal: a pattern that begins with a choice of line ends is forty times slower.
    at = 0 if content.startswith(mark) else _line_start(content, mark, 0)
    while at >= 0:
        rest = _DELIMITER_END.match(content, at + len(mark))
        if rest is not None:
            begin = at - (2 if content[at - 2 : at] == b"\r\n" else 1) if at else 0
            yield begin, rest.end(), rest[1] is not None
        at = _line_start(content, mark, at + len(mark) - 1)


def _line_start(content: bytes, mark: bytes, after: int) -> int:
    """Where the next line that starts with `mark` begins; -1 when there is none."""
    found = content.find(b"\n" + mark, after)
    return found + 1 if found >= 0 else -1
