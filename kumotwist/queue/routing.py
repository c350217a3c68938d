"""Route tables in the queue: which table a message goes by, where it is on its way, and what is learned from it.

A table is made when it is first named and kept for as long as its answer says;
made anew it remembers what its routes have shown. A message that was placed by
a table is a traveller until its attempt has ended: the table then hears what
became of it, and the message may go on over the next route.

Public: `Routing`, `Traveller`, `table_name_of`, `pin_of`, `position_of`. What can go wrong: PolicyError from
`get_route_table`, and for a `route` in a message's meta that its table has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, evolve, field, frozen

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import ClassFunction, RouteEntry, RouteTableConfig, ended
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.receipt import ReceiptEvent, ReceiptState
from kumotwist.core.stats import Sample
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.answers import Answers
from kumotwist.queue.classes import Classes
from kumotwist.queue.overdue import Overdue
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.routes.signals import Signal, may_go_elsewhere, signal_of, signal_of_receipt
from kumotwist.queue.routes.table import Change, RouteTable
from kumotwist.queue.routes.tallies import ALL
from kumotwist.queue.routes.tally import samples_of
from kumotwist.queue.routestate import RouteState
from kumotwist.queue.scheduled import ScheduledQueue

#: Tables remembered. Ours: names may come from messages; an operator has a handful.
MAX_TABLES: Final = 128


@frozen
class Traveller:
    """A message on its way by a table, and the routes that this attempt has tried, the present one included."""

    table: RouteTable
    way: Way
    position: int
    tried: tuple[str, ...]
    #: When the route was chosen, in Unix seconds.
    since: float

    @property
    def entry(self) -> RouteEntry:
        """The present route."""
        return self.table.config.routes[self.position]


@define(eq=False)
class Routing:
    """All tables of this worker. `changed` hears which table moved what."""

    policy: QueuePolicy
    clock: Clock
    tasks: Tasks
    changed: Callable[[RouteTable, Change], object]
    classes: Classes
    #: Where tables are shared and kept; None: in memory only.
    state: RouteState | None = None
    #: What waits for receipts; None: nobody does, and only those that come late are lost.
    overdue: Overdue | None = None
    _exchanging: bool = field(default=False, init=False)
    _epoch: int = field(init=False)
    _configs: Answers[RouteTableConfig] = field(init=False)
    _tables: dict[str, RouteTable] = field(factory=dict, init=False)
    #: The answer that a table is known to follow; another one may be equal.
    _followed: dict[str, RouteTableConfig] = field(factory=dict, init=False)
    _travellers: dict[SpoolId, Traveller] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._epoch = self.policy.epoch
        flight: SingleFlight[str, RouteTableConfig] = SingleFlight(self.tasks.spawn, "route table")
        ask, clock = self.policy.route_table, self.clock
        self._configs = Answers(ask, lambda table: table.ttl, MAX_TABLES, self.policy, clock, flight)

    def tick(self) -> None:
        """Once a second: tell the other workers what is new, and hear of theirs."""
        if self.overdue is not None:
            self.overdue.tick(self.clock.seconds(), self._lose)
        if self.policy.epoch != self._epoch:
            self._epoch = self.policy.epoch
            self._let_go()
        if self.state is not None and self._tables and not self._exchanging:
            self._exchanging = True
            self.tasks.spawn("exchange of what routes have shown", self._exchange(self.state))

    def _let_go(self) -> None:
        """The policy was loaded anew: nothing of ours holds a function of the old one."""
        self._configs.forget_old()
        for name, table in self._tables.items():
            if isinstance(table.config.class_, ClassFunction):
                gone = ended(table.config.class_)
                table.config = evolve(table.config, class_=gone)  # type: ignore[misc]  # an attrs class, see `options`
                self._followed[name] = table.config

    async def close(self) -> None:
        """Keep what was learned since the last second."""
        if self.state is not None and self._tables:
            await self.state.exchange(list(self._tables.values()))

    async def _exchange(self, state: RouteState) -> None:
        try:
            await state.exchange(list(self._tables.values()))
        finally:
            self._exchanging = False

    def at_work(self, name: str) -> RouteTable | None:
        """The table of that name as it is, without asking anybody; None when nobody has used it."""
        return self._tables.get(name)

    def table_name(self, queue: ScheduledQueue, message: Message) -> str | None:
        """The table that a message goes by: its stage's, its own meta's, else its queue's; None for none."""
        if message.course is not None:
            return message.course.at
        return self.own_table_name(queue, message)

    def own_table_name(self, queue: ScheduledQueue, message: Message) -> str | None:
        """The same without a look at its stage: where it begins."""
        return table_name_of(message, queue.config)

    async def table(self, name: str) -> RouteTable:
        """The table of that name. Raises PolicyError."""
        config = await self._configs.get(name)
        table = self._tables.get(name)
        if table is None or table.config != config:
            made = RouteTable(config, lambda change: self.changed(made, change))
            if table is not None:
                made.remember(table)
            elif self.state is not None:
                await self.state.recall(made)
                made = self._tables.get(name, made)  # another caller may have waited for the same
            self._tables[name] = table = made
            if len(self._tables) > MAX_TABLES:
                oldest = next(iter(self._tables))
                del self._tables[oldest], self._followed[oldest]
        table.config = config  # equal, but a function in it is the present policy's
        self._followed[name] = config
        return table

    def fresh_table(self, name: str) -> RouteTable | None:
        """The table if it is at hand, without asking anybody."""
        config = self._configs.fresh(name)
        return self._tables[name] if config is not None and self._followed.get(name) is config else None

    def class_at_hand(self, table: RouteTable, message: Message) -> str | None:
        """The message's class, if nobody has to be asked for it."""
        return self.classes.known(table.config, message)

    async def class_of(self, table: RouteTable, message: Message) -> str:
        """The message's class."""
        return await self.classes.find(table.config, message)

    def set_out(self, message: Message, table: RouteTable, name: str, tried: tuple[str, ...] = ()) -> Traveller | None:
        """Choose the route for a message of class `name`, none of those `tried`; None when all were.

        Raises PolicyError.
        """
        config, pinned, now = table.config, pin_of(message), self.clock.seconds()
        if pinned is not None:
            position = position_of(config, pinned)
            if pinned in tried:
                return None
            table.pin(name, position, now)
        else:
            choice = table.choose(name, now, tried, sticky_key(config, message))
            if choice is None:
                return None
            position = choice.position
        route = config.routes[position].name
        traveller = Traveller(table, Way(config.name, route, name), position, (*tried, route), now)
        self._travellers[message.id] = traveller
        return traveller

    def traveller(self, message: Message) -> Traveller | None:
        """Where the message is on its way; None when no table placed it."""
        return self._travellers.get(message.id) if self._travellers else None

    def arrive(self, message: Message) -> None:
        """The attempt is over: the message has ended, or waits."""
        if self._travellers:
            self._travellers.pop(message.id, None)

    def learn(self, message: Message, outcome: Outcome) -> None:
        """Tell the table what became of an attempt."""
        traveller = self.traveller(message)
        if traveller is None:
            return
        table, name, position, now = traveller.table, traveller.way.name, traveller.position, self.clock.seconds()
        seconds = max(now - traveller.since, 0.0)
        table.tallies.outcome(name, position, outcome.verdict, seconds, now)
        within = table.config.learn.receipt_within
        if self.overdue is not None and within is not None and outcome.verdict is Verdict.DELIVERED:
            self.overdue.wait(message.id, traveller.way, now + within)
        signal = signal_of(outcome, seconds, table.config.learn.handed_over_within)
        if signal is not None:
            is_first = len(traveller.tried) == 1
            table.report(name, position, signal, now, since=traveller.since, is_first=is_first)

    def learn_receipt(self, way: Way, event: ReceiptEvent, handed_over: float | None = None) -> None:
        """Tell the table what a receipt says about the route that carried the message.

        `handed_over` is when it did, in Unix seconds, if that is known. After a
        start the first word about a table may be a receipt.
        """
        if way.table in self._tables:
            self._learn_receipt(self._tables[way.table], way, event, handed_over)
        else:
            self.tasks.spawn("receipt for a route table", self._learn_receipt_later(way, event, handed_over))

    async def _learn_receipt_later(self, way: Way, event: ReceiptEvent, handed_over: float | None) -> None:
        try:
            table = await self.table(way.table)
        except PolicyError:
            return  # there is no such table any more
        self._learn_receipt(table, way, event, handed_over)

    def _learn_receipt(self, table: RouteTable, way: Way, event: ReceiptEvent, handed_over: float | None) -> None:
        position = table.config.position(way.route)
        if position is None:
            return
        now = self.clock.seconds()
        seconds = _until(event, handed_over, now)
        table.tallies.receipt(way.name, position, event.state, seconds, now)
        within = table.config.learn.receipt_within
        signal = signal_of_receipt(event.state, event.class_, seconds, within)
        is_late = within is not None and seconds is not None and seconds > within
        if is_late and self.overdue is not None and event.state is ReceiptState.DELIVERED:
            return  # it has counted as lost when it was due
        if signal is not None:
            table.report(way.name, position, signal, now)

    def _lose(self, way: Way) -> None:
        """Nothing was heard of a message in time; that tells something on routes of which something is heard."""
        table, now = self._tables.get(way.table), self.clock.seconds()
        if table is None:
            return
        position = table.config.position(way.route)
        if position is not None and table.tallies.lately(ALL, position, now).receipts:
            table.report(way.name, position, Signal.LOST, now)

    def next_route(self, message: Message, outcome: Outcome) -> Traveller | None:
        """The route over which the same attempt goes on; None when it does not."""
        traveller = self.traveller(message)
        if traveller is None:
            return None
        config = traveller.table.config
        if config.on_failure != "next_route" or not may_go_elsewhere(outcome, config.next_when_unknown):
            return None
        following = self.set_out(message, traveller.table, traveller.way.name, traveller.tried)
        if following is None and len(traveller.tried) == len(config.routes) > 1:
            first = position_of(config, traveller.tried[0])
            traveller.table.forgive(traveller.way.name, first, self.clock.seconds())
        return following

    def after(self, message: Message, traveller: Traveller | None) -> Traveller | None:
        """The next route when the one at hand has no room; None when there is none."""
        if traveller is None or traveller.table.config.on_failure != "next_route":
            return None
        return self.set_out(message, traveller.table, traveller.way.name, traveller.tried)

    def samples(self) -> Iterator[Sample]:
        """Shares, health and breakers, by table, route and class."""
        yield from self.classes.samples()
        now = self.clock.seconds()
        for name, table in self._tables.items():
            weights = sum(route.weight for route in table.config.routes)
            for class_ in table.classes():
                yield Sample(
                    "route_outage", float(table.is_outage(class_)), (("table", name), ("class", class_ or "all"))
                )
            for position, route in enumerate(table.config.routes):
                yield Sample("route_resting_share", route.weight / weights, (("table", name), ("route", route.name)))
                for class_ in table.classes():
                    labels = (("table", name), ("route", route.name), ("class", class_ or "all"))
                    yield from _samples(table, position, class_, labels, now)


