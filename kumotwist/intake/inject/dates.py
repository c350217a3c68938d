"""Dates and times in templates: the filters that KumoMTA adds to the engine.

`{{ now()|datetimeformat(format="short", tz="Europe/Vienna") }}`, and likewise
`dateformat` and `timeformat`. A value is a Unix timestamp or ISO 8601 text. A
format is `short`, `medium` (the default), `long`, `full`, `iso`, `unix`, or a
description such as `[day] [month repr:long] [year]`. Defaults for both come
from the variables DATETIME_FORMAT, DATE_FORMAT, TIME_FORMAT and TIMEZONE.

Public: `FILTERS`. What can go wrong: ValueError for what is no date, zone or
format.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import minijinja

if TYPE_CHECKING:
    from minijinja._lowlevel import State

_SHORT_DATE: Final = "[year]-[month]-[day]"
_MEDIUM_DATE: Final = "[month repr:short] [day padding:none] [year]"
_LONG_DATE: Final = "[month repr:long] [day padding:none] [year]"
_ISO: Final = "iso"
_UNIX: Final = "unix"

_DATE_TIMES: Final = {
    "short": f"{_SHORT_DATE} [hour]:[minute]",
    "medium": f"{_MEDIUM_DATE} [hour]:[minute]",
    "long": f"{_LONG_DATE} [hour]:[minute]:[second]",
    "full": f"[weekday], {_LONG_DATE} [hour]:[minute]:[second]",
}
_DATES: Final = {
    "short": _SHORT_DATE,
    "medium": _MEDIUM_DATE,
    "long": _LONG_DATE,
    "full": f"[weekday], {_LONG_DATE}",
}
_TIMES: Final = {
    "short": "[hour]:[minute]",
    "medium": "[hour]:[minute]",
    "long": "[hour]:[minute]:[second]",
    "full": "[hour]:[minute]:[second].[subsecond]",
}

#: Components of a format description, as the `time` crate spells them.
_COMPONENTS: Final[Mapping[str, Callable[[dt.datetime], str]]] = {
    "year": lambda at: f"{at.year:04}",
    "month": lambda at: f"{at.month:02}",
    "month repr:short": lambda at: at.strftime("%b"),
    "month repr:long": lambda at: at.strftime("%B"),
    "month padding:none": lambda at: str(at.month),
    "day": lambda at: f"{at.day:02}",
    "day padding:none": lambda at: str(at.day),
    "weekday": lambda at: at.strftime("%A"),
    "weekday repr:short": lambda at: at.strftime("%a"),
    "hour": lambda at: f"{at.hour:02}",
    "hour repr:12": lambda at: at.strftime("%I"),
    "minute": lambda at: f"{at.minute:02}",
    "second": lambda at: f"{at.second:02}",
    "subsecond": lambda at: f"{at.microsecond:06}".rstrip("0") or "0",
    "period": lambda at: at.strftime("%p"),
    "offset_hour sign:mandatory": lambda at: at.strftime("%z")[:3],
    "offset_minute": lambda at: at.strftime("%z")[3:5],
}
_COMPONENT: Final = re.compile(r"\[([^\]]*)\]")


def _moment(value: object, zone: str | None) -> dt.datetime:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        at = _from_timestamp(value)
    elif isinstance(value, str):
        at = dt.datetime.fromisoformat(value.strip())
        at = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    else:
        raise ValueError(f"{value!r} is neither a Unix timestamp nor ISO 8601 text")
    if zone is None or zone == "original":
        return at
    try:
        return at.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"unknown time zone {zone!r}") from None


def _from_timestamp(value: float) -> dt.datetime:
    try:
        return dt.datetime.fromtimestamp(value, dt.UTC)
    except (OverflowError, OSError):
        raise ValueError(f"{value!r} is no Unix timestamp of this era") from None


def _component(name: str, at: dt.datetime) -> str:
    make = _COMPONENTS.get(" ".join(name.split()))
    if make is None:
        raise ValueError(f"unknown component [{name}] in a date format")
    return make(at)


def _filter(styles: Mapping[str, str], default_name: str) -> Callable[..., str]:
    @minijinja.pass_state
    def formatted(state: State, value: object, *, format: str | None = None, tz: str | None = None) -> str:  # noqa: A002
        at = _moment(value, tz or state.lookup("TIMEZONE"))
        style = format or state.lookup(default_name) or "medium"
        if style == _ISO:
            return at.isoformat(timespec="seconds")
        if style == _UNIX:
            return str(int(at.timestamp()))
        description = styles.get(style, style)
        if "[" not in description:
            raise ValueError(f"unknown date format {style!r}; use {', '.join(styles)}, iso, unix or '[year]-[month]'")
        return _COMPONENT.sub(lambda match: _component(match[1], at), description)

    return formatted


#: Filters by their name in a template.
FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "datetimeformat": _filter(_DATE_TIMES, "DATETIME_FORMAT"),
    "dateformat": _filter(_DATES, "DATE_FORMAT"),
    "timeformat": _filter(_TIMES, "TIME_FORMAT"),
}
