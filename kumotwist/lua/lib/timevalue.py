"""Moments and spans of time as policy sees them.

Kept in whole nanoseconds, so nothing is lost on the way through text. Public:
`Time`, `TimeDelta`, `now`, `parse`.
"""

from __future__ import annotations

import datetime as dt
import re
from email.utils import format_datetime
from typing import Final

from attrs import field, frozen

from kumotwist.core.schedule import parse_rfc3339
from kumotwist.lua.binding import facade, text
from kumotwist.net.clock import Clock

_NANO: Final = 1_000_000_000
_FRACTION: Final = re.compile(r"(\d{2}:\d{2}:\d{2})\.(\d{1,9})")
#: Units of the printed form, in nanoseconds (humantime).
_UNITS: Final = (
    ("y", 31_557_600 * _NANO),
    ("month", 2_630_016 * _NANO),
    ("day", 86_400 * _NANO),
    ("h", 3600 * _NANO),
    ("m", 60 * _NANO),
    ("s", _NANO),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: Moments that a date can name: the years 1 to 9999.
_FIRST: Final = -62_135_596_800 * _NANO
_LAST: Final = 253_402_300_800 * _NANO - 1


@facade(
    "TimeDelta",
    fields=("seconds", "nanoseconds", "milliseconds", "microseconds", "human"),
    meta={"__tostring": "text", "__eq": "equals", "__add": "plus", "__sub": "minus", "__lt": "less", "__le": "at_most"},
)
@frozen
class TimeDelta:
    """A span of time, positive or negative."""

    nanoseconds: int

    @classmethod
    def from_seconds(cls, seconds: float) -> TimeDelta:
        """The span of so many seconds."""
        return cls(round(seconds * _NANO))

    @property
    def seconds(self) -> float:
        """The span in seconds, with their fraction."""
        return self.nanoseconds / _NANO

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds, towards zero."""
        return _toward_zero(self.nanoseconds, 1_000_000)

    @property
    def microseconds(self) -> int:
        """Whole microseconds, towards zero."""
        return _toward_zero(self.nanoseconds, 1000)

    @property
    def human(self) -> str:
        """As people write it: `5m`, `1h 30m`."""
        rest, parts = abs(self.nanoseconds), []
        for unit, size in _UNITS:
            count, rest = divmod(rest, size)
            if count:
                plural = "s" if count > 1 and unit in ("month", "day") else ""
                parts.append(f"{count}{unit}{plural}")
        return ("-" if self.nanoseconds < 0 else "") + (" ".join(parts) or "0s")

    def text(self) -> str:
        """Same as `human`."""
        return self.human

    def equals(self, other: object) -> bool:
        """Whether both are as long."""
        return isinstance(other, TimeDelta) and self.nanoseconds == other.nanoseconds

    def plus(self, other: object) -> TimeDelta:
        """Both spans together."""
        return TimeDelta(_span(self) + _span(other))

    def minus(self, other: object) -> TimeDelta:
        """The difference of both spans."""
        return TimeDelta(_span(self) - _span(other))

    def less(self, other: object) -> bool:
        """Whether this span is the shorter one."""
        return _span(self) < _span(other)

    def at_most(self, other: object) -> bool:
        """Whether this span is not the longer one."""
        return _span(self) <= _span(other)


_FIELDS: Final = (
    *("year", "month", "day", "hour", "minute", "second"),
    *("unix_timestamp", "unix_timestamp_millis", "rfc2822", "rfc3339", "elapsed"),
)


@facade(
    "Time",
    methods=("format",),
    fields=_FIELDS,
    meta={"__tostring": "text", "__eq": "equals", "__add": "plus", "__sub": "minus", "__lt": "less", "__le": "at_most"},
)
@frozen
class Time:
    """A moment, in UTC."""

    nanoseconds: int
    _clock: Clock = field(eq=False, repr=False)

    @property
    def _date(self) -> dt.datetime:
        return _EPOCH + dt.timedelta(seconds=self.nanoseconds // _NANO, microseconds=self.nanoseconds % _NANO // 1000)

    @property
    def year(self) -> int:
        """The year."""
        return self._date.year

    @property
    def month(self) -> int:
        """The month, 1 to 12."""
        return self._date.month

    @property
    def day(self) -> int:
        """The day of the month, 1 to 31."""
        return self._date.day

    @property
    def hour(self) -> int:
        """The hour, 0 to 23."""
        return self._date.hour

    @property
    def minute(self) -> int:
        """The minute, 0 to 59."""
        return self._date.minute

    @property
    def second(self) -> int:
        """The second, 0 to 59."""
        return self._date.second

    @property
    def unix_timestamp(self) -> int:
        """Whole seconds since 1970-01-01 00:00:00 UTC."""
        return self.nanoseconds // _NANO

    @property
    def unix_timestamp_millis(self) -> int:
        """Whole milliseconds since 1970-01-01 00:00:00 UTC."""
        return self.nanoseconds // 1_000_000

    @property
    def rfc2822(self) -> str:
        """`Thu, 1 Jan 1970 00:00:01 +0000`."""
        return format_datetime(self._date).replace(", 0", ", ")

    @property
    def rfc3339(self) -> str:
        """`1970-01-01T00:00:01+00:00`."""
        return self._whole("T") + self._fraction() + "+00:00"

    @property
    def elapsed(self) -> TimeDelta:
        """How long ago it is, at the moment of asking."""
        return TimeDelta(_nanoseconds(self._clock) - self.nanoseconds)

    def format(self, format_string: object) -> str:
        """The moment in a strftime format, such as `%H:%M:%S`."""
        return self._date.strftime(text(format_string, "format"))

    def text(self) -> str:
        """`1970-01-01 00:00:01 UTC`."""
        return self._whole(" ") + self._fraction() + " UTC"

    def equals(self, other: object) -> bool:
        """Whether both are the same moment."""
        return isinstance(other, Time) and self.nanoseconds == other.nanoseconds

    def plus(self, other: object) -> Time:
        """The moment a TimeDelta later."""
        return _time(_moment(self) + _span(other), self._clock)

    def minus(self, other: object) -> Time | TimeDelta:
        """The moment a TimeDelta earlier, or the TimeDelta between two moments."""
        if isinstance(other, Time):
            return TimeDelta(_moment(self) - other.nanoseconds)
        return _time(_moment(self) - _span(other), self._clock)

    def less(self, other: object) -> bool:
        """Whether this moment is the earlier one."""
        return _moment(self) < _moment(other)

    def at_most(self, other: object) -> bool:
        """Whether this moment is not the later one."""
        return _moment(self) <= _moment(other)

    def _whole(self, separator: str) -> str:
        return self._date.replace(microsecond=0, tzinfo=None).isoformat(separator)

    def _fraction(self) -> str:
        """Three, six or nine digits, as many as it takes."""
        rest = self.nanoseconds % _NANO
        if not rest:
            return ""
        digits = f"{rest:09}"
        while digits.endswith("000"):
            digits = digits[:-3]
        return f".{digits}"


def now(clock: Clock) -> Time:
    """The present moment, to the microsecond."""
    return _time(_nanoseconds(clock), clock)


def parse(source: str, clock: Clock) -> Time:
    """The moment in an RFC 3339 text. Raises ValueError."""
    fraction = _FRACTION.search(source)
    whole = _FRACTION.sub(r"\1", source, count=1)
    nanoseconds = int(fraction[2].ljust(9, "0")) if fraction else 0
    try:
        return _time(round(parse_rfc3339(whole)) * _NANO + nanoseconds, clock)
    except ValueError as error:
        raise ValueError(f"not an RFC 3339 time: {source!r}: {error}") from None


def _time(nanoseconds: int, clock: Clock) -> Time:
    if not _FIRST <= nanoseconds <= _LAST:
        raise ValueError("a time lies between the years 1 and 9999")
    return Time(nanoseconds, clock)


def _nanoseconds(clock: Clock) -> int:
    return int(clock.seconds() * 1_000_000) * 1000


def _span(value: object) -> int:
    if not isinstance(value, TimeDelta):
        raise ValueError("a TimeDelta is needed here; kumo.time.parse_duration makes one")
    return value.nanoseconds


def _moment(value: object) -> int:
    if not isinstance(value, Time):
        raise ValueError("a Time is needed here; kumo.time.now() is one")
    return value.nanoseconds


def _toward_zero(number: int, size: int) -> int:
    return number // size if number >= 0 else -(-number // size)
