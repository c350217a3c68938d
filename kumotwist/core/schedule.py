"""When a message may be attempted: the scheduling constraints a policy sets.

Public: `Schedule`, with `parse`, `next_allowed` and `to_json`. Everything is
in Unix seconds except the daily window, which is wall time in an IANA zone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import frozen

from kumotwist.core.json import Json

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW_KEYS: Final = ("dow", "tz", "start", "end")
_KEYS: Final = frozenset(("first_attempt", "expires", *_WINDOW_KEYS))


def parse_rfc3339(text: str) -> float:
    """Unix seconds of an RFC 3339 timestamp. Raises ValueError when it has no offset."""
    moment = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; write it like 2026-01-31T09:00:00Z")
    return moment.timestamp()


def format_rfc3339(seconds: float) -> str:
    """The UTC timestamp with microseconds and `Z`."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


@frozen
class Window:
    """Days and hours in which attempts are allowed; `start <= end` within one day."""

    days: frozenset[int]
    start: dt.time
    end: dt.time
    zone: str

    def next_allowed(self, due: float) -> float:
        """`due` itself when it is inside the window, else the next opening."""
        local = dt.datetime.fromtimestamp(due, ZoneInfo(self.zone))
        for ahead in range(9):
            day = local.date() + dt.timedelta(days=ahead)
            if day.weekday() not in self.days:
                continue
            opening = dt.datetime.combine(day, self.start, local.tzinfo)
            closing = dt.datetime.combine(day, self.end, local.tzinfo)
            if local <= closing:
                return max(due, opening.timestamp())
        return due


@frozen
class Schedule:
    """Constraints on one message; all None means none."""

    first_attempt: float | None = None
    expires: float | None = None
    window: Window | None = None

    @classmethod
    def parse(cls, spec: Mapping[str, Json]) -> Schedule:
        """From `{first_attempt, expires, dow, tz, start, end}`, times in RFC 3339.

        The four window keys come together or not at all. Raises ValueError.
        """
        unknown = set(spec) - _KEYS
        if unknown:
            raise ValueError(f"unknown scheduling key {sorted(unknown)[0]!r}; known: {', '.join(sorted(_KEYS))}")
        return cls(_moment(spec, "first_attempt"), _moment(spec, "expires"), _window(spec))

    def next_allowed(self, due: float) -> float:
        """The first moment at or after `due` at which an attempt is allowed."""
        if self.first_attempt is not None and due < self.first_attempt:
            due = self.first_attempt
        return self.window.next_allowed(due) if self.window else due

    def to_json(self) -> dict[str, Json]:
        """The form `parse` reads, without absent keys."""
        spec: dict[str, Json] = {}
        if self.first_attempt is not None:
            spec["first_attempt"] = format_rfc3339(self.first_attempt)
        if self.expires is not None:
            spec["expires"] = format_rfc3339(self.expires)
        if self.window is not None:
            spec["dow"] = ",".join(_DAYS[day] for day in sorted(self.window.days))
            spec["start"] = self.window.start.isoformat()
            spec["end"] = self.window.end.isoformat()
            spec["tz"] = self.window.zone
        return spec


def _moment(spec: Mapping[str, Json], key: str) -> float | None:
    value = spec.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} must be an RFC 3339 text, got {value!r}")
    return parse_rfc3339(value)


def _window(spec: Mapping[str, Json]) -> Window | None:
    given = [key for key in _WINDOW_KEYS if spec.get(key) is not None]
    if not given:
        return None
    if len(given) != len(_WINDOW_KEYS):
        raise ValueError(f"dow, tz, start and end go together; only {', '.join(given)} given")
    days = frozenset(_weekday(name) for name in str(spec["dow"]).split(","))
    start, end = (dt.time.fromisoformat(str(spec[key])) for key in ("start", "end"))
    if start > end:
        raise ValueError(f"start {start} is after end {end}; a window lies within one day")
    zone = str(spec["tz"])
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"unknown time zone {zone!r}; use an IANA name like 'Europe/Berlin'") from None
    return Window(days, start, end, zone)


def _weekday(name: str) -> int:
    key = name.strip().lower()[:3]
    if key not in _DAYS:
        raise ValueError(f"unknown day {name!r}; write Mon,Tue,...")
    return _DAYS.index(key)
