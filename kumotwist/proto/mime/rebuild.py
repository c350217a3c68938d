"""Making a message that a person or program wrote fit to be sent.

HTTP injection may bring a whole message as text. `rebuild` gives it CRLF line
ends, a Mime-Version, RFC 2047 words where a header is not ASCII and a transfer
encoding where a body needs one. It touches only what must change: a message
that is fit already keeps its octets, so signatures over it stay valid.

Public: `rebuild`, `field_names`. What can go wrong: ValueError when the text does not begin
with header fields or is nested beyond reason.
"""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import Message
from typing import Final

from kumotwist.proto.mime.builder import MIME_VERSION, encoded_text
from kumotwist.proto.mime.encode import (
    address_header,
    is_plain_text,
    normalise_line_ends,
    transfer_encode_binary,
    unstructured,
)

#: Multiparts within multiparts. Ours: real mail stays below ten.
MAX_DEPTH: Final = 32

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n")
_MIME_VERSION: Final = re.compile(rb"(?:\A|\n)mime-version[ \t]*:", re.IGNORECASE)
_ADDRESSES: Final = frozenset(
    b"from to cc bcc sender reply-to resent-from resent-to resent-cc resent-bcc resent-sender resent-reply-to".split()
)
#: Encodings that leave the octets as they are, RFC 2045 s6.2.
_IDENTITIES: Final = frozenset(("", "7bit", "8bit", "binary"))


def rebuild(data: bytes) -> bytes:
    """`data`, a message in UTF-8 with any line ends, in a form that may be sent.

    Raises ValueError when it does not begin with header fields.
    """
    text = normalise_line_ends(data)
    head, body = _split(text)
    fields = _fields(head)
    if not is_plain_text(text):
        fields, body = _rebuild_part(fields, head, body, 0)
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    version = b"" if _MIME_VERSION.search(head) else MIME_VERSION
    return b"".join((*fields, version, b"\r\n", body))


def field_names(data: bytes) -> list[bytes]:
    """The names of the header fields of `data`, in lower case and order. Raises ValueError as `rebuild` does."""
    return [_name(field) for field in _fields(_split(normalise_line_ends(data))[0])]


def _split(text: bytes) -> tuple[bytes, bytes]:
    """Header block with its last CRLF, and body."""
    if text.startswith(b"\r\n"):
        return b"", text[2:]
    head, found, body = text.partition(b"\r\n\r\n")
    if found:
        return head + b"\r\n", body
    return (text if text.endswith(b"\r\n") else text + b"\r\n"), b""


def _fields(head: bytes) -> list[bytes]:
    """The header fields of a block, each with its CRLF."""
    fields, position = [], 0
    while position < len(head):
        match = _FIELD.match(head, position)
        if match is None:
            line = head[position:].partition(b"\r\n")[0][:80].decode(errors="replace")
            raise ValueError(f"failed to parse content: {line!r} is not a header line 'Name: value'")
        fields.append(match[0])
        position = match.end()
    return fields


def _rebuild_part(fields: list[bytes], head: bytes, body: bytes, depth: int) -> tuple[list[bytes], bytes]:
    if depth > MAX_DEPTH:
        raise ValueError(f"failed to parse content: more than {MAX_DEPTH} multiparts within each other")
    kind = message_from_bytes(head)
    fields = [field if field.isascii() else _encoded_field(field) for field in fields]
    boundary = kind.get_boundary()
    if kind.get_content_maintype() == "multipart" and boundary:
        return fields, _rebuild_parts(body, boundary.encode(errors="surrogateescape"), depth)
    encoding = str(kind.get("Content-Transfer-Encoding", "")).strip().lower()
    if is_plain_text(body) or encoding not in _IDENTITIES:
        return fields, body
    return _encode_leaf(fields, kind, body)


def _encode_leaf(fields: list[bytes], kind: Message, body: bytes) -> tuple[list[bytes], bytes]:
    others = [field for field in fields if _name(field) != b"content-transfer-encoding"]
    if kind.get_content_maintype() != "text":
        encoding, encoded = transfer_encode_binary(body)
        return [*others, f"Content-Transfer-Encoding: {encoding}\r\n".encode()], encoded
    rest = "".join([f';\r\n\t{name}="{value}"' for name, value in _parameters(kind) if name.lower() != "charset"])
    part = encoded_text(body, kind.get_content_type() + rest)
    return [*[field for field in others if _name(field) != b"content-type"], part.headers], part.body


def _parameters(kind: Message) -> list[tuple[str, str]]:
    if kind.get("Content-Type") is None:
        return []
    return [
        (name, value) for name, value in (kind.get_params() or [])[1:] if isinstance(value, str) and value.isascii()
    ]


def _rebuild_parts(body: bytes, boundary: bytes, depth: int) -> bytes:
    """A multipart body with each part rebuilt; preamble, delimiters and epilogue as they are."""
    chunks = (b"\r\n" + body).split(b"\r\n--" + boundary)
    rebuilt, is_open = [chunks[0][2:]], True
    for chunk in chunks[1:]:
        line, found, part = chunk.partition(b"\r\n")
        if is_open and found and not line.strip(b" \t"):
            rebuilt.append(line + b"\r\n" + _rebuild_nested(part, depth))
        else:
            is_open = is_open and not chunk.startswith(b"--")
            rebuilt.append(chunk)
    whole = (b"\r\n--" + boundary).join(rebuilt)
    return whole if chunks[0] else whole[2:]


def _rebuild_nested(part: bytes, depth: int) -> bytes:
    if is_plain_text(part):
        return part
    head, body = _split(part)
    fields, rebuilt = _rebuild_part(_fields(head), head, body, depth + 1)
    # The delimiter brings the line end that the encoder added.
    return b"".join((*fields, b"\r\n", rebuilt.removesuffix(b"\r\n")))


def _encoded_field(field: bytes) -> bytes:
    name, _, value = field.partition(b":")
    label = name.strip(b" \t").decode()
    text = value.replace(b"\r\n", b"").decode(errors="replace").strip(" \t")
    return address_header(label, text) if label.lower().encode() in _ADDRESSES else unstructured(label, text)


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].strip(b" \t").lower()
