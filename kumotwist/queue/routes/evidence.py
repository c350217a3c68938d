"""What a route has done lately: counts that fade.

Each count loses half of itself in a half-life. They are kept on two time
scales, slow and fast. As long as both tell the same story the slow one is
believed, since it rests on more. When they differ by more than chance allows,
something has changed.

Public: `Counts`, `Evidence`, `Heard`, `heard_of`, `arrivals`, `MIN_FAST`. Times are Unix seconds; a clock that jumps
back leaves
counts as they are, and they fade on from there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from math import exp, log, sqrt
from typing import Final

from attrs import define, field

#: How much shorter the fast memory is than the slow one. Ours.
FASTER: Final = 10.0
#: Standard errors between the two memories that are no chance: two, which chance does one time in twenty. More would
#: leave a route that has recovered on its trial traffic; being wrong only means to believe the last minutes.
_NO_CHANCE: Final = 2.0
#: Samples that the fast memory must rest on before it says anything. Ours: the normal approximation needs some.
MIN_FAST: Final = 10.0
_LN2: Final = log(2.0)
#: The part of what was handed over of which arrivals are reported at the least by who reports them. Ours: a test event,
#: or a setting that was on for an hour, is no reporting.
REPORTING: Final = 0.1
#: What a single report has faded to in thirty half-lives, five hours by default: as good as nothing.
_NOTHING: Final = 2.0**-30


@define(eq=False)
class Counts:
    """Good and bad, faded to `at`."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0

    @property
    def total(self) -> float:
        """How many samples there are, faded ones in part."""
        return self.good + self.bad

    @property
    def rate(self) -> float:
        """The part that was good; 1 without samples."""
        total = self.good + self.bad
        return self.good / total if total > 0.0 else 1.0

    def fade(self, now: float, half_life: float) -> None:
        """Bring the counts to `now`."""
        if now > self.at > 0.0:
            factor = exp(-_LN2 * (now - self.at) / half_life)
            self.good *= factor
            self.bad *= factor
        self.at = now


@define(eq=False)
class Evidence:
    """One stream of good and bad of one route, on both time scales."""

    half_life: float
    slow: Counts = field(factory=Counts)
    fast: Counts = field(factory=Counts)

    def add(self, is_good: bool, now: float, count: float = 1.0) -> None:
        """Note `count` more."""
        self.fade(now)
        for counts in (self.slow, self.fast):
            if is_good:
                counts.good += count
            else:
                counts.bad += count

    def forgive(self, now: float, count: float = 1.0) -> None:
        """The last `count` bad ones, noted a short while ago, are none."""
        self.fade(now)
        for counts in (self.slow, self.fast):
            counts.bad = max(0.0, counts.bad - count)

    def forget_all_but_lately(self) -> None:
        """What is longer ago than the fast memory is of other times."""
        self.slow.good, self.slow.bad = min(self.slow.good, self.fast.good), min(self.slow.bad, self.fast.bad)

    def copy(self, other: Evidence) -> None:
        """Know what `other` knows."""
        for own, known in ((self.slow, other.slow), (self.fast, other.fast)):
            own.good, own.bad, own.at = known.good, known.bad, known.at

    def together(self, others: Iterable[Evidence], now: float) -> Evidence:
        """What this and `others` know as of `now`, as evidence of its own."""
        found = Evidence(self.half_life)
        for one in (self, *others):
            one.fade(now)
            for own, known in ((found.slow, one.slow), (found.fast, one.fast)):
                own.good, own.bad, own.at = own.good + known.good, own.bad + known.bad, now
        return found

    def as_numbers(self) -> tuple[float, ...]:
        """For the state file: good, bad and time, slow and fast."""
        return (self.slow.good, self.slow.bad, self.slow.at, self.fast.good, self.fast.bad, self.fast.at)

    @classmethod
    def of_numbers(cls, half_life: float, numbers: Sequence[float]) -> Evidence:
        """From what `as_numbers` gave."""
        slow_good, slow_bad, slow_at, fast_good, fast_bad, fast_at = numbers
        return cls(half_life, Counts(slow_good, slow_bad, slow_at), Counts(fast_good, fast_bad, fast_at))

    def fade(self, now: float) -> None:
        """Bring both memories to `now`."""
        self.slow.fade(now, self.half_life)
        self.fast.fade(now, self.half_life / FASTER)

    @property
    def has_changed(self) -> bool:
        """Whether the two memories differ by more than chance allows (a two-proportion z test)."""
        slow, fast = self.slow, self.fast
        if fast.total < MIN_FAST or slow.total <= 0.0:
            return False
        pooled = (slow.good + fast.good) / (slow.total + fast.total)
        error = sqrt(max(pooled * (1.0 - pooled), 1e-9) * (1.0 / slow.total + 1.0 / fast.total))
        return abs(slow.rate - fast.rate) > _NO_CHANCE * error

    def less(self, lost: Evidence) -> Evidence:
        """The good ones of these, of which those that `lost` has as bad turned out to be bad later."""
        found = Evidence(self.half_life)
        for made, own, other in ((found.slow, self.slow, lost.slow), (found.fast, self.fast, lost.fast)):
            made.good, made.bad, made.at = max(0.0, own.good - other.bad), other.bad, own.at
        return found


class Heard(enum.Enum):
    """What is reported of a route's messages after they were handed over."""

    ARRIVALS = "arrivals"
    #: Only what has failed: so do many providers, by their settings, and mail by mail always.
    FAILURES = "failures"
    NOTHING = "nothing"


def heard_of(handed: Sequence[Evidence], arrived: Sequence[Evidence], now: float) -> list[Heard]:
    """For each route what is reported, by what all classes together have handed over and heard."""
    found = []
    for out, one in zip(handed, arrived, strict=True):
        out.fade(now)
        one.fade(now)
        if one.slow.good > _NOTHING and one.slow.good >= REPORTING * out.slow.good:
            found.append(Heard.ARRIVALS)
        else:
            found.append(Heard.FAILURES if one.slow.bad > _NOTHING else Heard.NOTHING)
    return found


def arrivals(
    handed: Sequence[Evidence], arrived: Sequence[Evidence], heard: Sequence[Heard], now: float
) -> list[Evidence]:
    """Arrivals by route, from what is reported: where that is failures alone, what has not failed has arrived."""
    found = []
    for out, reported, kind in zip(handed, arrived, heard, strict=True):
        if kind is Heard.FAILURES:
            out.fade(now)
            reported.fade(now)
            found.append(out.less(reported))
        else:
            found.append(reported)
    return found
