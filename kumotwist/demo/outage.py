"""Outages of one provider: when its stand-in refuses everything, and what that cost.

Public: `Outages`, `Cost`, `OUT`, `NAME`. Moments are Unix seconds, as in log records; the plan counts from the start
of sending.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import define, field

from kumotwist.demo.gauges import ROUTES

#: The route whose provider fails, and what people call it.
OUT: Final = "sendgrid"
NAME: Final = "SendGrid"
#: Seconds from the start of an outage until all of it has been seen: the breaker's second trial comes after ten.
_SEEN_IN: Final = 16.0


@define(eq=False)
class Outages:
    """The plan: the first after `first` seconds, for `length` seconds, then one `every` so many.

    A run of `duration` seconds (None: without an end) has the first one, and others that can be seen to their end.
    `refuse` has the stand-in refuse everything for so many seconds.
    """

    refuse: Callable[[float], None]
    first: float
    length: float
    every: float
    duration: float | None
    now: Callable[[], float] = time.time
    _next: float = field(init=False)
    _spans: list[tuple[float, float]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._next = self.first

    def tick(self, elapsed: float) -> None:
        """Begin one when it is time."""
        if self._is_planned and elapsed >= self._next:
            self.refuse(self.length)
            begun = self.now()
            self._spans.append((begun, begun + self.length))
            self._next += self.every

    def stop(self) -> None:
        """Nothing is sent any more: what is left of an outage does not count."""
        if self._spans:
            begun, ended = self._spans[-1]
            self._spans[-1] = (begun, min(ended, self.now()))

    def covers(self, moment: float) -> bool:
        """Whether it was an outage then."""
        return any(begun <= moment <= ended for begun, ended in self._spans)

    def is_before(self, moment: float) -> bool:
        """Whether there had been none by then."""
        return not self._spans or moment < self._spans[0][0]

    @property
    def seconds(self) -> float:
        """How long they were together."""
        return sum(ended - begun for begun, ended in self._spans)

    def told(self, elapsed: float, is_open: bool) -> str:
        """What goes on, in words; `is_open` is the route's breaker."""
        left = self._spans[-1][1] - self.now() if self._spans else 0.0
        if left > 0.0:
            then = "open" if is_open else "closed"
            return f"{NAME}'s stand-in refuses everything for {self.length:g} s ({left:.0f} left); breaker {then}"
        if is_open:
            return f"{NAME}'s stand-in is well again; the breaker's next trial will find out"
        following = f"in {max(0.0, self._next - elapsed):.0f} s {NAME}'s stand-in will refuse everything for a while"
        if not self._spans:
            return f"all is well; {following}" if self._is_planned else "all is well"
        return f"{NAME} has its share back{f'; {following}' if self._is_planned else ''}"

    @property
    def _is_planned(self) -> bool:
        if not self.length:
            return False
        return self.duration is None or self._next + (_SEEN_IN if self._spans else 0.0) <= self.duration


@define(eq=False)
class Cost:
    """What the outages cost, by log records; `went` counts deliveries by route before the first one."""

    outages: Outages
    offered: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    #: Messages that were delivered by the same attempt, over another route, and those that had to wait.
    at_once: Counter[str] = field(factory=Counter, init=False)
    later: int = field(default=0, init=False)
    lost: int = field(default=0, init=False)
    went: Counter[str] = field(factory=Counter, init=False)
    #: Messages that were refused, and by which of their attempts.
    _refused: dict[str, int] = field(factory=dict, init=False)

    def note(self, record: Mapping[str, Any]) -> None:
        """A record of a piece of mail."""
        # Python cuts off what is beyond microseconds.
        moment = datetime.fromisoformat(record["event_time"]).timestamp()
        kind, name, route = record["type"], record["id"], record.get("route", "")
        if kind == "Reception":
            self.offered += self.outages.covers(moment)
        elif kind == "TransientFailure":
            if route == OUT and self.outages.covers(moment):
                self.refused += 1
                self._refused[name] = record["num_attempts"]
        elif kind == "Delivery":
            if self.outages.is_before(moment):
                self.went[route] += 1
            attempt = self._refused.pop(name, None)
            if attempt == record["num_attempts"]:
                self.at_once[route] += 1
            elif attempt is not None:
                self.later += 1
        elif self._refused.pop(name, None) is not None:
            self.lost += 1

    def told(self, rest: float) -> str:
        """In a sentence; `rest` is the route's resting share."""
        ways = ", ".join(f"{ROUTES.get(route, route)} {count}" for route, count in self.at_once.most_common())
        return (
            f"the outage of {self.outages.seconds:.1f} s cost {self.refused} attempts, a fixed split would have made "
            f"{self.offered * rest:.0f} or more; of their messages {self.at_once.total()} went on at once"
            f"{f' ({ways})' if ways else ''}, {self.later} later, {len(self._refused)} still wait, {self.lost} bounced"
        )
