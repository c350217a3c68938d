"""Building MIME messages from parts.

Intake makes the message of an HTTP injection with it, policy a message of its
own. A part is encoded once and may stand in many messages, so the attachments
of a request for ten thousand recipients cost one encoding.

Public: `Part`, `text_part`, `attachment_part`, `multipart`, `assemble`,
`message`. What can go wrong: ValueError for a content type, id or file name
that cannot stand in a header.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kumotwist.proto.mime.encode import (
    check_header_text,
    is_plain_text,
    normalise_line_ends,
    parameter,
    transfer_encode_binary,
    transfer_encode_text,
)

#: RFC 2045 s5.1: `type/subtype` of tokens, then parameters.
_CONTENT_TYPE: Final = re.compile(
    r"\s*([!#$%&'*+\-.^_`{|}~0-9A-Za-z]+/[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+)\s*((?:;[ -~\t]*)?)\Z"
)
_CONTENT_ID: Final = re.compile(r"[!-;=?-~]+\Z")

#: Characters in a given content type; it must fit a line (RFC 5322 s2.1.1) with room to spare.
MAX_CONTENT_TYPE: Final = 500

MIME_VERSION: Final = b"Mime-Version: 1.0\r\n"


@frozen
class Part:
    """An encoded part: header fields, each ending in CRLF, and body."""

    content_type: str
    headers: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        """The part as it stands between two boundaries."""
        return b"%b\r\n%b" % (self.headers, self.body)


def text_part(text: str, subtype: str) -> Part:
    """A `text/subtype` part in UTF-8 (US-ASCII says the same when it is all ASCII)."""
    return encoded_text(normalise_line_ends(text.encode()), f"text/{subtype}")


def encoded_text(data: bytes, content_type: str) -> Part:
    """A text part of UTF-8 octets with CRLF line ends; `content_type` without a charset."""
    encoding, body = transfer_encode_text(data)
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    head = f'Content-Type: {content_type};\r\n\tcharset="{charset}"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    return Part(content_type, head.encode(), body)


def attachment_part(
    data: bytes,
    content_type: str,
    *,
    file_name: str | None = None,
    content_id: str | None = None,
    is_text: bool = False,
) -> Part:
    """An attachment; inline, to be shown where `cid:` refers to it, when it has a `content_id`.

    `is_text` says that `data` is UTF-8. Raises ValueError naming what is wrong.
    """
    kind, parameters = _split_content_type(content_type)
    if is_text and kind.startswith("text/") and "charset" not in parameters.lower():
        parameters += ';\r\n\tcharset="utf-8"'
    name = parameter("name", file_name) if file_name else ""
    disposition = "inline" if content_id else "attachment"
    encoding, body = _encode_attachment(data, kind)
    head = f"Content-Type: {kind}{parameters}{name}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    head += f"Content-Disposition: {disposition}{parameter('filename', file_name) if file_name else ''}\r\n"
    if content_id:
        head += f"Content-ID: <{_checked_content_id(content_id)}>\r\n"
    return Part(kind, head.encode(), body)


def multipart(subtype: str, parts: Sequence[Part]) -> Part:
    """A `multipart/subtype` of `parts`, the first of them its root."""
    # "=_" can stand neither in base64 nor in quoted-printable (RFC 2045 s6.7).
    boundary = f"=_{os.urandom(12).hex()}"
    root = f';\r\n\ttype="{parts[0].content_type}"' if subtype == "related" else ""
    head = f'Content-Type: multipart/{subtype};\r\n\tboundary="{boundary}"{root}\r\n'
    mark = f"--{boundary}".encode()
    chunks = []
    for part in parts:
        # The last line end belongs to the next boundary (RFC 2046 s5.1.1), so a text keeps its own.
        chunks += [mark, b"\r\n", part.headers, b"\r\n", part.body, b"\r\n"]
    chunks += [mark, b"--\r\n"]
    return Part(f"multipart/{subtype}", head.encode(), b"".join(chunks))


def assemble(texts: Sequence[Part], attachments: Sequence[Part], inline: Sequence[Part]) -> Part:
    """The root part: alternatives of one text, what they show inline, and what is attached.

    `texts` in rising order of preference (RFC 2046 s5.1.4), at least one.
    """
    root = texts[0] if len(texts) == 1 else multipart("alternative", texts)
    if inline:
        root = multipart("related", (root, *inline))
    return multipart("mixed", (root, *attachments)) if attachments else root


def message(headers: Sequence[bytes], root: Part) -> bytes:
    """A whole message: encoded header fields, Mime-Version, and the root part."""
    return b"".join((*headers, MIME_VERSION, root.headers, b"\r\n", root.body))


def _encode_attachment(data: bytes, kind: str) -> tuple[str, bytes]:
    # RFC 2046 s5.2.1: a message may not be encoded in base64 as a whole.
    if kind.lower() == "message/rfc822":
        text = normalise_line_ends(data)
        if is_plain_text(text):
            return "7bit", text if text.endswith(b"\r\n") else text + b"\r\n"
    return transfer_encode_binary(data)


def _split_content_type(content_type: str) -> tuple[str, str]:
    match = _CONTENT_TYPE.match(check_header_text(content_type))
    if match is None or len(content_type) > MAX_CONTENT_TYPE:
        raise ValueError(f"{content_type!r} is not a content type like 'image/png'")
    if match[1].lower().startswith("multipart/"):
        raise ValueError(f"an attachment cannot be {match[1]}")
    return match[1], match[2].rstrip(" \t;")


def _checked_content_id(content_id: str) -> str:
    bare = content_id.removeprefix("<").removesuffix(">")
    if not _CONTENT_ID.match(bare):
        raise ValueError(f"{content_id!r} cannot be a content id")
    return bare
