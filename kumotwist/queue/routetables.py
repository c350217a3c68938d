"""The route tables of a worker: made when first named, kept as policy has them, forgotten when nobody uses them.

A table is kept for as long as its answer says; made anew it remembers what its
routes have shown. One that no message uses any more is forgotten when policy
has it no longer, or after a day; the state file knows what it has learned for
as long. Which message goes by which table is `routing`'s affair.

Public: `RouteTables`, `MAX_TABLES`, `nothing`. What can go wrong: PolicyError from `get_route_table`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from math import inf
from typing import Final

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.routes import ClassFunction, RouteTableConfig, ended
from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import QueuePolicy
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks
from kumotwist.queue.answers import Answers
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.told import Change
from kumotwist.queue.routestate import KEPT, RouteState

log: Final = Logger()

#: Tables remembered. Ours: names may come from messages; an operator has a handful.
MAX_TABLES: Final = 128
#: Seconds without a message after which policy is asked whether it still has a table, and after which the table is
#: forgotten whatever policy says: its rows in the state file end then, too. Ours.
_UNUSED: Final = 600.0
_LONG_UNUSED: Final = KEPT
#: Seconds between two looks for such tables.
_SWEEP_EVERY: Final = 60.0


async def nothing() -> None:
    """There is nobody to tell."""


@define(eq=False)
class RouteTables:
    """All tables of this worker. `changed` hears which table moved what; `tell` tells what waits to be told."""

    policy: QueuePolicy
    clock: Clock
    tasks: Tasks
    changed: Callable[[RouteTable, Change], object]
    #: Hears of a table and of those of its routes that are no more, or lead elsewhere now.
    ended: Callable[[str, Collection[str]], object] = lambda *_: None
    #: Where tables are shared and kept; None: in memory only.
    state: RouteState | None = None
    tell: Callable[[], Awaitable[object]] = nothing
    _is_exchanging: bool = field(default=False, init=False)
    _epoch: int = field(init=False)
    _configs: Answers[RouteTableConfig] = field(init=False)
    _recalls: SingleFlight[str, None] = field(init=False)
    _tables: dict[str, RouteTable] = field(factory=dict, init=False)
    #: The answer that a table is known to follow; another one may be equal.
    _followed: dict[str, RouteTableConfig] = field(factory=dict, init=False)
    #: When a message has used a table last.
    _used: dict[str, float] = field(factory=dict, init=False)
    _sweep_at: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._epoch = self.policy.epoch
        flight: SingleFlight[str, RouteTableConfig] = SingleFlight(self.tasks.spawn, "route table")
        ask, clock = self.policy.route_table, self.clock
        self._recalls = SingleFlight(self.tasks.spawn, "what is known of a route table")
        self._configs = Answers(ask, lambda table: table.ttl, MAX_TABLES, self.policy, clock, flight)

    # -- for a message ----------------------------------------------------------------------------

    async def get(self, name: str) -> RouteTable:
        """The table of that name, as policy has it. Raises PolicyError."""
        config = await self._configs.get(name)
        if name not in self._tables and self.state is not None:
            await self._recalls.run(name, lambda: self._recall(config))
            config = await self._configs.get(name)  # the policy may have been loaded anew
        table = self._tables.get(name)
        if table is None or table.config != config:
            table = self._made_anew(table, config)
        table.config = config  # equal, but a function in it is the present policy's
        self._followed[name] = config
        return table

    def at_hand(self, name: str) -> RouteTable | None:
        """The table of that name, if nobody has to be asked for it."""
        config = self._configs.fresh(name)
        return self._tables[name] if config is not None and self._followed.get(name) is config else None

    def note_use(self, name: str, now: float) -> None:
        """A message goes by that table."""
        self._used[name] = now

    # -- for those who look -----------------------------------------------------------------------

    @property
    def all(self) -> Mapping[str, RouteTable]:
        """All tables that have been used, by name."""
        return self._tables

    def at_work(self, name: str) -> RouteTable | None:
        """The table of that name as it is, without asking anybody; None when nobody has used it."""
        return self._tables.get(name)

    async def look_at(self, name: str) -> RouteTable:
        """The table as policy has it; one that no message uses is made for the answer alone. Raises PolicyError."""
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

    # -- making and forgetting --------------------------------------------------------------------

    def _made(self, config: RouteTableConfig) -> RouteTable:
        made = RouteTable(config, lambda change: self.changed(made, change))
        return made

    async def _recall(self, config: RouteTableConfig) -> None:
        """Make the table with what is known of it: once, however many messages wait for it."""
        if self.state is not None and config.name not in self._tables:
            made = self._made(config)
            await self.state.recall(made)
            self._place(made)

    def _made_anew(self, former: RouteTable | None, config: RouteTableConfig) -> RouteTable:
        table = self._made(config)
        if former is not None:
            table.remember(former)
            if gone := _gone(former.config, config):
                self.ended(config.name, gone)
        self._place(table)
        return table

    def _place(self, table: RouteTable) -> None:
        """Put the table to use; the one that was used longest ago goes when there are too many."""
        name = table.config.name
        self._tables[name], self._used[name] = table, self.clock.seconds()
        if len(self._tables) > MAX_TABLES:
            self._forget(min(self._used, key=self._used.__getitem__))

    def _forget(self, name: str) -> None:
        for known in (self._tables, self._followed, self._used):
            known.pop(name, None)

    # -- by itself --------------------------------------------------------------------------------

    def tick(self, travelled: Callable[[], Collection[str]]) -> None:
        """Once a second: follow a new policy, forget the unused, and tell the other workers what is new.

        `travelled` names the tables by which messages are on their way.
        """
        if self.policy.epoch != self._epoch:
            self._epoch = self.policy.epoch
            self._let_go()
            for name in travelled():
                self.tasks.spawn("a route table of the new policy", self._follow(name))
        now = self.clock.seconds()
        if not self._sweep_at - _SWEEP_EVERY <= now < self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY
            for name in [name for name, used in self._used.items() if now - used >= _UNUSED]:
                self.tasks.spawn("look for an unused route table", self._forget_unless_there(name))
        if self.state is not None and self._tables and not self._is_exchanging:
            self._is_exchanging = True
            self.tasks.spawn("exchange of what routes have shown", self._exchange(self.state))

    async def close(self) -> None:
        """Tell and keep what was learned since the last second."""
        await self.tell()
        if self.state is not None and self._tables:
            await self.state.exchange(list(self._tables.values()))

    def _let_go(self) -> None:
        """The policy was loaded anew: nothing of ours holds a function of the old one."""
        self._configs.forget_old()
        for name, table in self._tables.items():
            if isinstance(table.config.class_, ClassFunction):
                gone = ended(table.config.class_)
                table.config = evolve(table.config, class_=gone)  # type: ignore[misc]  # an attrs class, see `options`
                self._followed[name] = table.config

    async def _follow(self, name: str) -> None:
        """See whether messages are on routes that the policy has no longer."""
        try:
            await self.get(name)
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

    async def _exchange(self, state: RouteState) -> None:
        try:
            # First, so that whatever another worker follows has been told by the time that it hears of it.
            await self.tell()
            await state.exchange(list(self._tables.values()))
        finally:
            self._is_exchanging = False


def _gone(former: RouteTableConfig, config: RouteTableConfig) -> frozenset[str]:
    """The routes of `former` that are no more, or lead elsewhere now."""
    ways = {(route.name, route.protocol, route.egress_pool) for route in config.routes}
    return frozenset(
        route.name for route in former.routes if (route.name, route.protocol, route.egress_pool) not in ways
    )
