"""From evidence to shares: how sure we are that a route is worse, and how much it gives up for that.

For each route the chance is computed that its success rate lies below that of
some other route by more than a margin. Rates are uncertain: each is a beta
distribution about its counts, drawn towards what all routes did together, and
the chance that one is below the other comes from the normal approximation of
their difference. A route gives up as much of its resting weight as that chance
is above one half, twofold: nothing at even odds, all at certainty. A floor of
trial traffic remains, or nobody would see it recover.

Only comparisons count. When all routes are equally bad nobody is worse than
another, and the weights rest where the operator put them.

Public: `judge`, `comparable`, `Judged`, `Sample`. Pure; see decision 0160 for the methods that were compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt
from typing import Final

from attrs import frozen

#: Weight of the common rate in each route's own, in samples. Ours: it matters only while there are few.
_PRIOR: Final = 2.0
_SQRT2: Final = sqrt(2.0)


@frozen
class Sample:
    """What is believed of one stream of a route: how many were good of how many, and whether they are enough."""

    good: float
    total: float
    is_enough: bool = True

    @property
    def rate(self) -> float:
        """The part that was good; 1 without any."""
        return self.good / self.total if self.total > 0.0 else 1.0


@frozen
class Judged:
    """The shares, and for each route how sure we are that it is worse (0 to 1) and than which one (-1: none)."""

    shares: tuple[float, ...]
    doubts: tuple[float, ...]
    rivals: tuple[int, ...]

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody gives anything up."""
        return not any(self.doubts)


def judge(
    weights: Sequence[float],
    streams: Sequence[Sequence[Sample]],
    *,
    margin: float,
    floor: float,
) -> Judged:
    """Shares of the routes from their resting weights and evidence.

    `streams` are independent kinds of evidence (hand-overs, receipts), each
    with one sample per route; a route is as doubtful as its streams together
    make it. A route without enough of them is neither judged nor a measure for
    others. `floor` is the least share of a route, or its weight where that is less.
    """
    doubts, rivals = [0.0] * len(weights), [-1] * len(weights)
    for samples in streams:
        for position, (doubt, rival) in enumerate(_doubts(weights, samples, margin)):
            if doubt > 0.0:
                doubts[position] = 1.0 - (1.0 - doubts[position]) * (1.0 - doubt)
                rivals[position] = rival
    return Judged(_shares(weights, doubts, floor), tuple(doubts), tuple(rivals))


def comparable(weights: Sequence[float], samples: Sequence[Sample]) -> list[int]:
    """The routes, by position, of which enough is known to judge them, and others by them."""
    return [one for one, sample in enumerate(samples) if weights[one] > 0 and sample.is_enough and sample.total > 0]


def _doubts(weights: Sequence[float], samples: Sequence[Sample], margin: float) -> list[tuple[float, int]]:
    """For each route how sure it is that it is worse than some other, and which."""
    judged = comparable(weights, samples)
    found = [(0.0, -1)] * len(samples)
    if len(judged) < 2:
        return found
    together = sum(samples[one].good for one in judged) / sum(samples[one].total for one in judged)
    rates = {one: _posterior(samples[one], together) for one in judged}
    for one in judged:
        best = max(
            (other for other in judged if other != one), key=lambda other: _below(rates[one], rates[other], margin)
        )
        chance = _below(rates[one], rates[best], margin)
        if chance > 0.5:
            found[one] = (2.0 * chance - 1.0, best)
    return found


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
