"""RouteChange records in words, the larger ones and each once.

Public: `Moves`. A share that moves little is others making room, and the same move a moment later is another worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import define, field

from kumotwist.demo.gauges import ROUTES

#: How much of all messages must move, and which part of the share.
_LARGE: Final = 0.05
_LARGE_PART: Final = 0.3
#: Seconds within which the same move is another worker's: they tell each other once a second.
_SAME: Final = 3.0
#: Moves that are kept: as many as a large screen has room for.
_KEPT: Final = 20


@define(eq=False)
class Moves:
    """The last ones."""

    _kept: list[tuple[float, str]] = field(factory=list, init=False)
    _untold: list[str] = field(factory=list, init=False)
    #: When a route last moved that way.
    _seen: dict[tuple[str, str], float] = field(factory=dict, init=False)

    def note(self, record: Mapping[str, Any]) -> None:
        """A RouteChange record."""
        change, route = record["route_change"], record["route"]
        way, words = _WORDS[change["what"]](change)
        moment = datetime.fromisoformat(record["event_time"]).timestamp()
        if not words or abs(moment - self._seen.get((route, way), 0.0)) < _SAME:
            return
        self._seen[route, way] = moment
        why = change["evidence"].removeprefix(f"{route}: ")
        text = f"{record['event_time'][11:19]} {ROUTES.get(route, route)} {words}: {why}"
        # Each worker has a log of its own.
        self._kept = sorted([*self._kept, (moment, text)])[-_KEPT:]
        self._untold.append(text)

    def latest(self, count: int) -> list[str]:
        """The last ones, in order of time."""
        return [text for _, text in self._kept[-count:]] if count > 0 else []

    def untold(self) -> list[str]:
        """Those since this was asked last."""
        untold, self._untold = self._untold, []
        return untold


def _breaker(change: Mapping[str, str]) -> tuple[str, str]:
    """Which way it went, and the same as a person would say it."""
    way = "opens" if change["after"] == "open" else "closes"
    return way, f"breaker {way}"


def _outage(change: Mapping[str, str]) -> tuple[str, str]:
    """The same of an outage of all routes."""
    return ("out", "out as the last of all") if change["after"] == "yes" else ("well", "well as the first of all")


def _share(change: Mapping[str, str]) -> tuple[str, str]:
    """The same of a share; no words for a small move."""
    before, after = float(change["before"]), float(change["after"])
    is_large = abs(before - after) >= max(_LARGE, _LARGE_PART * max(before, after))
    # What a breaker does to it has a line of its own.
    words = f"{before:.0%} -> {after:.0%}, breaker aside" if is_large else ""
    return ("up" if after > before else "down"), words


_WORDS: Final[Mapping[str, Callable[[Mapping[str, str]], tuple[str, str]]]] = {
    "share": _share,
    "breaker": _breaker,
    "outage": _outage,
}
