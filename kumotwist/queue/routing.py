"""Route tables in the queue: which table a message goes by, and where it is on its way.

A table is made when it is first named and kept for as long as its answer says;
made anew it remembers what its routes have shown. A message that was placed by
a table is a traveller until its attempt has ended; the message may then go on
over the next route. What became of it, the table hears through `queue.learning`.
A table that no message uses any more is forgotten when policy has it no longer,
or after a day; the state file knows what it has learned for as long.

Public: `Routing`, `Traveller`, `table_name_of`, `pin_of`, `position_of`. What can go wrong: PolicyError from
`get_route_table`, and for a `route` in a message's meta that its table has not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from math import inf
from typing import Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import ClassFunction, RouteEntry, RouteTableConfig, ended
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.answers import Answers
from kumotwist.queue.classes import Classes
from kumotwist.queue.routes.breaker import FIRST_PAUSE
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.routes.signals import may_go_elsewhere
from kumotwist.queue.routes.table import Choice, RouteTable
from kumotwist.queue.routes.told import Change
from kumotwist.queue.routestate import KEPT, RouteState
from kumotwist.queue.scheduled import ScheduledQueue

log: Final = Logger()

#: Tables remembered. Ours: names may come from messages; an operator has a handful.
MAX_TABLES: Final = 128
#: Seconds without a message after which policy is asked whether it still has a table, and after which the table is
#: forgotten whatever policy says: its rows in the state file end then, too. Ours.
_UNUSED: Final = 600.0
_LONG_UNUSED: Final = KEPT
#: Seconds between two looks for such tables.
_SWEEP_EVERY: Final = 60.0
#: What meta says when nobody has named anything: a policy may copy a header that is empty.
_NO_NAME: Final = (None, "")


async def _nothing() -> None:
    pass


@frozen
class Traveller:
    """A message on its way by a table, and the routes that this attempt has tried, the present one included."""

    table: RouteTable
    way: Way
    position: int
    tried: tuple[str, ...]
    #: When the route was chosen, in Unix seconds.
    since: float
    #: The route's breaker is open.
    is_trial: bool = False

    def give_back(self, again: float) -> None:
        """Should the trial not have been answered, another message may make it from `again` on."""
        if self.is_trial:
            self.table.give_back(self.way.name, self.position, self.since, again)

    @property
    def entry(self) -> RouteEntry:
        """The present route."""
        return self.table.config.routes[self.position]


@define(eq=False)
class Routing:
    """All tables of this worker. `changed` hears which table moved what; `tell` tells what waits to be told."""

    policy: QueuePolicy
    clock: Clock
    tasks: Tasks
    changed: Callable[[RouteTable, Change], object]
    classes: Classes
    #: Hears of a table and of those of its routes that are no more, or lead elsewhere now.
    ended: Callable[[str, Collection[str]], object] = lambda *_: None
    #: Where tables are shared and kept; None: in memory only.
    state: RouteState | None = None
    tell: Callable[[], Awaitable[object]] = _nothing
    _exchanging: bool = field(default=False, init=False)
    _epoch: int = field(init=False)
    _configs: Answers[RouteTableConfig] = field(init=False)
    _tables: dict[str, RouteTable] = field(factory=dict, init=False)
    #: The answer that a table is known to follow; another one may be equal.
    _followed: dict[str, RouteTableConfig] = field(factory=dict, init=False)
    _travellers: dict[SpoolId, Traveller] = field(factory=dict, init=False)
    #: When a message has used a table last.
    _used: dict[str, float] = field(factory=dict, init=False)
    _sweep_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._epoch = self.policy.epoch
        flight: SingleFlight[str, RouteTableConfig] = SingleFlight(self.tasks.spawn, "route table")
        ask, clock = self.policy.route_table, self.clock
        self._configs = Answers(ask, lambda table: table.ttl, MAX_TABLES, self.policy, clock, flight)

    def tick(self) -> None:
        """Once a second: tell the other workers what is new, and hear of theirs."""
        if self.policy.epoch != self._epoch:
            self._epoch = self.policy.epoch
            self._let_go()
            for name in {traveller.way.table for traveller in self._travellers.values()}:
                self.tasks.spawn("a route table of the new policy", self._follow(name))
        now = self.clock.seconds()
        if not self._sweep_at - _SWEEP_EVERY <= now < self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY
            for name in [name for name, used in self._used.items() if now - used >= _UNUSED]:
                self.tasks.spawn("look for an unused route table", self._forget_unless_there(name))
        if self.state is not None and self._tables and not self._exchanging:
            self._exchanging = True
            self.tasks.spawn("exchange of what routes have shown", self._exchange(self.state))

    async def _follow(self, name: str) -> None:
        """See whether messages are on routes that the policy has no longer."""
        try:
            await self.table(name)
        except PolicyError as error:
            log.info("messages on route table {table} go on as they are: {error}", table=name, error=error)

    async def _forget_unless_there(self, name: str) -> None:
        """Forget a table that no message uses, unless policy has it still."""
        if self.clock.seconds() - self._used.get(name, 0.0) < _LONG_UNUSED:
            try:
                await self._configs.get(name)
                return
            except CancelledError:
                raise
            except PolicyError:
                pass
        if self.clock.seconds() - self._used.get(name, inf) >= _UNUSED:  # nobody has come meanwhile
            self._forget(name)

    def _forget(self, name: str) -> None:
        for known in (self._tables, self._followed, self._used):
            known.pop(name, None)

    def _let_go(self) -> None:
        """The policy was loaded anew: nothing of ours holds a function of the old one."""
        self._configs.forget_old()
        for name, table in self._tables.items():
            if isinstance(table.config.class_, ClassFunction):
                gone = ended(table.config.class_)
                table.config = evolve(table.config, class_=gone)  # type: ignore[misc]  # an attrs class, see `options`
                self._followed[name] = table.config

    async def close(self) -> None:
        """Tell and keep what was learned since the last second."""
        await self.tell()
        if self.state is not None and self._tables:
            await self.state.exchange(list(self._tables.values()))

    async def _exchange(self, state: RouteState) -> None:
        try:
            # First, so that whatever another worker follows has been told by the time that it hears of it.
            await self.tell()
            await state.exchange(list(self._tables.values()))
        finally:
            self._exchanging = False

    def at_work(self, name: str) -> RouteTable | None:
        """The table of that name as it is, without asking anybody; None when nobody has used it."""
        return self._tables.get(name)

    @property
    def tables(self) -> Mapping[str, RouteTable]:
        """All tables that have been used, by name."""
        return self._tables

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
        if name not in self._tables and self.state is not None:
            made = self._made(config)
            await self.state.recall(made)
            if name not in self._tables:  # another caller may have waited for the same
                self._place(made)
            config = await self._configs.get(name)  # and the policy may have been loaded anew
        table = self._tables.get(name)
        if table is None or table.config != config:
            former, table = table, self._made(config)
            if former is not None:
                table.remember(former)
                if gone := _gone(former.config, config):
                    self.ended(name, gone)
            self._place(table)
        table.config = config  # equal, but a function in it is the present policy's
        self._followed[name] = config
        return table

    def _made(self, config: RouteTableConfig) -> RouteTable:
        made = RouteTable(config, lambda change: self.changed(made, change))
        return made

    def _place(self, table: RouteTable) -> None:
        """Put the table to use; the one that was used longest ago goes when there are too many."""
        name = table.config.name
        self._tables[name], self._used[name] = table, self.clock.seconds()
        if len(self._tables) > MAX_TABLES:
            self._forget(min(self._used, key=self._used.__getitem__))

    async def look_at(self, name: str) -> RouteTable:
        """The table as it is, for those who only look; one that no message uses is made for the answer alone.

        Raises PolicyError.
        """
        config, table = await self._configs.get(name), self._tables.get(name)
        if table is not None and table.config == config:
            table.config = self._followed[name] = config  # equal, but a function in it is the present policy's
            return table
        made = RouteTable(config)
        if table is not None:
            made.remember(table)
        elif self.state is not None:
            await self.state.recall(made)
        return made

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
            choice: Choice | None = table.pin(name, position, now)
        else:
            choice = table.choose(name, now, tried, sticky_key(config, message))
        if choice is None:
            return None
        self._used[config.name] = now
        way = Way(config.name, choice.route, name)
        traveller = Traveller(table, way, choice.position, (*tried, choice.route), now, choice.is_trial)
        former = self._travellers.get(message.id)
        if former is not None:
            former.give_back(now)  # the message itself is not held up
        self._travellers[message.id] = traveller
        return traveller

    def traveller(self, message: Message) -> Traveller | None:
        """Where the message is on its way; None when no table placed it."""
        return self._travellers.get(message.id) if self._travellers else None

    def arrive(self, message: Message) -> None:
        """The attempt is over: the message has ended, or waits."""
        traveller = self._travellers.pop(message.id, None) if self._travellers else None
        if traveller is not None and traveller.is_trial:
            # Not at once: the next message might have to wait for it as this one does.
            traveller.give_back(self.clock.seconds() + FIRST_PAUSE)

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


def _gone(former: RouteTableConfig, config: RouteTableConfig) -> frozenset[str]:
    """The routes of `former` that are no more, or lead elsewhere now."""
    ways = {(route.name, route.protocol, route.egress_pool) for route in config.routes}
    return frozenset(
        route.name for route in former.routes if (route.name, route.protocol, route.egress_pool) not in ways
    )


def table_name_of(message: Message, config: QueueConfig) -> str | None:
    """The table that a message begins with: its own meta's, else its queue's; None for none."""
    own = message.meta.get("route_table")
    return str(own) if own not in _NO_NAME else config.route_table


def pin_of(message: Message) -> str | None:
    """The route that the message's meta pins it to, on the table that it began with; None for none."""
    pinned = message.meta.get("route")
    if pinned in _NO_NAME or (message.course is not None and message.course.stage is not None):
        return None
    return str(pinned)


def position_of(config: RouteTableConfig, pinned: str) -> int:
    """The route that a message is pinned to, by position. Raises PolicyError when the table has not got it."""
    position = config.position(pinned)
    if position is not None:
        return position
    known = ", ".join(route.name for route in config.routes)
    raise PolicyError(f"meta.route is '{pinned}', which route table '{config.name}' has not; it has {known}")
