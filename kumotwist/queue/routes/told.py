"""What people are told of a route table: its changes, and in words what a share rests on.

Public: `Change`, `Teller`, `TOLD`, `evidence`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.judgement import Judged, Sample, Stream
from kumotwist.queue.routes.tallies import Tallies

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
class Teller:
    """Tells `changed` what moves. Routes go by position: they have these `names`, and their shares `rest` there."""

    names: Sequence[str]
    rest: Sequence[float]
    tallies: Tallies
    #: Whether the evidence counts what is handed over in time only.
    is_timed: bool
    changed: Callable[[Change], object]
    #: The shares as they were told last, by class.
    _shares: dict[str, list[float]] = field(factory=dict, init=False)

    def shares(self, name: str, before: Judged | None, after: Judged, now: float, streams: Sequence[Stream]) -> None:
        """Tell which shares have moved; `streams` are the hand-overs and arrivals that they rest on."""
        moves = self._moves(name, before, after)
        if not moves:
            return
        for position, former in moves:
            text = evidence(position, after, streams, self.rest, lambda at, handed: self._handed(name, at, handed, now))
            self._tell(position, name, "share", f"{former:.3f}", f"{after.shares[position]:.3f}", text)

    def breaker(self, name: str, position: int, before: State, after: Breaker) -> None:
        """Tell that a breaker has opened or closed by what happened here."""
        failed = f"{after.failed} of the last {after.seen} messages that this worker sent by it failed"
        text = "its trials went well" if after.state is State.CLOSED else str(after.rest or failed)
        self._tell(position, name, "breaker", before.value, after.state.value, text)

    def heard(self, name: str, position: int, before: State, after: State, worker: int) -> None:
        """Tell that a breaker has followed another worker's."""
        text = f"worker {worker} has {'closed' if after is State.CLOSED else 'opened'} it"
        self._tell(position, name, "breaker", before.value, after.value, text, is_heard=True)

    def outage(self, name: str, position: int, is_shut: bool) -> None:
        """Tell that all routes are shut, or that the one at `position` has ended that."""
        words = ("no", "yes") if is_shut else ("yes", "no")
        text = (
            "all routes fail: resting shares hold, and what fails counts against none of them"
            if is_shut
            else "it is well again, and evidence counts"
        )
        self._tell(position, name, "outage", *words, text)

    def remember(self, other: Teller, positions: Mapping[int, int]) -> None:
        """Take over what was told of a former table; `positions` has a former position by the present one."""
        for name, told in other._shares.items():
            self._shares[name] = [
                told[positions[at]] if at in positions else weight for at, weight in enumerate(self.rest)
            ]

    def forget(self, name: str) -> None:
        """A class is not there any more."""
        self._shares.pop(name, None)

    def _tell(
        self, position: int, name: str, what: str, before: str, after: str, text: str, *, is_heard: bool = False
    ) -> None:
        self.changed(Change(self.names[position], name, what, before, after, text, is_heard))

    def _moves(self, name: str, before: Judged | None, after: Judged) -> list[tuple[int, float]]:
        """Which shares have moved by a hundredth at once, or by a twentieth little by little, and where from."""
        told = self._shares.setdefault(name, list(self.rest))
        old = before.shares if before is not None else list(told)
        moved = []
        for position, (one, other) in enumerate(zip(old, after.shares, strict=True)):
            in_all = abs(other - told[position])
            if in_all >= _TOLD_IN_ALL or (in_all >= TOLD and abs(other - one) >= TOLD):
                moved.append((position, told[position]))
                told[position] = other
        return moved

    def _handed(self, name: str, position: int, handed: Sample, now: float) -> str:
        """In words, what was handed over by a route."""
        text = f"{self.names[position]}: {handed.rate:.1%} of {handed.total:.0f} handed over"
        if not self.is_timed:
            return text
        late = self.tallies.lately(name, position, now).to_handover.quantile(0.95)
        return f"{text} in time, 95 % within {late:.3g} s" if late is not None else f"{text} in time"


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
