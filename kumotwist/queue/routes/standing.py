"""How the routes of a table stand with one class of messages, and what workers tell each other about it.

Public: `Standing`, `Known`. Every list is by route, in the table's order. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil
from types import MappingProxyType
from typing import Final, TypeVar

from attrs import define, evolve, field, frozen

from kumotwist.queue.rest import Rest
from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.evidence import Evidence, Heard, arrivals, heard_of
from kumotwist.queue.routes.judgement import Judged, Sample, Stream
from kumotwist.queue.routes.signals import OF_HANDOVER, Signal
from kumotwist.queue.routes.tally import Tally

T = TypeVar("T")

_NO_SAMPLE: Final = Sample(0.0, 0.0)
_NOTHING: Final[Mapping[int, Tally]] = MappingProxyType({})
_NO_RESTS: Final[Mapping[int, Rest]] = MappingProxyType({})


@frozen(eq=False)
class Known:
    """What one worker knows about one class, by route; `open_until` is 0 for a breaker that is closed.

    `moved` is when the breaker opened or closed last.
    """

    handed: tuple[Evidence, ...]
    arrived: tuple[Evidence, ...]
    open_until: tuple[float, ...]
    moved: tuple[float, ...]
    #: The routes that were found to be worse.
    worse: frozenset[int] = frozenset()
    #: By position, of those that have any.
    tallies: Mapping[int, Tally] = _NOTHING
    #: The same, of breakers that are open for a rest.
    rests: Mapping[int, Rest] = _NO_RESTS

    def for_judgement(self) -> Known:
        """The same without tallies, which only people look at and `Tallies` keeps."""
        return evolve(self, tallies=_NOTHING) if self.tallies else self

    def on(self, routes: int, positions: Mapping[int, int], half_life: float) -> Known:
        """The same, of other routes; `positions` has a position here by the one there."""
        nothing = Evidence(half_life)
        handed, arrived = (_placed(one, routes, positions, lambda: nothing) for one in (self.handed, self.arrived))
        open_until, moved = (_placed(one, routes, positions, float) for one in (self.open_until, self.moved))
        rests = {at: self.rests[before] for at, before in positions.items() if before in self.rests}
        worse = _moved(self.worse, positions)
        return Known(tuple(handed), tuple(arrived), tuple(open_until), tuple(moved), worse, rests=rests)


@define(eq=False)
class Standing:
    """What is known about one class, by route."""

    handed: list[Evidence]
    arrived: list[Evidence]
    breakers: list[Breaker]
    judged: Judged | None = None
    #: The routes that were found to be worse.
    worse: frozenset[int] = frozenset()
    #: Since when, in Unix seconds.
    worse_since: dict[int, float] = field(factory=dict)
    judge_at: float = 0.0
    #: What other workers know, by worker.
    others: dict[int, Known] = field(factory=dict)
    is_news: bool = False
    #: What it rests on, at least: as long as these are few, the class has nothing to say of its own.
    reports: int = 0
    #: By route, failures to hand over that were noted as evidence since it last went well.
    blamed: list[int] = field(init=False)
    #: All routes are out: nothing that happens now says that one is worse than another.
    is_outage: bool = False
    #: When it last was over, for messages that were sent before then and are heard of later.
    outage_ended: float = 0.0
    #: All are shut, the last one too: the weights decide.
    is_shut: bool = False

    def __attrs_post_init__(self) -> None:
        self.blamed = [0] * len(self.breakers)

    @classmethod
    def fresh(cls, routes: int, half_life: float) -> Standing:
        """That of a class of which nothing is known, on so many routes."""
        return cls(
            [Evidence(half_life) for _ in range(routes)],
            [Evidence(half_life) for _ in range(routes)],
            [Breaker() for _ in range(routes)],
        )

    @classmethod
    def following(cls, former: Standing, routes: int, positions: Mapping[int, int], half_life: float) -> Standing:
        """What was known on a former table, for so many routes; `positions` has a former position by the present one.

        The evidence itself is the same, so what the former table still hears of counts here, too.
        """
        made = cls(
            _placed(former.handed, routes, positions, lambda: Evidence(half_life)),
            _placed(former.arrived, routes, positions, lambda: Evidence(half_life)),
            _placed(former.breakers, routes, positions, Breaker),
            worse=_moved(former.worse, positions),
            worse_since=_carried(former.worse_since, positions),
            is_news=former.is_news,
            outage_ended=former.outage_ended,
        )
        for one in (*made.handed, *made.arrived):
            one.half_life = half_life
        made.others = {worker: known.on(routes, positions, half_life) for worker, known in former.others.items()}
        made.reports = former.reports
        made.look()
        return made

    def seen(self, now: float) -> tuple[list[Evidence], list[Evidence]]:
        """Hand-overs and arrivals by route, as all workers together have seen them."""
        if not self.others:
            return self.handed, self.arrived
        known = self.others.values()
        return (
            [own.together([one.handed[at] for one in known], now) for at, own in enumerate(self.handed)],
            [own.together([one.arrived[at] for one in known], now) for at, own in enumerate(self.arrived)],
        )

    def streams(self, everybody: Standing, least: float, now: float) -> tuple[Stream, Stream]:
        """Hand-overs and arrivals by route.

        Where this class has not shown `least` of them, what `everybody`, all
        classes together, has shown. A route that was found to be worse is judged
        on by what is left, since little is sent to it.
        """
        reported = self.seen(now)
        reported_of_all = everybody.seen(now) if self is not everybody else reported
        heard_of_all = heard_of(*reported_of_all, now)
        heard = self._heard(*reported, heard_of_all, least, now)
        own = (reported[0], arrivals(*reported, heard, now))
        of_all = (reported_of_all[0], arrivals(*reported_of_all, heard_of_all, now))
        # What a class showed before a route was condemned tells nothing of its trouble: half of that has faded by then.
        acquits = [at for at, since in everybody.worse_since.items() if now - since >= self.handed[at].half_life]
        handed, arrived = (
            _stream(*both, self.worse, everybody.worse, acquits, least, now) for both in zip(own, of_all, strict=True)
        )
        if Heard.FAILURES in heard:
            silent = {at: (handed.whole[at], handed.lately[at]) for at, one in enumerate(heard) if one is Heard.NOTHING}
            inferred = frozenset(at for at, one in enumerate(heard) if one is Heard.FAILURES)
            arrived = evolve(arrived, silent=silent, inferred=inferred)
        return handed, arrived

    @staticmethod
    def _heard(
        handed: Sequence[Evidence], arrived: Sequence[Evidence], of_all: Sequence[Heard], least: float, now: float
    ) -> list[Heard]:
        """What is reported in this class, where that is enough to tell; else what is of all messages."""
        own = heard_of(handed, arrived, now)
        return [
            kind if out.slow.total >= least and kind is not Heard.NOTHING else general
            for out, kind, general in zip(handed, own, of_all, strict=True)
        ]

    def known(self, tallies: Mapping[int, Tally]) -> Known:
        """The same for other workers and the next start, with the `tallies` of this class; it is no news any more."""
        self.is_news = False
        until = tuple([one.open_until for one in self.breakers])
        moved = tuple([one.moved for one in self.breakers])
        rests = {at: one.rest for at, one in enumerate(self.breakers) if one.rest is not None}
        return Known(tuple(self.handed), tuple(self.arrived), until, moved, self.worse, tallies, rests)

    def recall(self, known: Known, now: float) -> None:
        """Take over what this worker knew before it was started anew."""
        for position, breaker in enumerate(self.breakers):
            self.handed[position].copy(known.handed[position])
            self.arrived[position].copy(known.arrived[position])
            breaker.follow(known.open_until[position], known.moved[position], now, known.rests.get(position))
        self.worse, self.worse_since = known.worse, dict.fromkeys(known.worse, now)
        self._count()
        self.look()

    def _count(self) -> None:
        """As many reports as what was taken over rests on."""
        self.reports = ceil(sum(one.slow.total for one in (*self.handed, *self.arrived)))

    def is_telling(self, sent: float, now: float) -> bool:
        """Whether the hand-over of a message that was sent at `sent`, or its failure, tells one route from another.

        Not while all routes are out, nor when it was sent while they were. A
        clock that was put back makes nobody deaf.
        """
        return not self.is_outage and not sent <= self.outage_ended <= now

    def follow(self, judged: Judged, now: float) -> None:
        """Note which routes are worse; of one that is well again the last minutes are all that counts from now on.

        So it is with what other workers know: they find it out for themselves, or are not there any more.
        """
        self.worse, since = judged.worse, self.worse_since
        self.worse_since = {at: since.get(at, now) for at in judged.worse}
        others = self.others.values()
        for position in judged.recovered:
            for handed, arrived in ((self.handed, self.arrived), *((one.handed, one.arrived) for one in others)):
                handed[position].forget_all_but_lately()
                arrived[position].forget_all_but_lately()
            self.is_news = True

    def hear(self, worker: int, known: Known) -> None:
        """What another worker knows; one that has not judged yet goes by what the other has found."""
        self.others[worker] = known.for_judgement()
        if self.judged is None:
            self.worse |= known.worse

    def note_evidence(self, position: int, signal: Signal, now: float, sent: float) -> bool:
        """A signal of a message by the route at `position`, which may move shares; whether it counts."""
        self.reports += 1
        is_good = signal in (Signal.HANDED_OVER, Signal.ARRIVED)
        if signal not in OF_HANDOVER:
            self.arrived[position].add(is_good, now)
        elif self.is_telling(sent, now):
            self.handed[position].add(is_good, now)
            if signal is Signal.FAILED:
                self.blamed[position] += 1
            elif signal is not Signal.REFUSED:
                self.blamed[position] = 0
        else:
            return False
        return True

    def forgive(self, position: int, now: float, failures: int) -> None:
        """So many failures that were noted against the route at `position` are none."""
        count = min(failures, self.blamed[position])  # an outage may have made up for them
        self.handed[position].forgive(now, count)
        self.blamed[position] -= count

    def note(self, position: int, is_good: bool, now: float, sent: float) -> None:
        """What became of a message by the route at `position`; its breaker opens when another way is better."""
        breaker = self.breakers[position]
        was_well = breaker.is_well
        alike = 0.0
        if not is_good or breaker.suspicion > 0.0:
            alike = min((one.failing for one in self.breakers if one is not breaker), default=0.0)
        breaker.note(is_good, now, sent, alike)
        if breaker.is_well and not was_well:
            for one in self.breakers:
                one.try_soon(now)  # what hit them all may be over for them, too
        if not breaker.is_alarmed:
            return
        others = [one for one in self.breakers if one is not breaker]
        if any(other.is_well for other in others):
            breaker.open(now)
        elif others and all(other.is_out for other in others):
            # The last way fails, too: once it is as dead as the others it is shut like them, and the weights decide.
            if breaker.is_spared and breaker.is_gone:
                breaker.open(now)
            else:
                breaker.spare()
        else:
            breaker.calm()

    def begin_rest(self, position: int, rest: Rest, now: float) -> bool:
        """The account behind the route at `position` rests: it is out, if another way is well; whether that is new.

        What has closed since the rest began knows better: another worker's trials went well.
        """
        breaker = self.breakers[position]
        if breaker.state is State.CLOSED and (
            rest.began <= breaker.moved <= now or not any(one.is_well for one in self.breakers if one is not breaker)
        ):
            return False
        return breaker.begin_rest(rest, now)

    def look(self) -> None:
        """Whether it is an outage of all routes, after breakers were set from elsewhere."""
        self.is_outage = len(self.breakers) > 1 and all(one.is_out for one in self.breakers)
        self.is_shut = self.is_outage and not any(one.state is State.CLOSED for one in self.breakers)

    def note_outage(self, position: int, now: float) -> bool:
        """Whether all routes are shut since the one at `position` changed, or are not any more."""
        if not self.is_outage and not self.breakers[position].is_out:
            return False
        was_outage, was_shut = self.is_outage, self.is_shut
        self.look()
        if self.is_outage is not was_outage:
            self.is_news, self.judge_at = True, 0.0
            if self.is_outage:
                self.forgive_all(now)
            else:
                self.outage_ended = now
        # Once all are shut, only a route that is well again ends it.
        self.is_shut = self.is_shut or (was_shut and self.is_outage)
        return self.is_shut is not was_shut

    def forgive_all(self, now: float) -> None:
        """What failed since each route last went well, failed in the same storm."""
        for position, evidence in enumerate(self.handed):
            evidence.forgive(now, self.blamed[position])
            self.blamed[position] = 0


def _placed(former: Sequence[T], routes: int, positions: Mapping[int, int], make: Callable[[], T]) -> list[T]:
    return [former[positions[at]] if at in positions else make() for at in range(routes)]


def _moved(worse: Collection[int], positions: Mapping[int, int]) -> frozenset[int]:
    return frozenset(at for at, before in positions.items() if before in worse)


def _carried(by_position: Mapping[int, float], positions: Mapping[int, int]) -> dict[int, float]:
    return {at: by_position[before] for at, before in positions.items() if before in by_position}


def _stream(
    own: Sequence[Evidence],
    everybody: Sequence[Evidence],
    worse: Collection[int],
    worse_of_all: Collection[int],
    acquits: Collection[int],
    least: float,
    now: float,
) -> Stream:
    whole, lately, of_class, has_changed = [], [], [], False
    for position, evidence in enumerate(own):
        evidence.fade(now)
        of_class.append(Sample(evidence.slow.good, evidence.slow.total) if position in acquits else _NO_SAMPLE)
        is_own = is_enough = evidence.slow.total >= least or position in worse
        if not is_own:
            evidence = everybody[position]
            evidence.fade(now)
            is_enough = evidence.slow.total >= least or position in worse_of_all
        slow, fast = evidence.slow, evidence.fast
        whole.append(Sample(slow.good, slow.total, is_enough, is_own))
        lately.append(Sample(fast.good, fast.total, fast.total >= least, is_own))
        has_changed = has_changed or evidence.has_changed
    return Stream(tuple(whole), tuple(lately), tuple(of_class), has_changed)
