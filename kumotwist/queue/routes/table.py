"""A route table at work: choices out, outcomes in.

Ask `choose` for each message, tell `report` what became of it. Shares are
computed anew every few seconds for each class; a choice itself is a few
additions.

A class learns by itself as soon as it has evidence enough; until then it is
judged by what all classes together have shown. So does the breaker: one for
each route and class, and one for the route as a whole.

Public: `RouteTable`, `Choice`, `Shown`. Nothing can go wrong: when no
route is left the resting weights decide, since trying is better than waiting.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from attrs import define, field, frozen

from kumotwist.config.routes import RouteTableConfig
from kumotwist.queue.routes.balance import MAX_CLASSES, Balance, by_key
from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.judgement import Judged, Sample, Stream, judge
from kumotwist.queue.routes.signals import IS_ALIVE, OF_HANDOVER, Signal
from kumotwist.queue.routes.sites import DeadSites
from kumotwist.queue.routes.standing import Known, Standing
from kumotwist.queue.routes.tallies import ALL, Tallies
from kumotwist.queue.routes.told import Change, Told, evidence

#: Seconds between two judgements of all messages together, and of one class: there may be a thousand, and sudden
#: death is the breaker's.
_REFRESH: Final = 1.0
_REFRESH_CLASS: Final = 3.0
#: Classes that metrics and explanations show. Ours: a dashboard of more is a list.
MAX_SHOWN: Final = 100


@frozen
class Choice:
    """A route by position and name; `is_trial` when its breaker was open."""

    position: int
    route: str
    is_trial: bool = False


@frozen
class Shown:
    """How a route and class stand, for metrics and explanations."""

    share: float
    #: The part of its messages that is handed over and arrives, as it is believed, and the samples behind it.
    health: float
    samples: float
    breaker: State


@define(eq=False)
class RouteTable:
    """`changed` hears of what moves."""

    config: RouteTableConfig
    changed: Callable[[Change], object] = field(default=lambda _: None)
    _balance: Balance = field(init=False)
    _classes: OrderedDict[str, Standing] = field(factory=OrderedDict, init=False)
    _weights: tuple[float, ...] = field(init=False)
    _told: Told = field(init=False)
    _dead: DeadSites = field(factory=DeadSites, init=False)
    #: All that the routes have done, beside the evidence that moves shares.
    tallies: Tallies = field(init=False)

    def __attrs_post_init__(self) -> None:
        total = sum(route.weight for route in self.config.routes)
        self._weights = tuple(route.weight / total for route in self.config.routes)
        self._balance = Balance(len(self._weights))
        self._told = Told(self._weights)
        self.tallies = Tallies(self.config.learn.half_life)

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> Choice | None:
        """The route for a message of class `name`, none of those `tried`; None when all were.

        Messages with the same `key` have the same route as long as the shares are what they are.
        """
        shares = self._shares_left(name, now, tried)
        if shares is None:
            return None
        if key is None:
            position = self._balance.choose(name, shares)
        else:
            position = by_key(key, [route.name for route in self.config.routes], shares)
            self._balance.note(name, position, shares)
        return self._take(name, position, now)

    def would_choose(
        self, name: str, now: float, key: str | None = None, tried: Sequence[int] = ()
    ) -> tuple[int, Sequence[float]] | None:
        """The position that the next message of class `name` would get, and what each route is owed; see `choose`.

        `tried` are the positions that its attempt would have been given before, in their order; None when these
        are all. Nothing is counted.
        """
        names = [route.name for route in self.config.routes]
        before = [self._shares_left(name, now, [names[at] for at in tried[:count]]) for count in range(len(tried) + 1)]
        shares = before.pop()
        if shares is None:
            return None
        owed = list(self._balance.owed(name, shares))
        for position, others in zip(tried, before, strict=True):
            # In the class and in the table, as `Balance.choose` would have noted it.
            owed = [one + 2 * share for one, share in zip(owed, others or self._weights, strict=True)]
            owed[position] -= 2.0
        if key is not None:
            return by_key(key, names, shares), owed
        return max((at for at, share in enumerate(shares) if share > 0.0), key=lambda at: owed[at]), owed

    def report(
        self,
        name: str,
        position: int,
        signal: Signal,
        now: float,
        *,
        since: float | None = None,
        is_first: bool = True,
        site: str | None = None,
    ) -> None:
        """What became of a message of class `name` that was sent by the route at `position` at `since`, or just now.

        Unless it `is_first`, another route had failed in the same attempt. That
        is the breaker's affair and no evidence: a storm that hits all routes
        would count as often against a small one as against a large one. Nor is
        a hand-over or failure while all routes are out, or of a message that was
        sent while they were: who was spared by the breakers, and is tried for
        that reason alone, would bear it for all. `site` is the destination, where
        the way leads to the recipient's own: one that is dead counts once among
        all messages, and in a class in which others answer.
        """
        is_good, sent = signal in (Signal.HANDED_OVER, Signal.ARRIVED), now if since is None else since
        is_alive = IS_ALIVE.get(signal)
        for one in {ALL, name}:
            known = self._class(one)
            is_sites_own = site is not None and self._is_sites_own(one, name, position, site, is_alive, now)
            if is_sites_own and known.breakers[position].state is State.CLOSED:
                continue
            known.is_news = True
            if is_alive is not None:
                self._note_breaker(known, one, position, is_alive, now, sent)
            if is_first and signal is not Signal.ANSWERED:
                self._note_evidence(known, position, signal, is_good, now, sent)

    def _is_sites_own(self, one: str, name: str, position: int, site: str, is_alive: bool | None, now: float) -> bool:
        if is_alive:
            self._dead.answered(one, position, site, now)
        return is_alive is False and self._dead.is_its_own(one, position, site, now, one != name)

    @staticmethod
    def _note_evidence(known: Standing, position: int, signal: Signal, is_good: bool, now: float, sent: float) -> None:
        known.reports += 1
        if signal not in OF_HANDOVER:
            known.arrived[position].add(is_good, now)
        elif known.is_telling(sent, now):
            known.handed[position].add(is_good, now)
            if signal is Signal.FAILED:
                known.blamed[position] += 1
            elif signal is not Signal.REFUSED:
                known.blamed[position] = 0

    def forgive(self, name: str, position: int, now: float, failures: int = 1) -> None:
        """An attempt failed by every route, first by the one at `position`: that says nothing about any of them.

        `failures` were noted against that one.
        """
        for one in {ALL, name}:
            known = self._class(one)
            count = min(failures, known.blamed[position])  # an outage may have made up for them
            known.handed[position].forgive(now, count)
            known.blamed[position] -= count

    def shares(self, name: str, now: float) -> Sequence[float]:
        """The shares of class `name` now, breakers aside; they add up to 1."""
        return self.judged(name, now).shares

    def open_shares(self, name: str, now: float) -> Sequence[float]:
        """The same without what breakers keep out; when that is all, a standby's or the resting shares."""
        return self._shares_left(name, now, ()) or self._weights  # they are left: nothing was tried

    def others(self, name: str, tried: Collection[int], now: float) -> list[str]:
        """Where an attempt goes on after the routes at `tried`, the route with the largest share first.

        These are the routes that breakers let through; when that is none, all that have a weight.
        """
        is_out = self._out(name, now, {self.config.routes[position].name for position in tried})
        shares = self.shares(name, now)
        left = [at for at in range(len(shares)) if not is_out[at]]
        left = left or [at for at, weight in enumerate(self._weights) if weight > 0.0 and at not in tried]
        return [self.config.routes[at].name for at in sorted(left, key=lambda at: -shares[at])]

    def judged(self, name: str, now: float) -> Judged:
        """The shares and what they rest on, no older than a few seconds."""
        known = self._seen(name)
        if known is self._class(ALL):
            name = ALL
        elif known.reports < self.config.learn.min_samples and not known.others:
            return self.judged(ALL, now)  # it has nothing of its own to say
        refresh = _REFRESH if name == ALL else _REFRESH_CLASS
        if known.judged is None or now >= known.judge_at or now < known.judge_at - refresh:
            before, known.judged = known.judged, self._judge(known, now)
            known.judge_at = now + refresh
            self._tell_shares(name, before, known.judged, now)
        return known.judged

    def breaker(self, name: str, position: int) -> Breaker:
        """The breaker of a route and class."""
        return self._seen(name).breakers[position]

    def is_outage(self, name: str) -> bool:
        """Whether all routes are shut for class `name`, so that the weights decide and nobody is blamed."""
        return self._seen(name).is_shut

    def share_left(self, name: str, position: int, now: float, tried: Collection[str] = ()) -> float:
        """The share of the route at `position` among those that are in order and not `tried`."""
        shares = self._shares_left(name, now, tried)
        return shares[position] if shares is not None else 0.0

    def go_on(self, name: str, position: int, now: float) -> Choice:
        """A message goes by the route at `position`, which has been its turn already."""
        return self._take(name, position, now)

    def pin(self, name: str, position: int, now: float) -> Choice:
        """A message goes by the route at `position` because it must; the others make up for it."""
        self._balance.note(name, position, self.shares(name, now))
        return self._take(name, position, now)

    def give_back(self, name: str, position: int, taken: float, again: float) -> None:
        """A message that was given the route at `position` at `taken`, as a trial, showed nothing of it.

        Another one may try from `again` on.
        """
        for known in (self._class(ALL), self._class(name)):
            known.breakers[position].give_back(taken, again)

    def remember(self, other: RouteTable) -> None:
        """Take over what `other`, the table as it was before, knows about routes of the same names."""
        before = {route.name: position for position, route in enumerate(other.config.routes)}
        names = [route.name for route in self.config.routes]
        positions = {at: before[name] for at, name in enumerate(names) if name in before}
        for name, former in other._classes.items():
            self._class(name).remember(former, positions)
        self._told.remember(other._told, positions)
        self._dead.remember(other._dead, positions)
        self.tallies.remember(other.tallies, {former: at for at, former in positions.items()})

    def news(self) -> Iterator[tuple[str, Known]]:
        """What has been learned since this was asked last, by class, for other workers and the next start."""
        for name, known in self._classes.items():
            if self.tallies.news(name) or known.is_news:
                yield name, known.known(self.tallies.known(name))

    def hear(self, worker: int, name: str, known: Known, now: float) -> None:
        """What another worker has learned."""
        own = self._class(name)
        own.hear(worker, known)
        self.tallies.hear(worker, name, known.tallies)
        for position, breaker in enumerate(own.breakers):
            before = breaker.state
            is_last = sum(one.state is State.CLOSED for one in own.breakers) == 1 and before is State.CLOSED
            if is_last and known.open_until[position] > 0.0:
                continue  # no other way is any better here
            if breaker.follow(known.open_until[position], known.moved[position], now):
                route = self.config.routes[position].name
                told = f"worker {worker} has {'closed' if breaker.state is State.CLOSED else 'opened'} it"
                self.changed(Change(route, name, "breaker", before.value, breaker.state.value, told, is_heard=True))
                self._note_outage(own, name, position, now)

    def recall(self, name: str, known: Known, now: float) -> None:
        """What this worker had learned before it was started anew."""
        self._class(name).recall(known, now)
        self.tallies.recall(name, known.tallies)

    def classes(self) -> list[str]:
        """The classes to show: that of all, and those used last."""
        return [ALL, *[name for name in reversed(self._classes) if name != ALL][: MAX_SHOWN - 1]]

    def shown(self, name: str, position: int, now: float) -> Shown:
        """How a route and class stand."""
        own = self._seen(name)
        handed, arrived = (stream.believed(position) for stream in self._streams(own, now))
        both = (self._class(ALL).breakers[position], own.breakers[position])
        state = next((one.state for one in both if one.state is not State.CLOSED), State.CLOSED)
        return Shown(self._steady_shares(name, now)[position], handed.rate * arrived.rate, handed.total, state)

    def _steady_shares(self, name: str, now: float) -> Sequence[float]:
        """What the routes get as things stand: one whose breaker is not closed has its trials only.

        With all ways shut each trial in its turn would look like the only way; there the weights decide.
        """
        everybody, own = self._class(ALL), self._seen(name)
        if own.is_shut:
            return self._weights
        is_closed = [
            one.state is other.state is State.CLOSED
            for one, other in zip(everybody.breakers, own.breakers, strict=True)
        ]
        shares = [share if closed else 0.0 for share, closed in zip(self.shares(name, now), is_closed, strict=True)]
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else self.open_shares(name, now)

    def _judge(self, known: Standing, now: float) -> Judged:
        learn = self.config.learn
        if not learn.enabled:
            nothing = (0.0,) * len(self._weights)
            return Judged(self._weights, nothing, (-1,) * len(self._weights))
        judged = judge(self._weights, self._streams(known, now), margin=learn.margin, floor=learn.floor)
        known.worse = (judged.worse[0], judged.worse[1])
        return judged

    def _streams(self, known: Standing, now: float) -> tuple[Stream, Stream]:
        return known.streams(self._class(ALL), self.config.learn.min_samples, now)

    def _shares_left(self, name: str, now: float, tried: Collection[str]) -> list[float] | None:
        """The shares, adding up to 1, of the routes that are not out; None when all were tried."""
        out = self._out(name, now, tried)
        shares = [0.0 if is_out else share for share, is_out in zip(self.shares(name, now), out, strict=True)]
        if not any(shares):
            shares = self._last_resort(out, tried)
        total = sum(shares)
        return [share / total for share in shares] if total > 0.0 else None

    def _out(self, name: str, now: float, tried: Collection[str]) -> list[bool]:
        """For each route whether it is out: tried already, or shut by a breaker."""
        everybody, own = self._class(ALL).breakers, self._seen(name).breakers
        return [
            route.name in tried or not everybody[position].allows(now) or not own[position].allows(now)
            for position, route in enumerate(self.config.routes)
        ]

    def _last_resort(self, out: Sequence[bool], tried: Collection[str]) -> list[float]:
        """Shares when no route with a weight is in order: a standby's if there is one, else by the resting weights."""
        if not all(out):
            first = out.index(False)
            return [1.0 if position == first else 0.0 for position in range(len(out))]
        return [
            0.0 if route.name in tried else weight
            for route, weight in zip(self.config.routes, self._weights, strict=True)
        ]

    def _note_breaker(self, known: Standing, name: str, position: int, is_good: bool, now: float, sent: float) -> None:
        breaker = known.breakers[position]
        before = breaker.state
        known.note(position, is_good, now, sent)
        self._note_outage(known, name, position, now)
        if known.is_shut and not is_good:
            breaker.keep_trying(now)
        if (breaker.state is State.CLOSED) is not (before is State.CLOSED):
            route = self.config.routes[position].name
            failed = f"{breaker.failed} of the last {breaker.seen} messages that this worker sent by it failed"
            told = "its trials went well" if breaker.state is State.CLOSED else failed
            self.changed(Change(route, name, "breaker", before.value, breaker.state.value, told))

    def _note_outage(self, known: Standing, name: str, position: int, now: float) -> None:
        """Begin or end an outage of all routes; the route at `position` has made the difference, if there is any."""
        if not known.note_outage(position, now):
            return
        words = ("no", "yes") if known.is_shut else ("yes", "no")
        why = (
            "all routes fail: resting shares hold, and what fails counts against none of them"
            if known.is_shut
            else "it is well again, and evidence counts"
        )
        self.changed(Change(self.config.routes[position].name, name, "outage", *words, why))

    def _tell_shares(self, name: str, before: Judged | None, after: Judged, now: float) -> None:
        moves = self._told.moves(name, before, after)
        if not moves:
            return
        streams = self._streams(self._seen(name), now)

        def named(position: int, handed: Sample) -> str:
            text = f"{self.config.routes[position].name}: {handed.rate:.1%} of {handed.total:.0f} handed over"
            if self.config.learn.handed_over_within is None:
                return text
            late = self.tallies.lately(name, position, now).to_handover.quantile(0.95)
            return f"{text} in time, 95 % within {late:.3g} s" if late is not None else f"{text} in time"

        for position, former in moves:
            why, route = evidence(position, after, streams, self._weights, named), self.config.routes[position].name
            self.changed(Change(route, name, "share", f"{former:.3f}", f"{after.shares[position]:.3f}", why))

    def _seen(self, name: str) -> Standing:
        """How the routes stand with a class; one that had no message yet is like all, and not noted for being asked."""
        return self._classes.get(name) or self._class(ALL)

    def _take(self, name: str, position: int, now: float) -> Choice:
        is_trial = False
        for breaker in (self._class(ALL).breakers[position], self._class(name).breakers[position]):
            if breaker.state is not State.CLOSED:
                is_trial = True
                breaker.take(now)
        return Choice(position, self.config.routes[position].name, is_trial)

    def _class(self, name: str) -> Standing:
        known = self._classes.get(name)
        if known is None:
            known = self._classes[name] = Standing.fresh(len(self._weights), self.config.learn.half_life)
            if len(self._classes) > MAX_CLASSES:
                oldest = next(one for one in self._classes if one != ALL)
                del self._classes[oldest]
                self._told.forget(oldest)
        elif name != ALL:
            self._classes.move_to_end(name)
        return known
