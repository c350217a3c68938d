"""Comparing what came with what a test expects, and showing both.

Public: `is_same`, `has_part`, `is_in`, `shown`, `named`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kumotwist.lua.binding import octets, text

_NUMBERS: Final = (int, float)
#: Characters of a value in a report.
_MAX_SHOWN: Final = 1000


def is_same(one: object, other: object) -> bool:
    """Whether both are the same, tables entry by entry."""
    if isinstance(one, (list, dict)) and isinstance(other, (list, dict)) and not one and not other:
        return True  # Lua has one empty table
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    is_alike = type(one) is type(other) or (type(one) in _NUMBERS and type(other) in _NUMBERS)
    return is_alike and one == other


def has_part(whole: object, part: object) -> bool:
    """Whether every field of `part` is in `whole`, tables inside likewise."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(name in whole and has_part(whole[name], value) for name, value in part.items())
    return is_same(whole, part)


def is_in(part: object, whole: object) -> bool:
    """Whether a text is in a text, or an entry in a list. Raises ValueError for other things."""
    if isinstance(whole, list):
        return any(is_same(one, part) for one in whole)
    return octets(part, "part") in octets("" if whole is None else whole, "got")


def named(what: object) -> str:
    """What a comparison is about, before its result."""
    return "" if what is None else f"{text(what, 'what')}: "


def shown(value: object) -> str:
    """A value as a report has it."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        found = value.decode(errors="replace") if isinstance(value, bytes) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        found = str(value)
    return found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}..."
