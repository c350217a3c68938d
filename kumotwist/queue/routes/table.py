"""A route table at work: choices out, outcomes in.

Ask `choose` for each message, tell `report` what became of it; what is known of
a class is in `Standings`, what it gets by that in `Shares`. A choice itself is
a few additions.

A class learns by itself as soon as it has evidence enough; until then it is
judged by what all classes together have shown. So does the breaker: one for
each route and class, and one for the route as a whole.

Public: `RouteTable`, `Choice`, `Shown`. Nothing can go wrong: when no
route is left the resting weights decide, since trying is better than waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf

from attrs import define, evolve, field, frozen

from kumotwist.config.routes import RouteTableConfig
from kumotwist.queue.rest import Rest
from kumotwist.queue.routes.balance import Balance, by_key
from kumotwist.queue.routes.breaker import Breaker, State
from kumotwist.queue.routes.shares import Shares
from kumotwist.queue.routes.signals import IS_ALIVE, Signal
from kumotwist.queue.routes.sites import FailingSites
from kumotwist.queue.routes.standing import Known, Standing
from kumotwist.queue.routes.standings import Standings
from kumotwist.queue.routes.tallies import ALL, Tallies
from kumotwist.queue.routes.told import Change, Teller


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
    _names: tuple[str, ...] = field(init=False)
    _balance: Balance = field(init=False)
    _standings: Standings = field(init=False)
    _shares: Shares = field(init=False)
    #: The same for those who only look.
    _looks: Shares = field(init=False)
    _teller: Teller = field(init=False)
    #: Destinations that are dead, and that refuse our mail.
    _dead: FailingSites = field(factory=FailingSites, init=False)
    _refusing: FailingSites = field(factory=FailingSites, init=False)
    #: All that the routes have done, beside the evidence that moves shares.
    tallies: Tallies = field(init=False)

    def __attrs_post_init__(self) -> None:
        config, learn = self.config, self.config.learn
        names, rest = tuple(route.name for route in config.routes), config.resting_shares
        self._names = names
        self._balance = Balance(len(names))
        self.tallies = Tallies(learn.half_life)
        self._teller = Teller(
            names,
            rest,
            self.tallies,
            is_timed=learn.handed_over_within is not None,
            changed=lambda change: self.changed(change),
        )
        self._standings = Standings(len(names), learn.half_life, self._teller.forget)
        self._shares = Shares(names, rest, learn, self._standings, self._teller)
        self._looks = evolve(self._shares, only_looks=True)

    # -- choices out ------------------------------------------------------------------------------

    def choose(self, name: str, now: float, tried: Collection[str] = (), key: str | None = None) -> Choice | None:
        """The route for a message of class `name`, none of those `tried`; None when none is left.

        Messages with the same `key` have the same route as long as the shares are what they are.
        """
        shares = self._shares.left(name, now, tried)
        if shares is None:
            return None
        if key is None:
            position = self._balance.choose(name, shares)
        else:
            position = by_key(key, self._names, shares)
            self._balance.note(name, position, shares)
        return self._take(name, position, now)

    def would_choose(
        self, name: str, now: float, key: str | None = None, tried: Sequence[int] = ()
    ) -> tuple[int, Sequence[float]] | None:
        """The position that the next message of class `name` would get, and what each route is owed; see `choose`.

        `tried` are the positions that its attempt would have been given before, in their order; None when these
        are all. Nothing is counted, moved or told.
        """
        names = [self._names[at] for at in tried]
        before = [self._looks.left(name, now, names[:count]) for count in range(len(tried) + 1)]
        shares = before.pop()
        if shares is None:
            return None
        owed = list(self._balance.owed(name, shares))
        for position, others in zip(tried, before, strict=True):
            # In the class and in the table, as `Balance.choose` would have noted it.
            owed = [one + 2 * share for one, share in zip(owed, others or self._shares.rest, strict=True)]
            owed[position] -= 2.0
        if key is not None:
            return by_key(key, self._names, shares), owed
        return max((at for at, share in enumerate(shares) if share > 0.0), key=lambda at: owed[at]), owed

    def go_on(self, name: str, position: int, now: float) -> Choice:
        """A message goes by the route at `position`, which has been its turn already."""
        return self._take(name, position, now)

    def pin(self, name: str, position: int, now: float) -> Choice:
        """A message goes by the route at `position` because it must; the others make up for it."""
        self._balance.note(name, position, self.shares(name, now))
        return self._take(name, position, now)

    def others(self, name: str, tried: Collection[int], now: float) -> list[str]:
        """Where an attempt goes on after the routes at `tried`, the route with the largest share first.

        These are the routes that breakers let through; when all are out, those that have a weight.
        """
        return self._shares.others(name, {self._names[position] for position in tried}, now)

    def _take(self, name: str, position: int, now: float) -> Choice:
        is_trial = False
        for known in (self._standings.of(ALL), self._standings.of(name)):
            breaker = known.breakers[position]
            if breaker.state is not State.CLOSED:
                is_trial = True
                breaker.take(now)
        return Choice(position, self._names[position], is_trial)

    # -- outcomes in ------------------------------------------------------------------------------

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
    ) -> bool:
        """What became of a message of class `name` that was sent by the route at `position` at `since`, or just now.

        Whether it was noted as evidence, in its class and among all messages.
        Unless it `is_first`, another route had failed in the same attempt. That
        is the breaker's affair and no evidence: a storm that hits all routes
        would count as often against a small one as against a large one. Nor is
        a hand-over or failure while all routes are out, or of a message that was
        sent while they were: who was spared by the breakers, and is tried for
        that reason alone, would bear it for all. `site` is the destination, where
        the way leads to the recipient's own: one that is dead, or refuses our mail,
        counts once among all messages, and in a class in which others are well.
        """
        is_alive, sent = IS_ALIVE.get(signal), now if since is None else since
        is_noted = is_first and signal is not Signal.ANSWERED
        for one in {ALL, name}:
            known = self._standings.of(one)
            is_sites_own = site is not None and self._is_sites_own(one, name, position, site, signal, now)
            if is_sites_own and known.breakers[position].state is State.CLOSED:
                is_noted = False
                continue
            known.is_news = True
            if is_alive is not None:
                self._note_breaker(known, one, position, is_alive, now, sent)
            if is_first and signal is not Signal.ANSWERED:
                is_noted = known.note_evidence(position, signal, now, sent) and is_noted
        return is_noted

    def forgive(self, name: str, position: int, now: float, failures: int = 1) -> None:
        """An attempt failed by every route, first by the one at `position`: that says nothing about any of them.

        `failures` were noted against that one.
        """
        for one in {ALL, name}:
            self._standings.of(one).forgive(position, now, failures)

    def begin_rest(self, position: int, rest: Rest, now: float) -> None:
        """The account behind the route at `position` rests, for messages of all classes.

        When another route is well, this one is out until then, and a trial is made.
        """
        known = self._standings.of(ALL)
        breaker = known.breakers[position]
        before = breaker.state
        if not known.begin_rest(position, rest, now):
            return
        known.is_news = True
        self._note_outage(known, ALL, position, now)
        if before is State.CLOSED:
            self._teller.breaker(ALL, position, before, breaker)

    def soonest(self, now: float) -> float:
        """Seconds until the first rest of a route is over; infinite when none is out for one."""
        rests = [breaker.rest for breaker in self._standings.of(ALL).breakers]
        return min([left for rest in rests if rest is not None and (left := rest.left(now))], default=inf)

    def is_other_well(self, name: str, tried: Collection[str]) -> bool:
        """Whether there is a route for messages of class `name`, none of those `tried`, that is open and well."""
        both = zip(self._standings.of(ALL).breakers, self._standings.seen(name).breakers, strict=True)
        return any(
            route not in tried and all(breaker.is_well for breaker in breakers)
            for route, breakers in zip(self._names, both, strict=True)
        )

    def give_back(self, name: str, position: int, taken: float, again: float) -> None:
        """A message that was given the route at `position` at `taken`, as a trial, showed nothing of it.

        Another one may try from `again` on.
        """
        for one in (ALL, name):
            self._standings.of(one).breakers[position].give_back(taken, again)

    def _is_sites_own(self, one: str, name: str, position: int, site: str, signal: Signal, now: float) -> bool:
        """Note how a destination is, and whether a failure is its own and none of the route's."""
        is_alive = IS_ALIVE.get(signal)
        if is_alive:
            self._dead.note_well(one, position, site, now)
        if signal in (Signal.HANDED_OVER, Signal.SLOW):
            self._refusing.note_well(one, position, site, now)
        if is_alive is False:
            return self._dead.is_its_own(one, position, site, now, one != name)
        if signal is Signal.LOST:
            pause = self.config.learn.half_life
            return self._refusing.is_its_own_return(one, position, site, now, one != name, pause)
        return signal is Signal.REFUSED and self._refusing.is_its_own(one, position, site, now, one != name)

    def _note_breaker(self, known: Standing, name: str, position: int, is_good: bool, now: float, sent: float) -> None:
        breaker = known.breakers[position]
        before = breaker.state
        known.note(position, is_good, now, sent)
        self._note_outage(known, name, position, now)
        if known.is_shut and not is_good:
            breaker.keep_trying(now)
        if (breaker.state is State.CLOSED) is not (before is State.CLOSED):
            self._teller.breaker(name, position, before, breaker)

    def _note_outage(self, known: Standing, name: str, position: int, now: float) -> None:
        """Begin or end an outage of all routes; the route at `position` has made the difference, if there is any."""
        if known.note_outage(position, now):
            self._teller.outage(name, position, known.is_shut)

    # -- for those who look -----------------------------------------------------------------------

    def shares(self, name: str, now: float) -> Sequence[float]:
        """The shares of class `name` now, breakers aside; they add up to 1."""
        return self._shares.of(name, now)

    def open_shares(self, name: str, now: float) -> Sequence[float]:
        """The same without what breakers keep out; when that is all, a standby's or the resting shares."""
        return self._shares.open(name, now)

    def share_left(
        self, name: str, position: int, now: float, tried: Collection[str] = (), *, only_looks: bool = False
    ) -> float:
        """The share of the route at `position` among those that are in order and not `tried`.

        With `only_looks` nothing is told of what it has become.
        """
        shares = (self._looks if only_looks else self._shares).left(name, now, tried)
        return shares[position] if shares is not None else 0.0

    def breaker(self, name: str, position: int) -> Breaker:
        """The breaker of a route and class."""
        return self._standings.seen(name).breakers[position]

    def is_outage(self, name: str) -> bool:
        """Whether all routes are shut for class `name`, so that the weights decide and nobody is blamed."""
        return self._standings.seen(name).is_shut

    def classes(self) -> list[str]:
        """The classes to show: that of all, and those used last."""
        return self._standings.shown()

    def shown(self, name: str, position: int, now: float) -> Shown:
        """How a route and class stand; nothing is moved or told by it."""
        handed, arrived = (stream.believed(position) for stream in self._looks.streams(name, now))
        both = (self._standings.of(ALL).breakers[position], self.breaker(name, position))
        state = next((one.state for one in both if one.state is not State.CLOSED), State.CLOSED)
        return Shown(self._looks.steady(name, now)[position], handed.rate * arrived.rate, handed.total, state)

    # -- from table to table ----------------------------------------------------------------------

    def remember(self, other: RouteTable) -> None:
        """Take over what `other`, the table as it was before, knows about routes of the same names."""
        before = {name: position for position, name in enumerate(other._names)}
        positions = {at: before[name] for at, name in enumerate(self._names) if name in before}
        self._standings.remember(other._standings, positions)
        for at, former in positions.items():
            if not self.config.routes[at].leads_like(other.config.routes[former]):
                self._standings.of(ALL).breakers[at].end_rest()
        self._teller.remember(other._teller, positions)
        self._dead.remember(other._dead, positions)
        self._refusing.remember(other._refusing, positions)
        self.tallies.remember(other.tallies, {former: at for at, former in positions.items()})

    def judge_news(self, now: float) -> None:
        """Judge the classes of which there is news, also where nothing is chosen: who hears receipts alone, say."""
        for name in [name for name, known in self._standings.known() if known.is_news]:
            self._shares.of(name, now)

    def news(self) -> Iterator[tuple[str, Known]]:
        """What has been learned since this was asked last, by class, for other workers and the next start."""
        for name, known in self._standings.known():
            if self.tallies.news(name) or known.is_news:
                yield name, known.known(self.tallies.known(name))

    def hear(self, worker: int, name: str, known: Known, now: float) -> None:
        """What another worker has learned."""
        own = self._standings.of(name)
        own.hear(worker, known)
        self.tallies.hear(worker, name, known.tallies)
        for position, breaker in enumerate(own.breakers):
            before = breaker.state
            is_last = sum(one.state is State.CLOSED for one in own.breakers) == 1 and before is State.CLOSED
            if is_last and known.open_until[position] > 0.0:
                continue  # no other way is any better here
            rest = known.rests.get(position)
            if breaker.follow(known.open_until[position], known.moved[position], now, rest):
                self._teller.heard(name, position, before, breaker.state, worker)
                self._note_outage(own, name, position, now)

    def recall(self, name: str, known: Known, now: float) -> None:
        """What this worker had learned before it was started anew."""
        self._standings.of(name).recall(known, now)
        self.tallies.recall(name, known.tallies)