def table_name_of(message: Message, config: QueueConfig) -> str | None:
    """The table that a message begins with: its own meta's, else its queue's; None for none."""
    own = message.meta.get("route_table")
    return str(own) if own is not None else config.route_table


def pin_of(message: Message) -> str | None:
    """The route that the message's meta pins it to, on the table that it began with; None for none."""
    pinned = message.meta.get("route")
    if pinned is None or (message.course is not None and message.course.stage is not None):
        return None
    return str(pinned)


def _samples(
    table: RouteTable, position: int, class_: str, labels: tuple[tuple[str, str], ...], now: float
) -> Iterator[Sample]:
    shown = table.shown(class_, position, now)
    yield Sample("route_share", shown.share, labels)
    yield Sample("route_health", shown.health, labels)
    yield Sample("route_samples", shown.samples, labels)
    yield Sample("route_breaker_open", float(shown.breaker is not State.CLOSED), labels)
    tally = table.tallies.counted(class_, position)
    if tally is not None:
        yield from samples_of(tally, labels)


def _until(event: ReceiptEvent, handed_over: float | None, now: float) -> float | None:
    """Seconds from hand-over to receipt: by the provider's clock if it says, which may be fast, else by ours."""
    if handed_over is None:
        return None
    came = min(event.event_time, now) if event.event_time is not None else now
    return max(came - handed_over, 0.0)


def position_of(config: RouteTableConfig, pinned: str) -> int:
    """The route that a message is pinned to, by position. Raises PolicyError when the table has not got it."""
    position = config.position(pinned)
    if position is not None:
        return position
    known = ", ".join(route.name for route in config.routes)
    raise PolicyError(f"meta.route is '{pinned}', which route table '{config.name}' has not; it has {known}")
