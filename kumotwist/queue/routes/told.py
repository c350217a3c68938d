"""What people are told of a route table: its changes, and in words what a share rests on.

Public: `Change`, `Told`, `TOLD`, `evidence`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.queue.routes.judgement import Judged, Sample, Stream

#: A move of a share that is told when it happens at once, and what is told when it is slow: back to its rest it may
#: take minutes.
TOLD: Final = 0.01
_TOLD_IN_ALL: Final = 0.05


@frozen
class Change:
    """A breaker that changed, a share that moved, or an outage of all routes that began or ended.

    `name` is the class, "" for all. `evidence` says why in words. `is_heard`: another worker has done it, and this
    one follows.
    """

    route: str
    name: str
    what: str
    before: str
    after: str
    evidence: str
    is_heard: bool = False

    def in_words(self) -> str:
        """One line, for logs and records."""
        return f"{self.what} of {self.route} from {self.before} to {self.after}: {self.evidence}"


@define(eq=False)
class Told:
    """The shares as they were told last, by class; at first they rest on the `weights`. Routes go by position."""

    weights: Sequence[float]
    _shares: dict[str, list[float]] = field(factory=dict, init=False)

    def moves(self, name: str, before: Judged | None, after: Judged) -> list[tuple[int, float]]:
        """Which shares have moved by a hundredth at once, or by a twentieth little by little, and where from."""
        told = self._shares.setdefault(name, list(self.weights))
        old = before.shares if before is not None else list(told)
        moved = []
        for position, (one, other) in enumerate(zip(old, after.shares, strict=True)):
            in_all = abs(other - told[position])
            if in_all >= _TOLD_IN_ALL or (in_all >= TOLD and abs(other - one) >= TOLD):
                moved.append((position, told[position]))
                told[position] = other
        return moved

    def remember(self, other: Told, positions: Mapping[int, int]) -> None:
        """Take over what was told of a former table; `positions` has a former position by the present one."""
        for name, told in other._shares.items():
            self._shares[name] = [
                told[positions[at]] if at in positions else weight for at, weight in enumerate(self.weights)
            ]

    def forget(self, name: str) -> None:
        """A class is not there any more."""
        self._shares.pop(name, None)


def evidence(
    position: int,
    judged: Judged,
    streams: Sequence[Stream],
    weights: Sequence[float],
    named: Callable[[int, Sample], str],
) -> str:
    """In words, what a share rests on; `named` says what was handed over by a route."""
    handed, arrived = streams

    def told(at: int) -> str:
        text, one = named(at, handed.believed(at)), arrived.believed(at)
        return f"{text}, {one.rate:.1%} of {one.total:.0f} arrived" if one.total >= 1.0 else text

    rival = judged.rivals[position]
    if rival >= 0:
        return f"{told(position)}; {told(rival)}; worse with a chance of {judged.chance(position):.3f}"
    compared = [stream.comparable(weights) for stream in streams]
    if not any(position in one and len(one) > 1 for one in compared):
        return f"{told(position)}; too few samples to compare it"
    return f"{told(position)}; no route is worse than another" if judged.is_at_rest else told(position)
