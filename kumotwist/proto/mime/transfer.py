"""Content-Transfer-Encoding undone, and flowed text put back into paragraphs.

Public: `decode_body`, `unflow`, `join_lines`. Nothing goes wrong: a body that is
damaged comes out as far as it can be read, and the flag beside it says so.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

_IDENTITIES: Final = frozenset(("", "7bit", "8bit", "binary", "7-bit", "8-bit"))
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_LINE: Final = re.compile(rb"\r?\n")
_UU_START: Final = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.MULTILINE)
_QUOTES: Final = re.compile(r">*")


def decode_body(body: bytes, encoding: str) -> tuple[bytes, bool]:
    """The octets that `body` stands for, and whether all could be read; an unknown encoding leaves it as it is."""
    name = encoding.strip().lower()
    if name in _IDENTITIES:
        return body, True
    if name == "quoted-printable":
        return binascii.a2b_qp(body), True
    if name == "base64":
        return _base64(body)
    if name in ("x-uuencode", "uuencode", "x-uue"):
        return _uuencoded(body)
    return body, False


def _base64(body: bytes) -> tuple[bytes, bool]:
    try:
        return binascii.a2b_base64(body), True
    except binascii.Error:
        # Padding lost, or stray characters among the digits: what is left decodes in fours.
        digits = _NOT_BASE64.sub(b"", body)
        whole = digits[: len(digits) // 4 * 4]
        rest = digits[len(whole) :]
        tail = binascii.a2b_base64(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""
        return binascii.a2b_base64(whole) + tail, False


def _uuencoded(body: bytes) -> tuple[bytes, bool]:
    start = _UU_START.search(body)
    if start is None:
        return body, False
    chunks: list[bytes] = []
    for line in _LINE.split(body[start.end() :]):
        if line.strip() == b"end":
            return b"".join(chunks), True
        try:
            chunks.append(binascii.a2b_uu(line))
        except binascii.Error:
            return b"".join(chunks), False
    return b"".join(chunks), False


def join_lines(text: str) -> str:
    """`text` with every line end as a bare newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def unflow(text: str, *, delete_space: bool) -> str:
    """`format=flowed` text (RFC 3676) with each paragraph on one line; quoted lines keep their marks.

    `text` has bare newlines. `delete_space` is its `delsp=yes`.
    """
    pieces: list[str] = []
    is_open, depth = False, 0
    for line in text.split("\n"):
        marks = _QUOTES.match(line)
        level = marks.end() if marks is not None else 0
        content = line[level:].removeprefix(" ")
        # s4.3: the signature mark ends in a space and is no flowed line.
        is_signature = content == "-- "
        if not (is_open and level == depth and not is_signature):
            pieces.append("\n" + ">" * level + (" " if level else ""))
        is_open, depth = content.endswith(" ") and not is_signature, level
        pieces.append(content[:-1] if is_open and delete_space else content)
    return "".join(pieces)[1:]
