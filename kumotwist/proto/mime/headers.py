"""The header block of a message, read and edited directly on its bytes.

Policy asks for headers on the way of every message, so nothing is parsed into
objects: a name is searched for in the block, and an edit is one new bytes
object. Values come out as RFC 2047 and UTF-8 say; what cannot be decoded comes
out as Latin-1 rather than not at all.

Works on CRLF and on bare LF line ends, and on messages without a body. Public:
`block_end`, `fields`, `first_value`, `first_raw`, `all_values`, `all_headers`,
`remove`, `prepend`, `append`, `decode`. What can go wrong: ValueError for a name or
value that cannot stand in a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from kumotwist.proto.mime.encode import check_header_name, unstructured
from kumotwist.proto.mime.words import decode_words

#: The empty line after the header block, or an empty line at the very start.
_END: Final = re.compile(rb"\r?\n\r?\n|\A\r?\n")
#: A field with its folded lines: name, value as it stands, line end.
_FIELD: Final = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r(?!\n)|\r?\n[ \t])*)(?:\r?\n|\Z)", re.MULTILINE)
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_BREAK: Final = re.compile(rb"\r?\n(?![ \t])|\0")
#: A field name that is followed by white space before the colon (RFC 5322 s4.5).
_SPACED_NAME: Final = re.compile(rb"^[!-9;-~]+[ \t]+:", re.MULTILINE)


def block_end(message: bytes) -> int:
    """Where the header block ends: behind the last field's line end."""
    if message[:1] in (b"\r", b"\n") and _END.match(message):
        return 0
    end = message.find(b"\r\n\r\n")
    if end >= 0 and message.find(b"\n\n", 0, end) < 0 and message.find(b"\n\r\n", 0, end) < 0:
        return end + 2
    match = _END.search(message)
    if match is None:
        return len(message)
    return match.start() + (2 if match[0][:1] == b"\r" else 1)


def first_value(message: bytes, name: str) -> str | None:
    """The decoded value of the first header called `name` in any case, or None."""
    raw = first_raw(message, name)
    return None if raw is None else decode(raw)


def first_raw(message: bytes, name: str) -> bytes | None:
    """As `first_value`, but as it stands in the message, folded and encoded."""
    wanted = name.lower().encode()
    block = message[: block_end(message)]
    lowered = block.lower()
    if (b" :" in lowered or b"\t:" in lowered) and _SPACED_NAME.search(lowered):
        return next((value for field, value in fields(block) if field.lower() == wanted), None)
    label = wanted + b":"
    at = 0 if lowered.startswith(label) else lowered.find(b"\n" + label) + 1
    if at == 0 and not lowered.startswith(label):
        return None
    match = _FIELD.match(block, at)
    return match[2] if match else None


def all_values(message: bytes, name: str) -> list[str]:
    """The decoded values of every header called `name`, in order."""
    wanted = name.lower().encode()
    return [decode(value) for field, value in fields(message[: block_end(message)]) if field.lower() == wanted]


def all_headers(message: bytes) -> list[tuple[str, str]]:
    """Every header as (name as written, decoded value), in order."""
    block = message[: block_end(message)]
    return [(name.decode("ascii"), decode(value)) for name, value in fields(block)]


def remove(message: bytes, unwanted: Callable[[str], bool]) -> bytes:
    """`message` without the headers whose lower-cased name is `unwanted`; itself when there is none."""
    end = block_end(message)
    kept, position = [], 0
    for match in _FIELD.finditer(message, 0, end):
        if unwanted(match[1].decode("ascii").lower()):
            kept.append(message[position : match.start()])
            position = match.end()
    if not kept:
        return message
    kept.append(message[position:])
    return b"".join(kept)


def prepend(message: bytes, name: str, value: str, encode: bool = False) -> bytes:
    """`message` with one more header on top.

    The value goes in as it stands, or folded and RFC 2047 encoded with
    `encode`. Raises ValueError when it would end the header.
    """
    return _line(name, value, encode) + message


def append(message: bytes, name: str, value: str, encode: bool = False) -> bytes:
    """As `prepend`, but at the end of the header block."""
    end = block_end(message)
    head = message[:end]
    if head and not head.endswith(b"\n"):
        head += b"\r\n"
    rest = message[end:] or b"\r\n"
    return b"".join((head, _line(name, value, encode), rest))


def decode(raw: bytes) -> str:
    """The text of a raw header value: unfolded, RFC 2047 words decoded, outer blanks gone."""
    if b"\n" in raw:
        raw = _FOLD.sub(b"", raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = text.strip(" \t\r\n")
    return decode_words(text) if "=?" in text else text


def fields(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and raw value of every field of a header block, in order; lines that are no field are passed over."""
    for match in _FIELD.finditer(block):
        yield match[1], match[2]


def _line(name: str, value: str, encode: bool) -> bytes:
    if encode:
        return unstructured(name, value)
    raw = value.encode()
    if _BREAK.search(raw) or b"\r" in raw.replace(b"\r\n", b""):
        raise ValueError(f"the value for header {name!r} holds a line break that is no folding, or NUL")
    return b"%b: %b\r\n" % (check_header_name(name).encode(), raw)
