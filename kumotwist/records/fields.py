"""Which of a message's headers and metadata a log or hook copies into its records.

A name is taken as it stands or, with a trailing `*`, by its beginning. Header
names match in any case and keep the spelling of the message's first instance;
several instances make a list. Null metadata is left out.

Public: `Selection`, `LoadBody`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final, TypeAlias

from attrs import field, frozen

from kumotwist.core.errors import SpoolCorrupt, SpoolUnhealthy
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message

#: Reads a body from the store, as `MessageStore.load_body` does.
LoadBody: TypeAlias = Callable[[Message], Awaitable[bytes]]

#: Octets of a message that are searched for headers. Ours: far above what a header block has
#: (KumoMTA and Postfix take about 100 KiB), so that a body without any costs little.
_MAX_HEADERS: Final = 256 * 1024
_NAME: Final = rb"[!-9;-~]*"
_VALUE: Final = rb"[ \t]*:[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)"


@frozen
class Selection:
    """A list of names and wildcards."""

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False)
    _prefixes: tuple[str, ...] = field(init=False)
    _search: re.Pattern[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        exact = frozenset(one for one in self.patterns if not one.endswith("*"))
        prefixes = tuple(one[:-1] for one in self.patterns if one.endswith("*"))
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_prefixes", prefixes)
        names = [re.escape(one.encode()) for one in exact] + [re.escape(one.encode()) + _NAME for one in prefixes]
        search = re.compile(rb"^(" + rb"|".join(names) + rb")" + _VALUE, re.MULTILINE | re.IGNORECASE)
        object.__setattr__(self, "_search", search)

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
        end = body.find(b"\r\n\r\n", 0, _MAX_HEADERS)
        for match in self._search.finditer(body, 0, end if end >= 0 else _MAX_HEADERS):
            if not match[1]:
                continue
            name = match[1].decode("utf-8", "replace")
            found.setdefault(match[1].lower(), (name, []))[1].append(_decoded(match[2]))
        return _flat(found.values())

    async def of_message(self, message: Message, load_body: LoadBody) -> JsonObject:
        """The chosen headers of `message`, whose body is read for that if need be; {} when it cannot be."""
        body = message.body
        if body is None:
            try:
                body = await load_body(message)
            except (SpoolCorrupt, SpoolUnhealthy):
                return {}
            message.body = None
        return self.of_headers(body)


def _flat(found: Iterable[tuple[str, list[Json]]]) -> JsonObject:
    return {name: values[0] if len(values) == 1 else values for name, values in found}


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
