"""DKIM signatures (RFC 6376): the text that is signed, and the header that tells of it. Keys are somebody else's.

A signature covers the body by its hash, and the chosen headers as they stand.
Both are brought into a canonical form first, which is all that a verifier sees
of them, so white space may change on the way with `relaxed`.

Line ends are counted as CRLF whatever they are: that is how SMTP sends them.
Public: `Form`, `Terms`, `signature_header`, `canonical_body`. Nothing goes wrong.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from kumotwist.proto.mime.headers import block_end

Form: TypeAlias = Literal["relaxed", "simple"]

#: Octets of one line of the header; RFC 5322 s2.1.1 asks for 78.
_WIDTH: Final = 72
_LINE_END: Final = re.compile(rb"\r?\n")
_BLANKS: Final = re.compile(rb"[ \t]+")
_TRAILING: Final = re.compile(rb"[ \t]+(?=\r\n|\Z)")
#: A field with its folded lines, and without its line end.
_FIELD: Final = re.compile(rb"^([!-9;-~]+)([ \t]*:)((?:[^\r\n]|\r\n[ \t])*)", re.MULTILINE)


@frozen(kw_only=True)
class Terms:
    """What a signature says beside the hashes. `tags` go in as they stand, name and value."""

    algorithm: str
    domain: str
    selector: str
    headers: Sequence[str]
    header_form: Form = "relaxed"
    body_form: Form = "relaxed"
    over_sign: bool = False
    says_length: bool = False
    tags: Sequence[tuple[str, str]] = ()


def canonical_body(body: bytes, form: Form) -> bytes:
    """RFC 6376 s3.4.3 and s3.4.4; `body` has CRLF line ends."""
    if form == "relaxed":
        body = _BLANKS.sub(b" ", _TRAILING.sub(b"", body))
    text = body.rstrip(b"\r\n") if body.endswith(b"\r\n") else body
    if not text:
        return b"" if form == "relaxed" else b"\r\n"
    # A CR that ends the last line by itself is part of it: only whole empty lines go.
    rest = body[len(text) :]
    while rest.endswith(b"\r\n\r\n"):
        rest = rest[:-2]
    return text + (rest or b"\r\n")


def _canonical_field(field: re.Match[bytes], form: Form) -> bytes:
    if form == "simple":
        return field[0]
    value = _BLANKS.sub(b" ", field[3].replace(b"\r\n", b"")).strip(b" \t")
    return b"%b:%b" % (field[1].lower(), value)


def _names(terms: Terms, present: Counter[str]) -> list[str]:
    """What `h=` lists: with over-signing, each name once more than there are such headers."""
    if not terms.over_sign:
        return list(terms.headers)
    distinct = {name.lower(): name for name in terms.headers}
    return [name for lowered, name in distinct.items() for _ in range(present[lowered] + 1)]


def _chosen(fields: Sequence[re.Match[bytes]], names: Sequence[str]) -> Iterator[re.Match[bytes]]:
    """The fields that the names stand for: the last one first, then those above (s5.4.2)."""
    left: dict[str, list[re.Match[bytes]]] = {}
    for field in fields:
        left.setdefault(field[1].decode("ascii").lower(), []).append(field)
    for name in names:
        if found := left.get(name.lower()):
            yield found.pop()


def _folded_names(names: Sequence[str]) -> str:
    """The names with colons between, on lines of bounded length."""
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) > _WIDTH:
            lines.append("")
        lines[-1] += f"{name}:"
    return "\r\n\t".join(lines).removesuffix(":")


def _folded(base64: str) -> bytes:
    lines = [base64[at : at + _WIDTH] for at in range(0, len(base64), _WIDTH)]
    return "\r\n\t".join(lines).encode("ascii")


def signature_header(message: bytes, terms: Terms, sign: Callable[[bytes], bytes]) -> bytes:
    """The whole DKIM-Signature field with its line end; `sign` makes a signature of the octets it is given."""
    text = _LINE_END.sub(b"\r\n", message)
    end = block_end(text)
    fields = list(_FIELD.finditer(text[:end]))
    body = canonical_body(text[end + 2 :], terms.body_form)
    names = _names(terms, Counter(field[1].decode("ascii").lower() for field in fields))
    tags = [
        ("v", "1"),
        ("a", terms.algorithm),
        ("c", f"{terms.header_form}/{terms.body_form}"),
        ("d", terms.domain),
        ("s", terms.selector),
        *terms.tags,
        *([("l", str(len(body)))] if terms.says_length else []),
        ("h", _folded_names(names)),
        ("bh", b64encode(hashlib.sha256(body).digest()).decode("ascii")),
        ("b", ""),
    ]
    unsigned = ("DKIM-Signature: " + ";\r\n\t".join(f"{name}={value}" for name, value in tags)).encode("ascii")
    own = _FIELD.match(unsigned)
    assert own is not None
    covered = [_canonical_field(field, terms.header_form) + b"\r\n" for field in _chosen(fields, names)]
    signature = sign(b"".join(covered) + _canonical_field(own, terms.header_form))
    return unsigned + _folded(b64encode(signature).decode("ascii")) + b"\r\n"
