"""From evidence to shares: how sure we are that a route is worse, and how much it gives up for that.

For each route the chance is computed that its success rate lies below that of
some other route by more than a margin. Rates are uncertain: each is a beta
distribution about its counts, drawn towards what all routes did together, and
the chance that one is below the other comes from the normal approximation of
their difference. A route gives up its resting weight as that chance goes from
0.95 to certainty: nothing before, all of it then. A floor of trial traffic
remains, or nobody would see it recover. When the last minutes tell another
story than the last half-hour they are compared, if they rest on enough; if they
do not, they may only give a share back.

Only comparisons count. A route of which nothing is reported after the hand-over is
not judged by that; it is held against one of which failures alone are reported,
since storms of bounces would else move nothing. When all routes are equally bad nobody is worse than
another, and the weights rest where the operator put them.

Public: `judge`, `comparable`, `Judged`, `Sample`. Pure; see decision 0160 for the methods that were compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import erf, sqrt
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import frozen

from kumotwist.queue.routes.evidence import MIN_FAST

#: Weight of the common rate in each route's own, in samples. Ours: it matters only while there are few.
_PRIOR: Final = 2.0
#: The part that is taken to arrive by a route of which nothing is reported, when one that reports its failures is held
#: against it. Ours: less than any healthy route's, so that nobody is worse for reporting a few.
_ASSUMED: Final = 0.9
_SQRT2: Final = sqrt(2.0)
#: A chance of being worse up to which nothing is given up. Ours: below it, shares of routes that
#: are alike move by chance all the time, at 0.5 some three hundred times an hour; see decision 0160.
_NO_CHANCE: Final = 0.95


#: By stream (hand-overs, arrivals), positions of routes.
Positions: TypeAlias = tuple[frozenset[int], frozenset[int]]
NOWHERE: Final[Positions] = (frozenset(), frozenset())
#: By position, how sure it is that a route is worse than another, and which one that is.
_Doubts: TypeAlias = dict[int, tuple[float, int]]


@frozen
class Sample:
    """What one stream has seen of a route: how many were good of how many.

    `is_enough`: the route may be judged by them, and others by it. `is_own`:
    they are of the class that is judged, and not of all messages.
    """

    good: float
    total: float
    is_enough: bool = True
    is_own: bool = True

    @property
    def rate(self) -> float:
        """The part that was good; 1 without any."""
        return self.good / self.total if self.total > 0.0 else 1.0


@frozen
class Stream:
    """One kind of evidence, by route: of the last half-hour or so, and of the last minutes.

    `has_changed`: the last minutes tell another story of some route. `worse` are
    the routes that were found to be worse before. `inferred` are those of which
    only failures are reported, and `silent` has what was handed over, in all and
    lately, by those of which nothing is.
    """

    whole: tuple[Sample, ...]
    lately: tuple[Sample, ...]
    has_changed: bool = False
    worse: Collection[int] = ()
    inferred: Collection[int] = ()
    silent: Mapping[int, tuple[Sample, Sample]] = MappingProxyType({})

    def comparable(self, weights: Sequence[float]) -> list[int]:
        """The routes, by position, of which enough is known to judge them, and others by them."""
        return [at for at, one in enumerate(self.whole) if weights[at] > 0 and one.is_enough and one.total > 0]

    def assumed(self, weights: Sequence[float]) -> list[int]:
        """The routes of which nothing is reported that have handed over enough."""
        return [at for at, (whole, _) in self.silent.items() if weights[at] > 0 and whole.is_enough and whole.total > 0]

    def believed(self, position: int) -> Sample:
        """What a route is told to be like: the last minutes, if things have changed and they rest on anything."""
        is_lately = self.has_changed and self.lately[position].total >= MIN_FAST
        return self.lately[position] if is_lately else self.whole[position]


@frozen
class Judged:
    """The shares, and for each route how sure we are that it is worse (0 to 1) and than which one (-1: none).

    `worse` has by stream the routes that are worse by evidence of their own
    class: these remain judged when their samples fade. `recovered` has those
    that were, and are not any more.
    """

    shares: tuple[float, ...]
    doubts: tuple[float, ...]
    rivals: tuple[int, ...]
    worse: Positions = NOWHERE
    recovered: Positions = NOWHERE

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody gives anything up."""
        return not any(self.doubts)

    def chance(self, position: int) -> float:
        """The chance that a route is worse than its rival, as far as it has a doubt."""
        return _NO_CHANCE + self.doubts[position] * (1.0 - _NO_CHANCE)


