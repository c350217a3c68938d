"""Content-Type, Content-Disposition and their parameters, read from raw header values.

RFC 2045 s5.1 and RFC 2183, with RFC 2231 (continuations, charsets) and the RFC
2047 words in file names that its s5 forbids and that are sent all the same.

Public: `read`, `Parameterised`. Nothing goes wrong: what cannot be read is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from kumotwist.proto.mime.charset import decode_text
from kumotwist.proto.mime.headers import decode

#: Octets of a header value that are read. Ours: a long file name in RFC 2231 form takes 3 KB.
MAX_VALUE: Final = 16_384
#: Continuations of one parameter. Ours; at 60 octets each that is a value of 6,000.
MAX_CONTINUATIONS: Final = 100

_PARAMETER: Final = re.compile(
    rb'[\s;]*(?:\((?:[^()\\]|\\.)*\)\s*)*([!#$%&\'*+\-.^_`{|}~0-9A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^\s;"][^;]*))?',
    re.DOTALL,
)
_MARKS: Final = re.compile(rb"[\s;]+")
_KIND: Final = re.compile(rb"\s*([^\s;()]*)")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_SECTION: Final = re.compile(r"([^*]+)(?:\*(0|[1-9]\d{0,2}))?(\*)?\Z")


@frozen
class Parameterised:
    """A header value such as `text/plain; charset=utf-8`; `kind` and the names of parameters in lower case."""

    kind: str = ""
    parameters: Mapping[str, str] = {}

    def get(self, name: str) -> str:
        """The value of a parameter, "" when there is none."""
        return self.parameters.get(name, "")


def read(raw: bytes) -> Parameterised:
    """The value in its parts. Of a parameter that stands there twice the first one counts."""
    raw = _FOLD.sub(b"", raw[:MAX_VALUE])
    start = _KIND.match(raw)
    assert start is not None  # it matches the empty string
    kind = start[1].decode("ascii", "replace").lower()
    plain: dict[str, str] = {}
    coded: dict[str, dict[int, tuple[bool, bytes]]] = {}
    position = raw.find(b";", start.end())
    while position >= 0:
        match = _PARAMETER.match(raw, position)
        if match is None:
            position = raw.find(b";", _behind_marks(raw, position))
            continue
        _take(match, plain, coded)
        position = raw.find(b";", match.end())
    # RFC 2231 s4: the coded form is the better one when both are there.
    plain.update((name, value) for name, sections in coded.items() if (value := _joined(sections)))
    return Parameterised(kind, plain)


def _behind_marks(raw: bytes, position: int) -> int:
    """Behind a run of semicolons and blanks, so that each is looked at once."""
    match = _MARKS.match(raw, position)
    return match.end() if match is not None else position + 1


def _take(match: re.Match[bytes], plain: dict[str, str], coded: dict[str, dict[int, tuple[bool, bytes]]]) -> None:
    name = match[1].decode("ascii").lower()
    value = _ESCAPE.sub(rb"\1", match[2]) if match[2] is not None else (match[3] or b"").rstrip()
    section = _SECTION.match(name)
    if section is None or (section[2] is None and section[3] is None):
        plain.setdefault(name, _printable(decode(value)))
        return
    number = int(section[2] or 0)
    if number < MAX_CONTINUATIONS:
        coded.setdefault(section[1], {}).setdefault(number, (section[3] is not None, value))


def _joined(sections: Mapping[int, tuple[bool, bytes]]) -> str:
    """The sections from 0 on without a gap, percent-decoded where they say so."""
    if 0 not in sections:
        return ""
    charset, octets = "", b""
    is_coded, first = sections[0]
    if is_coded and first.count(b"'") >= 2:
        label, _, first = first.split(b"'", 2)
        charset = label.decode("ascii", "replace")
    octets = unquote_to_bytes(first) if is_coded else first
    for number in range(1, MAX_CONTINUATIONS):
        if number not in sections:
            break
        is_coded, value = sections[number]
        octets += unquote_to_bytes(value) if is_coded else value
    return _printable(decode_text(octets, charset).text)


def _printable(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()
