"""Shares: what part of the messages of a class each route gets now.

They are judged anew every few seconds. A class is judged by itself as soon as
it has evidence enough; until then by what all classes together have shown.
Breakers take routes out of them; when no route is left the resting weights
decide, since trying is better than waiting.

Public: `Shares`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.routes import LearnConfig
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.judgement import Judged, Stream, judge
from kumotwist.queue.routes.standing import Standing
from kumotwist.queue.routes.standings import Standings
from kumotwist.queue.routes.tallies import ALL
from kumotwist.queue.routes.told import Teller

#: Seconds between two judgements of all messages together, and of one class: there may be a thousand, and sudden
#: death is the breaker's.
_REFRESH: Final = 1.0
_REFRESH_CLASS: Final = 3.0


@define(eq=False)
class Shares:
    """The shares of a table by class, each list by route and adding up to 1; at `rest` they are as the weights say.

    With `only_looks` what is found out moves nothing and is told to nobody.
    """

    names: Sequence[str]
    rest: tuple[float, ...]
    learn: LearnConfig
    standings: Standings
    teller: Teller
    only_looks: bool = False
    #: What was found out by looking, at this moment and by class; not to judge each class for every route of it.
    _seen: tuple[float, dict[str, Judged]] = field(default=(0.0, {}), init=False)

    def of(self, name: str, now: float) -> Sequence[float]:
        """Those of class `name`, breakers aside."""
        return self._judged(name, now).shares

    def open(self, name: str, now: float) -> Sequence[float]:
        """The same without what breakers keep out; when that is all, a standby's or the resting shares."""
        return self.left(name, now) or self.rest  # they are left: nothing was tried

    def left(self, name: str, now: float, tried: Collection[str] = ()) -> list[float] | None:
        """The same among the routes that are not `tried` either; None when none is left for what was tried."""
        out = self._out(name, now, tried)
        shares = [0.0 if is_out else share for share, is_out in zip(self.of(name, now), out, strict=True)]
        if not any(shares):
            shares = self._last_resort(name, out, tried)
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else None

    def steady(self, name: str, now: float) -> Sequence[float]:
        """What the routes get as things stand: one whose breaker is not closed has its trials only.

        With all ways shut each trial in its turn would look like the only way; there the weights decide.
        """
        everybody, own = self.standings.of(ALL), self.standings.seen(name)
        if own.is_shut:
            return self.rest
        is_closed = [
            one.state is other.state is State.CLOSED
            for one, other in zip(everybody.breakers, own.breakers, strict=True)
        ]
        shares = [share if closed else 0.0 for share, closed in zip(self.of(name, now), is_closed, strict=True)]
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else self.open(name, now)

    def others(self, name: str, tried: Collection[str], now: float) -> list[str]:
        """Where an attempt goes on after the routes `tried`, the route with the largest share first.

        These are the routes that breakers let through; when all are out, those that have a weight.
        """
        is_out, shares = self._out(name, now, tried), self.of(name, now)
        left = [at for at in range(len(shares)) if not is_out[at]]
        if not left and self._are_all_out(name):
            left = [at for at, weight in enumerate(self.rest) if weight > 0.0 and self.names[at] not in tried]
        return [self.names[at] for at in sorted(left, key=lambda at: -shares[at])]

    def streams(self, name: str, now: float) -> tuple[Stream, Stream]:
        """Hand-overs and arrivals that they rest on."""
        return self._streams(self.standings.seen(name), now)

    def _judged(self, name: str, now: float) -> Judged:
        """The shares and what they rest on, no older than a few seconds."""
        known = self.standings.seen(name)
        if known is self.standings.of(ALL):
            name = ALL
        elif known.reports < self.learn.min_samples and not known.others:
            return self._judged(ALL, now)  # it has nothing of its own to say
        refresh = _REFRESH if name == ALL else _REFRESH_CLASS
        if known.judged is None or now >= known.judge_at or now < known.judge_at - refresh:
            if self.only_looks:
                return self._look(name, known, now)
            before, streams = known.judged, self._streams(known, now)
            known.judged, known.judge_at = self._judge(known, streams), now + refresh
            if self.learn.enabled:
                known.follow(known.judged, now)
            self.teller.shares(name, before, known.judged, now, streams)
        return known.judged

    def _look(self, name: str, known: Standing, now: float) -> Judged:
        """What the next message of the class would be judged by."""
        if self._seen[0] != now:
            self._seen = now, {}
        seen = self._seen[1]
        if name not in seen:
            seen[name] = self._judge(known, self._streams(known, now))
        return seen[name]

    def _judge(self, known: Standing, streams: tuple[Stream, Stream]) -> Judged:
        learn = self.learn
        if not learn.enabled:
            return Judged(self.rest, (0.0,) * len(self.rest), (-1,) * len(self.rest))
        return judge(self.rest, streams, margin=learn.margin, floor=learn.floor, worse=known.worse)

    def _streams(self, known: Standing, now: float) -> tuple[Stream, Stream]:
        return known.streams(self.standings.of(ALL), self.learn.min_samples, now)

    def _out(self, name: str, now: float, tried: Collection[str]) -> list[bool]:
        """For each route whether it is out: tried already, or shut by a breaker."""
        everybody, own = self.standings.of(ALL).breakers, self.standings.seen(name).breakers
        return [
            route in tried or not everybody[position].allows(now) or not own[position].allows(now)
            for position, route in enumerate(self.names)
        ]

    def _are_all_out(self, name: str) -> bool:
        return self.standings.seen(name).is_outage or self.standings.of(ALL).is_outage

    def _last_resort(self, name: str, out: Sequence[bool], tried: Collection[str]) -> list[float]:
        """When no route with a weight is in order: all to a standby if there is one, else by the resting weights.

        A message that was tried already goes by no route that is shut, unless all are out.
        """
        if not all(out):
            first = out.index(False)
            return [1.0 if position == first else 0.0 for position in range(len(out))]
        if tried and not self._are_all_out(name):
            return [0.0] * len(out)
        return [0.0 if route in tried else weight for route, weight in zip(self.names, self.rest, strict=True)]
