"""A message built anew from what can be read of it, so that it conforms.

What conforms keeps its octets: header fields one by one, bodies part by part.
Texts that do not go out in UTF-8, everything else in base64. Preambles and
epilogues of multiparts go.

Public: `repair`, `put_field`. What can go wrong: TooComplex for a message with
more parts than mail has.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Mapping
from typing import Final

from kumotwist.proto.mime import addresses, headers, parameters
from kumotwist.proto.mime.conformance import (
    IDENTITIES,
    encoding_of,
    field_lines,
    fits_wire,
    has_valid_structure,
    is_readable,
    is_text,
    is_valid_field,
    octets_of,
    split_field,
    strict_text,
)
from kumotwist.proto.mime.encode import (
    mailbox,
    mailbox_list,
    normalise_line_ends,
    parameter,
    transfer_encode_binary,
    unstructured,
)
from kumotwist.proto.mime.guess import Guess
from kumotwist.proto.mime.tree import Node, parse

#: Messages within messages that are repaired, too; what is deeper goes out in base64. Ours: a bounce of a bounce.
_MAX_NESTED: Final = 3
#: RFC 2046 s5.1.1.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]\Z")
_KIND: Final = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z/]+\Z")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+")
_ADDRESSES: Final = frozenset(
    (
        *("from", "to", "cc", "bcc", "sender", "reply-to", "resent-from", "resent-to", "resent-cc"),
        *("resent-bcc", "resent-sender", "resent-reply-to"),
    )
)
_PARAMETERISED: Final = frozenset(("content-type", "content-disposition"))
#: A field to be put in another's place; None takes it away.
_Fields = Mapping[str, bytes | None]


def repair(message: bytes, guess: Guess | None = None) -> bytes:
    """`message` in a form that conforms. `guess` tells charsets that nothing names. Raises TooComplex."""
    repaired = _Repair(guess).part(parse(message))
    return repaired if repaired.endswith(b"\r\n") else repaired + b"\r\n"


def put_field(message: bytes, name: str, value: str) -> bytes:
    """`message` with one field `name`, in the place of those that it has."""
    rest = headers.remove(message, lambda one: one == name.lower())
    if next(headers.fields(rest[: headers.block_end(rest)]), None) is None and not rest.startswith((b"\r\n", b"\n")):
        # No field at all: what stands there is text, and must not become a field.
        rest = b"\r\n" + rest
    return headers.append(rest, name, value)


class _Repair:
    """The repair of one message."""

    def __init__(self, guess: Guess | None) -> None:
        self._guess = guess
        self._nested = 0

    def part(self, node: Node) -> bytes:
        """Head and body of a part, without the line end that belongs to the delimiter behind it."""
        if node.children:
            return self._multipart(node)
        if fits_wire(node.content) and has_valid_structure(node) and is_readable(node):
            return self._head(node, {}) + b"\r\n" + node.content
        if node.kind == "message/rfc822" and encoding_of(node) in IDENTITIES and self._nested < _MAX_NESTED:
            return self._message(node)
        return self._leaf(node)

    def _multipart(self, node: Node) -> bytes:
        children = [self.part(child) for child in node.children]
        boundary = node.type.get("boundary")
        fields: dict[str, bytes | None] = {"content-transfer-encoding": None}
        if not _BOUNDARY.match(boundary) or _occurs(b"--" + boundary.encode(), children):
            # "=_" can stand neither in base64 nor in quoted-printable (RFC 2045 s6.7).
            boundary = f"=_{os.urandom(12).hex()}"
            fields["content-type"] = _structural(
                "Content-Type", node.kind, {**node.type.parameters, "boundary": boundary}
            )
        mark = b"--" + boundary.encode()
        body = b"".join([b"%b\r\n%b\r\n" % (mark, child) for child in children])
        return b"%b\r\n%b%b--" % (self._head(node, fields), body, mark)

    def _message(self, node: Node) -> bytes:
        self._nested += 1
        nested = self.part(parse(node.content))
        self._nested -= 1
        return self._head(node, {"content-transfer-encoding": None}) + b"\r\n" + nested

    def _leaf(self, node: Node) -> bytes:
        octets, _ = octets_of(node)
        text = self._text(octets, node.type.get("charset")) if is_text(node) else None
        if text is None:
            encoding, body = transfer_encode_binary(octets)
            kept = dict(node.type.parameters)
        else:
            encoding, body = _encoded(text.encode("utf-8", "replace"), encoding_of(node) == "base64")
            kept = {**node.type.parameters, "charset": "us-ascii" if text.isascii() else "utf-8"}
        fields = {
            "content-type": _structural("Content-Type", node.kind, kept),
            "content-transfer-encoding": f"Content-Transfer-Encoding: {encoding}\r\n".encode(),
        }
        return self._head(node, fields) + b"\r\n" + body

    def _text(self, octets: bytes, label: str) -> str | None:
        """Its text: in its charset, else in UTF-8, else as guessed; None when it is none of these."""
        for charset in (label, "utf-8"):
            text = strict_text(octets, charset)
            if text is not None:
                return text
        return self._guess.text(octets) if self._guess is not None else None

    def _head(self, node: Node, replaced: _Fields) -> bytes:
        """The fields of `node`, each as it stands when it conforms; those of `replaced` once, in their place."""
        fields, left = [], dict(replaced)
        for line in field_lines(node.head):
            field = split_field(line)
            if field is None:
                continue
            name, value = field
            lowered = name.decode("ascii").lower()
            if lowered in replaced:
                fields.append(left.pop(lowered, None) or b"")
            elif line == b"%b:%b" % (name, value) and fits_wire(line) and is_valid_field(lowered, value):
                fields.append(line + b"\r\n")
            else:
                fields.append(self._field(name.decode("ascii"), lowered, value))
        return b"".join((*fields, *[field for field in left.values() if field]))

    def _field(self, name: str, lowered: str, value: bytes) -> bytes:
        """One field anew; nothing when its name is too long for one."""
        raw = self._utf8(value)
        try:
            if lowered in _PARAMETERISED:
                read = parameters.read(raw)
                return _structural(name, read.kind, read.parameters)
            if lowered in _ADDRESSES:
                found, unreadable = addresses.read(raw)
                if found and not unreadable:
                    return mailbox_list(name, [mailbox(one.name, one.email) for one in found])
            text = headers.decode(raw) if not raw.isascii() else raw.decode("ascii")
            return unstructured(name, _CONTROLS.sub(" ", text.replace("\r\n", "").replace("\n", "")))
        except ValueError:
            return b""

    def _utf8(self, value: bytes) -> bytes:
        """`value` in UTF-8, if need be from the charset that it is guessed to be in."""
        if strict_text(value, "utf-8") is not None:
            return value
        text = self._guess.text(value) if self._guess is not None else None
        return (text if text is not None else value.decode("latin-1")).encode()


def _encoded(octets: bytes, was_base64: bool) -> tuple[str, bytes]:
    """A text's encoding and encoded form; one that came in base64 keeps its own line ends."""
    if was_base64:
        return transfer_encode_binary(octets)
    text = normalise_line_ends(octets)
    if fits_wire(text):
        return "7bit", text
    # binascii takes its line end from the first one in the text.
    quoted = binascii.b2a_qp(text, quotetabs=False, istext=True)
    if b"\r\n" not in text:
        quoted = quoted.replace(b"\n", b"\r\n")
    encoded = transfer_encode_binary(text)
    return ("quoted-printable", quoted) if len(quoted) <= len(encoded[1]) else encoded


def _structural(name: str, kind: str, values: Mapping[str, str]) -> bytes:
    """A Content-Type or Content-Disposition. Raises ValueError for a value that cannot stand in a field."""
    kind = kind if _KIND.match(kind) else "attachment"
    return f"{name}: {kind}{''.join([parameter(key, value) for key, value in values.items()])}\r\n".encode()


def _occurs(mark: bytes, children: list[bytes]) -> bool:
    """Whether a line of one of `children` begins with `mark`."""
    return any(child.startswith(mark) or b"\n" + mark in child for child in children)
