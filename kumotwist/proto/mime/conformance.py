"""Where a message strays from the RFCs, in KumoMTA's words.

`message:check_fix_conformance` asks for it. Nothing is judged that was not
asked for: line ends cost three counts, the structure is taken apart only for
what depends on it.

Public: `Issue`, `MISSING_FIELDS`, `parse_issues`, `in_words`, `find_issues`, and what `repair`
judges parts and fields by. What can go wrong: ValueError for an unknown name. A
message with more parts than mail has is judged as a whole only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from kumotwist.proto.mime.charset import codec_of
from kumotwist.proto.mime.headers import block_end, first_raw
from kumotwist.proto.mime.transfer import decode_body
from kumotwist.proto.mime.tree import Node, TooComplex, parse


class Issue(StrEnum):
    """KumoMTA's conformance flags."""

    INVALID_MIME_HEADERS = "INVALID_MIME_HEADERS"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    MISSING_COLON_VALUE = "MISSING_COLON_VALUE"
    MISSING_DATE_HEADER = "MISSING_DATE_HEADER"
    MISSING_MESSAGE_ID_HEADER = "MISSING_MESSAGE_ID_HEADER"
    MISSING_MIME_VERSION = "MISSING_MIME_VERSION"
    NAME_ENDS_WITH_SPACE = "NAME_ENDS_WITH_SPACE"
    NEEDS_TRANSFER_ENCODING = "NEEDS_TRANSFER_ENCODING"
    NON_CANONICAL_LINE_ENDINGS = "NON_CANONICAL_LINE_ENDINGS"


#: Those that one more header field settles.
MISSING_FIELDS: Final = frozenset(
    (Issue.MISSING_DATE_HEADER, Issue.MISSING_MESSAGE_ID_HEADER, Issue.MISSING_MIME_VERSION)
)
_STRUCTURAL: Final = frozenset(
    (
        Issue.INVALID_MIME_HEADERS,
        Issue.MISSING_COLON_VALUE,
        Issue.NAME_ENDS_WITH_SPACE,
        Issue.NEEDS_TRANSFER_ENCODING,
    )
)

#: RFC 2045 s6.1.
IDENTITIES: Final = frozenset(("", "7bit", "8bit", "binary"))
_ENCODINGS: Final = IDENTITIES | {"quoted-printable", "base64"}

#: From one LF to the next. KumoMTA counts the CR: 76 characters stay, as in encoded bodies (RFC 2045 s6.7, s6.8).
MAX_LINE: Final = 78
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]")
_FIELD: Final = re.compile(rb"([!-9;-~]+)([ \t]*):(.*)\Z", re.DOTALL)
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_COMMENT: Final = re.compile(rb"\([^()]*\)")
_TOKEN: Final = rb"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]++"
_PARAMETERS: Final = (
    rb"(?:\s*+;(?:\s*+" + _TOKEN + rb'\s*+=\s*+(?:"(?:[^"\\]|\\.)*+"|[^\s;"=\x00-\x1f<>@,?]++))?+)*+\s*+\Z'
)
_CONTENT_TYPE: Final = re.compile(rb"\s*+" + _TOKEN + rb"/" + _TOKEN + _PARAMETERS, re.DOTALL)
_DISPOSITION: Final = re.compile(rb"\s*+" + _TOKEN + _PARAMETERS, re.DOTALL)
_FORMS: Final = {"content-type": _CONTENT_TYPE, "content-disposition": _DISPOSITION}
#: RFC 5322 s3.6.4, as loose as mail programs are within the brackets.
_MESSAGE_ID: Final = re.compile(rb"\s*+<[^<>\s]++>\s*+\Z")
_DATE: Final = re.compile(
    rb"\s*(?:[A-Za-z]{3},)?\s*\d{1,2}\s+[A-Za-z]{3}\s+\d{2,4}\s+"
    rb"\d{1,2}:\d{2}(?::\d{2})?\s+(?:[+-]\d{4}|[A-Za-z]{1,5})\s*\Z"
)
#: Octets of a header block that are judged where the message is not taken apart. Ours.
_MAX_HEAD: Final = 1_048_576
#: Octets of a Date field that are read; with its comment it has some fifty.
_MAX_DATE: Final = 200


def parse_issues(text: str) -> frozenset[Issue]:
    """The issues in `A|B`. Raises ValueError in KumoMTA's words."""
    names = [name for name in text.split("|") if name]
    unknown = next((name for name in names if name not in Issue.__members__), None)
    if unknown is not None:
        possible = ", ".join(f"'{issue}'" for issue in Issue)
        raise ValueError(f"invalid MessageConformance flag '{unknown}', possible values are {possible}")
    return frozenset(Issue(name) for name in names)


def in_words(issues: Iterable[Issue]) -> str:
    """`LINE_TOO_LONG|MISSING_DATE_HEADER`."""
    return "|".join(sorted(issues))


def find_issues(message: bytes, wanted: frozenset[Issue]) -> frozenset[Issue]:
    """Those of `wanted` that `message` has."""
    found = {issue for issue in wanted - _STRUCTURAL if _has(message, issue)}
    structural = wanted & _STRUCTURAL
    if Issue.NEEDS_TRANSFER_ENCODING in structural and not message.isascii():
        found.add(Issue.NEEDS_TRANSFER_ENCODING)
        structural -= {Issue.NEEDS_TRANSFER_ENCODING}
    if structural:
        try:
            found |= structural & frozenset(_of_parts(parse(message)))
        except TooComplex:
            found |= structural & frozenset(_of_fields(message[: min(block_end(message), _MAX_HEAD)]))
    return frozenset(found)