def judge(weights: Sequence[float], streams: tuple[Stream, Stream], *, margin: float, floor: float) -> Judged:
    """Shares of the routes from their resting weights and evidence.

    `streams` are independent kinds of evidence (hand-overs, arrivals); a route
    is as doubtful as its streams together make it. `floor` is the least share of
    a route, or its weight where that is less.
    """
    doubts, rivals = [0.0] * len(weights), [-1] * len(weights)
    handed, arrived = (
        _Comparison(stream, stream.comparable(weights), stream.assumed(weights), margin).doubts() for stream in streams
    )
    for position, (doubt, rival) in (*handed.items(), *arrived.items()):
        if doubt > 0.0:
            doubts[position] = 1.0 - (1.0 - doubts[position]) * (1.0 - doubt)
            rivals[position] = rival
    return Judged(
        _shares(weights, doubts, floor),
        tuple(doubts),
        tuple(rivals),
        (_worse(streams[0], handed), _worse(streams[1], arrived)),
        (_recovered(streams[0], handed), _recovered(streams[1], arrived)),
    )


def _worse(stream: Stream, doubts: _Doubts) -> frozenset[int]:
    return frozenset(at for at, (doubt, _) in doubts.items() if doubt > 0.0 and stream.whole[at].is_own)


def _recovered(stream: Stream, doubts: _Doubts) -> frozenset[int]:
    return frozenset(at for at in stream.worse if at in doubts and doubts[at][0] <= 0.0)


class _Comparison:
    """Those routes of a stream that can be judged, each with each other."""

    def __init__(self, stream: Stream, judged: Sequence[int], assumed: Sequence[int], margin: float) -> None:
        self._stream, self._judged, self._assumed, self._margin = stream, judged, assumed, margin
        self._whole = _posteriors(stream.whole, judged)
        self._lately = _posteriors(stream.lately, [at for at in judged if stream.lately[at].total >= MIN_FAST])
        for at in assumed:
            whole, lately = stream.silent[at]
            self._whole[at] = _posterior(_assumed(whole), _ASSUMED)
            if lately.total >= MIN_FAST:
                self._lately[at] = _posterior(_assumed(lately), _ASSUMED)

    def doubts(self) -> _Doubts:
        """For each route how sure it is that it is worse than some other, and which."""
        found: _Doubts = {}
        for one in self._judged:
            rivals = [other for other in self._judged if other != one]
            if one in self._stream.inferred:
                rivals += self._assumed
            if rivals:
                surest, rival = max((self._chance(one, other), other) for other in rivals)
                found[one] = (max(0.0, surest - _NO_CHANCE) / (1.0 - _NO_CHANCE), rival)
        return found

    def _chance(self, one: int, other: int) -> float:
        """That a route is worse than another: of both the same minutes are compared."""
        stream, in_all = self._stream, _below(self._whole[one], self._whole[other], self._margin)
        if one not in self._lately or other not in self._lately or not (stream.has_changed or one in stream.worse):
            return in_all
        recently = _below(self._lately[one], self._lately[other], self._margin)
        if stream.has_changed and stream.lately[one].is_enough and stream.lately[other].is_enough:
            return recently
        # A few messages of the last minutes give a share back, and take none away.
        return recently if recently < 0.5 else in_all


def _assumed(sample: Sample) -> Sample:
    return Sample(sample.total * _ASSUMED, sample.total)


def _posteriors(samples: Sequence[Sample], judged: Sequence[int]) -> dict[int, tuple[float, float]]:
    total = sum(samples[at].total for at in judged)
    together = sum(samples[at].good for at in judged) / total if total > 0.0 else 1.0
    return {at: _posterior(samples[at], together) for at in judged}


def _posterior(sample: Sample, together: float) -> tuple[float, float]:
    """Mean and variance of the beta distribution about a rate."""
    good = sample.good + _PRIOR * together
    total = sample.total + _PRIOR
    mean = good / total
    return mean, max(mean * (1.0 - mean), 1e-6) / (total + 1.0)


def _below(one: tuple[float, float], other: tuple[float, float], margin: float) -> float:
    """The chance that the rate `one` is below `other` by more than `margin`."""
    return 0.5 * (1.0 + erf((other[0] - one[0] - margin) / sqrt(one[1] + other[1]) / _SQRT2))


def _shares(weights: Sequence[float], doubts: Sequence[float], floor: float) -> tuple[float, ...]:
    """Weights less what doubt takes, made to add up to 1, each kept at the floor, or at its rest where that is less."""
    kept = [weight * (1.0 - doubt) for weight, doubt in zip(weights, doubts, strict=True)]
    if sum(kept) <= 0.0:
        kept = list(weights)
    total = sum(weights)
    least = [min(floor, weight / total) for weight in weights]
    low: set[int] = set()
    while True:
        rest = sum(share for position, share in enumerate(kept) if position not in low)
        left = 1.0 - sum(least[position] for position in low)
        shares = tuple([least[at] if at in low else share / rest * left for at, share in enumerate(kept)])
        lower = {at for at, share in enumerate(shares) if share < least[at]}
        if not lower or low | lower >= {at for at, share in enumerate(kept) if share > 0.0}:
            return shares
        low |= lower
