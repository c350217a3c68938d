"""From evidence to shares: how sure we are that a route is worse, and how much it gives up for that.

For each route the chance is computed that its success rate lies below that of
some other route by more than a margin. Rates are uncertain: each is a beta
distribution about its counts, drawn towards what all routes did together, and
the chance that one is below the other comes from the normal approximation of
their difference. A route gives up its resting weight as that chance goes from
0.95 to certainty: nothing before, all of it then. A floor of trial traffic
remains, or nobody would see it recover. When the last minutes tell another
story than the last half-hour they are compared, if they rest on enough; if they
do not, they may only give a share back. What is handed over and what arrives of
that is judged together: a route may be worse at one, its rival at the other.

Only comparisons count. A route of which nothing is reported after the hand-over is
not judged by that; it is held against one of which failures alone are reported,
since storms of bounces would else move nothing. When all routes are equally bad nobody is worse than
another, and the weights rest where the operator put them.

Public: `judge`, `Judged`, `Stream`, `Sample`. Pure; see decision 0160 for the methods that were compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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


#: By position, how sure it is that a route is worse than another, and which one that is.
_Doubts: TypeAlias = dict[int, tuple[float, int]]
#: Mean and variance of a rate.
_Rate: TypeAlias = tuple[float, float]


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

    `own` is what this class has shown itself since all messages condemn a route,
    and the same as `whole` elsewhere. `has_changed`: the last minutes tell
    another story of some route. `inferred` are those of which only failures are
    reported, and `silent` has what was handed over, in all and lately, by those
    of which nothing is.
    """

    whole: tuple[Sample, ...]
    lately: tuple[Sample, ...]
    own: tuple[Sample, ...]
    has_changed: bool = False
    inferred: Collection[int] = ()
    silent: Mapping[int, tuple[Sample, Sample]] = MappingProxyType({})

    def comparable(self, weights: Sequence[float]) -> list[int]:
        """The routes, by position, of which enough is known to judge them, and others by them."""
        return [at for at, one in enumerate(self.whole) if weights[at] > 0 and one.is_enough and one.total > 0]

    def supposed(self, weights: Sequence[float], is_lately: bool) -> dict[int, _Rate]:
        """What is taken to arrive by routes of which nothing is reported, and which have handed over enough."""
        found = {}
        for at, (whole, lately) in self.silent.items():
            sample = lately if is_lately else whole
            if weights[at] > 0 and whole.is_enough and sample.total >= MIN_FAST:
                found[at] = _posterior(Sample(sample.total * _ASSUMED, sample.total), _ASSUMED)
        return found

    def believed(self, position: int) -> Sample:
        """What a route is told to be like: the last minutes, if things have changed and they rest on anything."""
        is_lately = self.has_changed and self.lately[position].total >= MIN_FAST
        return self.lately[position] if is_lately else self.whole[position]


