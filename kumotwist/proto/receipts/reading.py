"""Reading what providers send: nothing is taken for granted, and what is not there is "" or None.

Public: `text`, `each`, `parsed`, `moment`, `our_id`, `plain`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from kumotwist.core.ids import SpoolId, from_hex
from kumotwist.core.json import JsonObject, at

#: Above it a number counts milliseconds: it is the year 5138 in seconds, and 1973 in milliseconds.
_MILLISECONDS: Final = 1e11
#: What is beyond is no time; an int may be too large for a float.
_LARGEST: Final = 1e15


def text(value: Any, *path: str | int) -> str:
    """The text or number at `path`, as text."""
    found = at(value, *path)
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else ""


def each(value: Any, *path: str | int) -> Iterator[Any]:
    """The entries of the list at `path`; what is no list counts as the one entry of one."""
    found = at(value, *path)
    if isinstance(found, list):
        yield from found
    elif found is not None:
        yield found


def parsed(written: str) -> Any:
    """The JSON inside a text; None when it is none."""
    try:
        return msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def moment(value: Any) -> float | None:
    """Unix seconds of a number of (milli)seconds, an ISO 8601 time (UTC unless it says) or an RFC 5322 date."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        if not -_LARGEST < value < _LARGEST:
            return None
        seconds = value / 1000.0 if abs(value) >= _MILLISECONDS else float(value)
        return seconds if 0 < seconds < _MILLISECONDS else None
    if not isinstance(value, str) or not value.strip():
        return None
    written = value.strip()
    try:
        return moment(float(written))
    except ValueError:
        return _date(written)


def _date(written: str) -> float | None:
    for read in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(written)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return (found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)).timestamp()
    return None


def our_id(value: Any) -> SpoolId | None:
    """The spool id that we gave along, if that is what came back."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        return from_hex(value)
    except ValueError:
        return None


def plain(value: Any, names: Iterable[str]) -> JsonObject:
    """Those of `names` that `value` has, as facts of an event."""
    if not isinstance(value, Mapping):
        return {}
    return {name: value[name] for name in names if isinstance(value.get(name), (str, int, float, bool))}