def _has(message: bytes, issue: Issue) -> bool:
    if issue is Issue.LINE_TOO_LONG:
        return has_long_line(message)
    if issue is Issue.NON_CANONICAL_LINE_ENDINGS:
        return not has_canonical_line_ends(message)
    if issue is Issue.MISSING_DATE_HEADER:
        return not _is_date(first_raw(message, "date"))
    if issue is Issue.MISSING_MESSAGE_ID_HEADER:
        value = first_raw(message, "message-id")
        return value is None or not _MESSAGE_ID.match(_FOLD.sub(b"", value))
    value = first_raw(message, "mime-version")
    return value is None or value.strip() != b"1.0"


def has_canonical_line_ends(data: bytes) -> bool:
    """Whether every CR and LF stands in a CRLF."""
    # Counting single octets that are frequent takes twenty times as long.
    return len(data) - len(data.translate(None, b"\r\n")) == 2 * data.count(b"\r\n")


def has_long_line(data: bytes) -> bool:
    """Whether KumoMTA finds a line too long; a last line without end is not looked at."""
    # From line end to the last one within reach: a pattern takes ten times as long, and a split keeps each line.
    end = data.rfind(b"\n", 0, MAX_LINE + 1)
    while end >= 0:
        start = end
        end = data.rfind(b"\n", start + 1, start + MAX_LINE + 1)
        if end < 0:
            return data.find(b"\n", start + MAX_LINE + 1) >= 0
    return data.find(b"\n", MAX_LINE + 1) >= 0


def _is_date(value: bytes | None) -> bool:
    if value is None or len(value) > _MAX_DATE:
        return False
    bare = _COMMENT.sub(b" ", _FOLD.sub(b"", value))
    if not _DATE.match(bare):
        return False
    try:
        parsedate_to_datetime(bare.decode("ascii"))
    except ValueError:
        return False
    return True


def _of_parts(root: Node) -> Iterator[Issue]:
    for node in root.walk():
        yield from _of_fields(node.head)
        if not has_valid_structure(node):
            yield Issue.INVALID_MIME_HEADERS
        if not node.children and not is_readable(node):
            yield Issue.NEEDS_TRANSFER_ENCODING


def _of_fields(head: bytes) -> Iterator[Issue]:
    for line in field_lines(head):
        match = _FIELD.match(line)
        if match is None:
            yield Issue.NAME_ENDS_WITH_SPACE if b":" in line else Issue.MISSING_COLON_VALUE
        elif match[2]:
            yield Issue.NAME_ENDS_WITH_SPACE


def field_lines(head: bytes) -> Iterator[bytes]:
    """What a header block holds, line by line with the folded ones that follow, without the last line end."""
    lines: list[bytes] = []
    for line in head.split(b"\n"):
        if lines and line[:1] not in (b" ", b"\t"):
            yield b"\n".join(lines).removesuffix(b"\r")
            lines.clear()
        lines.append(line)
    last = b"\n".join(lines).removesuffix(b"\r")
    if last:
        yield last


def split_field(line: bytes) -> tuple[bytes, bytes] | None:
    """Name and raw value of a field; None for a line that is none."""
    match = _FIELD.match(line)
    return None if match is None else (match[1], match[3])


def has_valid_structure(node: Node) -> bool:
    """Whether the fields that say what a part is are as RFC 2045 and 2183 write them."""
    return all(is_valid_field(name, value) for name, value in node.raw.items() if name.startswith("content-"))


def is_valid_field(name: str, value: bytes) -> bool:
    """Whether the raw value of the field `name`, in lower case, has the form that MIME gives it, if it gives one."""
    if name == "content-transfer-encoding":
        return _encoding(value) in _ENCODINGS
    form = _FORMS.get(name)
    return form is None or form.match(_COMMENT.sub(b" ", _FOLD.sub(b"", value))) is not None


def encoding_of(node: Node) -> str:
    """Its Content-Transfer-Encoding in lower case, "" when there is none."""
    return _encoding(node.header("content-transfer-encoding"))


def _encoding(value: bytes) -> str:
    return _COMMENT.sub(b" ", value).decode("latin-1").strip().lower()


def is_readable(node: Node) -> bool:
    """Whether a leaf decodes, and its text is in the charset that it names."""
    octets, is_whole = octets_of(node)
    return is_whole and (not is_text(node) or strict_text(octets, node.type.get("charset")) is not None)


def is_text(node: Node) -> bool:
    """Whether a leaf is a text."""
    return node.kind.startswith("text/")


def octets_of(node: Node) -> tuple[bytes, bool]:
    """What a leaf stands for, and whether its transfer encoding is whole."""
    encoding = encoding_of(node)
    octets, is_whole = decode_body(node.content, encoding if encoding in _ENCODINGS else "")
    return octets, is_whole and not (encoding == "base64" and _NOT_BASE64.search(node.content))


def strict_text(octets: bytes, label: str) -> str | None:
    """The text that `octets` are in the charset `label` (none: US-ASCII); None when they are not."""
    codec = codec_of(label or "us-ascii")
    if codec is None:
        return None
    try:
        return octets.decode(codec)
    except UnicodeError:
        return None


def fits_wire(data: bytes) -> bool:
    """Whether `data`, a field or a body, may stay as it stands: ASCII, CRLF, short lines, no NUL."""
    is_plain = data.isascii() and b"\0" not in data and has_canonical_line_ends(data)
    return is_plain and not has_long_line(b"\n%b\r\n" % data)