@frozen
class Judged:
    """The shares, and for each route how sure we are that it is worse (0 to 1) and than which one (-1: none).

    `worse` has those that are, by evidence of their own class: they remain
    judged when their samples fade. `recovered` has those that were.
    """

    shares: tuple[float, ...]
    doubts: tuple[float, ...]
    rivals: tuple[int, ...]
    worse: frozenset[int] = frozenset()
    recovered: frozenset[int] = frozenset()

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody gives anything up."""
        return not any(self.doubts)

    def chance(self, position: int) -> float:
        """The chance that a route is worse than its rival, as far as it has a doubt."""
        return _NO_CHANCE + self.doubts[position] * (1.0 - _NO_CHANCE)


def judge(
    weights: Sequence[float], streams: Sequence[Stream], *, margin: float, floor: float, worse: Collection[int] = ()
) -> Judged:
    """Shares of the routes from their resting weights and evidence.

    `streams` are independent kinds of evidence (hand-overs, arrivals); two
    routes are compared by those of which enough is known of both. `floor` is the
    least share of a route, or its weight where that is less; `worse` are those
    that were found to be worse before.
    """
    found = _Comparison(weights, streams, margin, worse).doubts()
    doubts = tuple([found[at][0] if at in found else 0.0 for at in range(len(weights))])
    rivals = tuple([found[at][1] if doubts[at] > 0.0 else -1 for at in range(len(weights))])
    return Judged(
        _shares(weights, doubts, floor),
        doubts,
        rivals,
        frozenset(
            at for at, doubt in enumerate(doubts) if doubt > 0.0 and any(one.whole[at].is_own for one in streams)
        ),
        frozenset(at for at in worse if at in found and doubts[at] <= 0.0),
    )


class _Comparison:
    """Those routes that can be judged, each with each other."""

    def __init__(
        self, weights: Sequence[float], streams: Sequence[Stream], margin: float, worse: Collection[int]
    ) -> None:
        self._streams, self._margin, self._worse = streams, margin, worse
        self._judged = [stream.comparable(weights) for stream in streams]
        self._some = some = sorted({at for judged in self._judged for at in judged})
        # What is not enough to judge by may acquit.
        self._whole = [_posteriors(stream.whole, some) for stream in streams]
        self._lately = [_posteriors(stream.lately, some) for stream in streams]
        self._own = [_posteriors(stream.own, some) for stream in streams]
        self._supposed = [stream.supposed(weights, False) for stream in streams]
        self._supposed_lately = [stream.supposed(weights, True) for stream in streams]

    def doubts(self) -> _Doubts:
        """For each route that can be compared how sure it is that it is worse than some other, and which."""
        found: _Doubts = {}
        for one in self._some:
            chances = [(chance, other) for other, chance in self._chances(one)]
            if chances:
                surest, rival = max(chances)
                found[one] = (max(0.0, surest - _NO_CHANCE) / (1.0 - _NO_CHANCE), rival)
        return found

    def _chances(self, one: int) -> Iterator[tuple[int, float]]:
        """By rival, the chance that the route is worse."""
        for other in self._some:
            kinds = [kind for kind in range(len(self._streams)) if self._half_hour(kind, one, other) is not None]
            enough = [kind for kind in kinds if self._is_enough(kind, one, other)]
            if other != one and enough:
                yield other, self._chance(one, other, kinds, enough)

    def _is_enough(self, kind: int, one: int, other: int) -> bool:
        judged = self._judged[kind]
        return one in judged and (other in judged or other in self._supposed[kind])

    def _chance(self, one: int, other: int, kinds: Sequence[int], enough: Sequence[int]) -> float:
        """That a route is worse than another: of both the same minutes are compared.

        A few messages, of the last minutes or of a class that is judged by all,
        or a few arrivals, give a share back and take none away.
        """
        chance = self._below([self._same_minutes(kind, one, other, is_strict=True) for kind in enough])
        if chance > _NO_CHANCE:
            milder = [[self._same_minutes(kind, one, other, is_strict=False) for kind in kinds]]
            if len(enough) < len(kinds):
                milder.append([self._same_minutes(kind, one, other, is_strict=True) for kind in kinds])
            if not any(self._streams[kind].whole[one].is_own for kind in kinds):
                milder.append([self._by_class(kind, one, other) for kind in kinds])
            mild = min(map(self._below, milder))
            if mild < 0.5:
                return mild
        return chance

    def _half_hour(self, kind: int, one: int, other: int) -> tuple[_Rate, _Rate] | None:
        return self._pair(kind, self._whole[kind], self._supposed[kind], one, other)

    def _same_minutes(self, kind: int, one: int, other: int, is_strict: bool) -> tuple[_Rate, _Rate]:
        """The rates of both, of the last minutes where things have changed, and else of the half-hour."""
        stream = self._streams[kind]
        lately = self._pair(kind, self._lately[kind], self._supposed_lately[kind], one, other)
        if is_strict:
            is_lately = stream.has_changed and stream.lately[one].is_enough and self._is_enough_lately(kind, other)
        else:
            is_lately = stream.has_changed or one in self._worse
        whole = self._half_hour(kind, one, other)
        assert whole is not None
        return lately if is_lately and lately is not None else whole

    def _is_enough_lately(self, kind: int, other: int) -> bool:
        stream = self._streams[kind]
        return (stream.silent[other][1] if other in stream.silent else stream.lately[other]).is_enough

    def _by_class(self, kind: int, one: int, other: int) -> tuple[_Rate, _Rate]:
        """The rates of both, of the one by what its class has shown itself, if only some."""
        whole = self._half_hour(kind, one, other)
        assert whole is not None
        return self._own[kind].get(one, whole[0]), whole[1]

    def _pair(
        self, kind: int, known: Mapping[int, _Rate], supposed: Mapping[int, _Rate], one: int, other: int
    ) -> tuple[_Rate, _Rate] | None:
        mine, others = known.get(one), known.get(other)
        if others is None and one in self._streams[kind].inferred:
            others = supposed.get(other)
        return (mine, others) if mine is not None and others is not None else None

    def _below(self, rates: Sequence[tuple[_Rate, _Rate]]) -> float:
        """The chance that one route's rates together are below another's by more than the margin."""
        mine, others = _together([rate for rate, _ in rates]), _together([rate for _, rate in rates])
        return 0.5 * (1.0 + erf((others[0] - mine[0] - self._margin) / sqrt(mine[1] + others[1]) / _SQRT2))


def _together(rates: Sequence[_Rate]) -> _Rate:
    """The product of independent rates."""
    mean, variance = rates[0]
    for one, spread in rates[1:]:
        mean, variance = mean * one, mean * mean * spread + one * one * variance + variance * spread
    return mean, variance


def _posteriors(samples: Sequence[Sample], judged: Sequence[int]) -> dict[int, _Rate]:
    """The rates of those routes that have anything to say, each drawn towards what they did together."""
    some = [at for at in judged if samples[at].total >= MIN_FAST]
    total = sum(samples[at].total for at in some)
    together = sum(samples[at].good for at in some) / total if total > 0.0 else 1.0
    return {at: _posterior(samples[at], together) for at in some}


def _posterior(sample: Sample, together: float) -> _Rate:
    """Mean and variance of the beta distribution about a rate."""
    good = sample.good + _PRIOR * together
    total = sample.total + _PRIOR
    mean = good / total
    return mean, max(mean * (1.0 - mean), 1e-6) / (total + 1.0)


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
