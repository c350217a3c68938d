"""Zone texts and hosts files: names and records that need no server.

Public: `Zone`, `parse_zone`, `parse_hosts`. The zone reader takes what tests and
KumoMTA's `configure_test_resolver` need of RFC 1035 s5: `$ORIGIN`, `$TTL`,
comments, `@`, relative names, left-out owners, quoted strings. Records of a
type not named in `TYPES` are passed over. A line it cannot read raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

#: Records by lower-case name without trailing dot, then by type, as the text behind the type.
Zone: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]

TYPES: Final = ("A", "AAAA", "CNAME", "MX", "PTR", "TXT")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|;.*|[^\s;"]+')
_TTL: Final = re.compile(r"\d+[smhdwSMHDW]?\Z")
_CLASSES: Final = ("IN", "CH", "HS")


def parse_zone(*texts: str) -> Zone:
    """The records of all `texts` taken together."""
    zone: dict[str, dict[str, list[str]]] = {}
    for text in texts:
        origin, owner = "", ""
        for line in text.splitlines():
            tokens = [token for token in _TOKEN.findall(line) if not token.startswith(";")]
            if not tokens:
                continue
            if tokens[0] == "$ORIGIN":
                origin = tokens[1].rstrip(".").lower()
            elif not tokens[0].startswith("$"):
                if not line[0].isspace():
                    owner = _absolute(tokens.pop(0), origin)
                _add(zone, owner, tokens, origin, line)
    return zone


def parse_hosts(text: str) -> Mapping[str, Sequence[str]]:
    """Addresses by lower-case name, in the order of a hosts(5) file."""
    hosts: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            hosts.setdefault(name.lower().rstrip("."), []).append(address)
    return hosts


def _add(zone: dict[str, dict[str, list[str]]], owner: str, tokens: list[str], origin: str, line: str) -> None:
    while tokens and (_TTL.match(tokens[0]) or tokens[0].upper() in _CLASSES):
        tokens.pop(0)
    if len(tokens) < 2:
        raise ValueError(f"not a record: {line.strip()!r}; write it like 'example.com. 60 MX 10 mx.example.com.'")
    kind, *values = tokens
    kind = kind.upper()
    if kind not in TYPES:
        return
    if kind == "TXT":
        values = ["".join(_unquoted(value) for value in values)]
    elif kind in ("CNAME", "MX", "PTR"):
        values[-1] = _absolute(values[-1], origin) + "."
    zone.setdefault(owner, {}).setdefault(kind, []).append(" ".join(values))


def _absolute(name: str, origin: str) -> str:
    """Lower-case and without the trailing dot."""
    if name == "@":
        return origin
    if name.endswith(".") or not origin:
        return name.rstrip(".").lower()
    return f"{name.lower()}.{origin}"


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
