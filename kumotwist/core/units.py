"""Quantities as operators write them: durations, rates, limits.

Public: `parse_duration`, `format_duration`, `Throttle`, `Limit`. All raise
ValueError with the text, what is wrong with it and a correct example.
"""

from __future__ import annotations

import math
import re
from typing import Final

from attrs import frozen

_DURATION_PART: Final = re.compile(r"\s*(\d+)\s*([A-Za-z]+)\s*")
#: The units of the humantime grammar, in seconds.
_DURATION_UNITS: Final[dict[str, float]] = {
    unit: seconds
    for names, seconds in (
        ("nsec ns", 1e-9),
        ("usec us", 1e-6),
        ("msec ms", 1e-3),
        ("seconds second secs sec s", 1.0),
        ("minutes minute mins min m", 60.0),
        ("hours hour hrs hr h", 3600.0),
        ("days day d", 86400.0),
        ("weeks week wks wk w", 604800.0),
        ("months month M", 2630016.0),
        ("years year yrs yr y", 31557600.0),
    )
    for unit in names.split()
}
_RATE_UNITS: Final[dict[str, int]] = {
    unit: seconds
    for names, seconds in (("s sec second", 1), ("m min minute", 60), ("h hr hour", 3600), ("d day", 86400))
    for unit in names.split()
}
_RATE: Final = re.compile(
    r"(?P<local>local:)?(?P<limit>[\d,_]+)\s*/\s*(?P<count>\d*)(?P<unit>[a-z]+)(?:\s*,\s*max_burst=(?P<burst>[\d,_]+))?\Z"
)


def parse_duration(value: float | str) -> float:
    """Seconds from a number of seconds or from `"5 minutes"`, `"1h 30m"`, `"250ms"`."""
    if isinstance(value, bool):
        raise ValueError(f"a duration is a number of seconds or a text like '5 minutes', got {value}")
    if isinstance(value, (int, float)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"a duration cannot be negative or infinite, got {value}")
        return float(value)
    total, position = 0.0, 0
    while match := _DURATION_PART.match(value, position):
        unit = _DURATION_UNITS.get(match[2])
        if unit is None:
            raise ValueError(f"unknown time unit {match[2]!r} in {value!r}; write it like '5 minutes' or '1h 30m'")
        total += int(match[1]) * unit
        position = match.end()
    if position == 0 or position != len(value):
        if value.strip() == "0":
            return 0.0
        raise ValueError(f"{value!r} is not a duration; write it like '5 minutes' or '1h 30m'")
    return total


def format_duration(seconds: float) -> str:
    """The shortest humantime form, `"1h 30m"`; whole seconds, "0s" at least."""
    rest, parts = int(seconds), []
    for unit, size in (("day", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}s" if unit == "day" and count > 1 else f"{count}{unit}")
    return " ".join(parts) or "0s"


def _whole(text: str, spec: str) -> int:
    digits = text.replace(",", "").replace("_", "")
    if not digits:
        raise ValueError(f"no number in {spec!r}; write it like '1,000/h'")
    return int(digits)


@frozen
class Throttle:
    """`limit` events per `period` seconds; `local` keeps it to this node."""

    limit: int
    period: int
    max_burst: int | None = None
    local: bool = False

    @classmethod
    def parse(cls, spec: str) -> Throttle:
        """Read `[local:]n/[k]unit[,max_burst=b]`, unit one of s, m, h, d or its long singular."""
        match = _RATE.match(spec.strip())
        if match is None or match["unit"] not in _RATE_UNITS:
            raise ValueError(f"{spec!r} is not a rate; write it like '100/s', '1,000/h' or '20/30s,max_burst=1'")
        limit = _whole(match["limit"], spec)
        if limit == 0:
            raise ValueError(f"a rate of 0 in {spec!r} would never let anything pass")
        period = int(match["count"] or 1) * _RATE_UNITS[match["unit"]]
        if period == 0:
            raise ValueError(f"the period in {spec!r} is 0")
        burst = _whole(match["burst"], spec) if match["burst"] else None
        return cls(limit, period, burst, match["local"] is not None)

    @property
    def burst(self) -> int:
        """How many may pass in one instant."""
        return self.limit if self.max_burst is None else min(self.max_burst + 1, self.limit)

    def left(self, until_full: float) -> int:
        """How many may pass now, when the whole burst may in so many seconds."""
        # A thousandth of an event is rounding.
        return max(self.burst - math.ceil(until_full * self.limit / self.period - 0.001), 0)

    def wait(self, until_full: float) -> float:
        """Seconds until one more may pass, when the whole burst may in so many."""
        return max(until_full - (self.burst - 1) * self.period / self.limit, 0.0)

    def __str__(self) -> str:
        unit = {1: "s", 60: "m", 3600: "h", 86400: "d"}.get(self.period, f"{self.period}s")
        burst = f",max_burst={self.max_burst}" if self.max_burst is not None else ""
        return f"{'local:' if self.local else ''}{self.limit}/{unit}{burst}"


@frozen
class Limit:
    """How many of something may be at once; `local` keeps it to this node."""

    limit: int
    local: bool = False

    @classmethod
    def parse(cls, spec: int | str) -> Limit:
        """Read `32`, `"1,000"` or `"local:20"`."""
        if isinstance(spec, int) and not isinstance(spec, bool):
            if spec < 0:
                raise ValueError(f"a limit cannot be negative, got {spec}")
            return cls(spec)
        text = str(spec).strip()
        local = text.startswith("local:")
        digits = text.removeprefix("local:")
        if not re.fullmatch(r"[\d,_]+", digits):
            raise ValueError(f"{spec!r} is not a limit; write it like 32, '1,000' or 'local:20'")
        return cls(_whole(digits, text), local)

    def __str__(self) -> str:
        return f"{'local:' if self.local else ''}{self.limit}"
