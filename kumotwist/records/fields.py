"""Which of a message's headers and metadata a log or hook copies into its records.

A name is taken as it stands or, with a trailing `*`, by its beginning. Header
names match in any case and keep the spelling of the message's first instance;
several instances make a list. Null metadata is left out.

Public: `Selection`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

from attrs import field, frozen

from kumotwist.core.json import Json, JsonObject

_HEADER: Final = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)\r?\n?")


@frozen
class Selection:
    """A list of names and wildcards."""

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False)
    _prefixes: tuple[str, ...] = field(init=False)
    _lower: frozenset[bytes] = field(init=False)
    _lower_prefixes: tuple[bytes, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        exact = frozenset(one for one in self.patterns if not one.endswith("*"))
        prefixes = tuple(one[:-1] for one in self.patterns if one.endswith("*"))
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_prefixes", prefixes)
        object.__setattr__(self, "_lower", frozenset(one.lower().encode() for one in exact))
        object.__setattr__(self, "_lower_prefixes", tuple(one.lower().encode() for one in prefixes))

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def of_meta(self, meta: JsonObject) -> JsonObject:
        """The chosen entries of `meta`."""
        if not self._prefixes:
            return {name: meta[name] for name in self.patterns if meta.get(name) is not None}
        return {
            name: value
            for name, value in meta.items()
            if value is not None and (name in self._exact or name.startswith(self._prefixes))
        }

    def of_headers(self, body: bytes) -> JsonObject:
        """The chosen headers of a message, decoded."""
        found: dict[bytes, tuple[str, list[Json]]] = {}
        for name, value in _headers(body):
            key = name.lower()
            if key in self._lower or key.startswith(self._lower_prefixes):
                found.setdefault(key, (name.decode("ascii"), []))[1].append(_decoded(value))
        return _flat(found.values())


def _flat(found: Iterable[tuple[str, list[Json]]]) -> JsonObject:
    return {name: values[0] if len(values) == 1 else values for name, values in found}


def _headers(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and raw values down to the first line that is no header."""
    position = 0
    while (match := _HEADER.match(body, position)) is not None:
        yield match[1], match[2]
        position = match.end()


def _decoded(value: bytes) -> str:
    """Unfolded, RFC 2047 words decoded, what is no UTF-8 replaced."""
    text = value.decode("utf-8", "replace").replace("\r\n", "").replace("\n", "").strip()
    if "=?" not in text:
        return text
    try:
        decoded = str(make_header(decode_header(text)))
        decoded.encode()
    except (HeaderParseError, ValueError, LookupError):
        return text
    return decoded
