"""Who there is in a test: the names that its answers may be for, and those that they were for.

A name may turn up only after the test has said how it answers: a table that is
asked for later, a stage of a fallback, a queue, a recipient. So it is judged
when the test has ended: a name that nothing had until then is a typing error.
Routes count that were never used, as long as a table has them, and so do pools'
sources and all protocols.

Public: `Roster`, `WatchedQueues`. Raises Failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from kumotwist.config.egress import PoolConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.config.structure import hint
from kumotwist.core.message import Message
from kumotwist.egress.protocols import BUILT_IN
from kumotwist.egress.protocols import names as protocols
from kumotwist.intake.inject.generator import InternalQueues
from kumotwist.trial.policytest.faults import Failed

#: Names that an error lists, and other than routes' that it looks among for what was meant. Ours.
_MAX_SHOWN = 10
_MAX_COMPARED = 1000


@define(eq=False)
class Roster:
    """Names that there are, and names that answers are for."""

    #: Of routes, as `table/route`, in the order in which they were met.
    _routes: dict[str, None] = field(factory=dict)
    _names: dict[str, None] = field(factory=dict)
    #: Tables by name that were met, and those that are stages of their fallbacks.
    _tables: set[str] = field(factory=set)
    _stages: dict[str, None] = field(factory=dict)
    #: By name, how and where a test gave an answer first: `t:answer` and `file:line: `.
    _wanted: dict[str, tuple[str, str]] = field(factory=dict)

    def meet(self, names: Iterable[str]) -> None:
        """There are these."""
        self._names.update(dict.fromkeys(names))

    def meet_message(self, message: Message) -> None:
        """Its queue, its recipients and their domains."""
        self.meet([message.queue_name()])
        for recipient in message.recipients:
            self.meet((recipient.email, recipient.domain))

    def meet_recipient(self, address: str) -> None:
        """One that a client named, whatever the policy made of it."""
        self.meet((address, address.rpartition("@")[2]))

    def meet_table(self, table: RouteTableConfig) -> None:
        """Its routes, and the names of the stages behind it."""
        self._tables.add(table.name)
        self._routes.update(dict.fromkeys(f"{table.name}/{route.name}" for route in table.routes))
        self._stages.update(dict.fromkeys(stage.route_table for stage in table.fallback))

    def want(self, call: str, whom: str, place: str) -> None:
        """A test says by `call`, at `place`, how `whom` answers."""
        self._wanted.setdefault(whom, (call, place))

    @property
    def open_stages(self) -> list[str]:
        """Tables that no message has come to, but might have; asked for when a name is not known."""
        return [name for name in self._stages if name not in self._tables] if self._strangers() else []

    def check(self) -> None:
        """Raises Failed when an answer was for nobody."""
        strangers = self._strangers()
        if strangers:
            raise Failed("\n".join(self._said(name) for name in strangers))

    def _strangers(self) -> list[str]:
        known = {*self._names, *BUILT_IN, *protocols(), *self._routes, *(one.partition("/")[2] for one in self._routes)}
        return [name for name in self._wanted if name not in known]

    def _said(self, name: str) -> str:
        call, place = self._wanted[name]
        routes = list(self._routes)
        bare = routes if "/" in name else [one.partition("/")[2] for one in routes]
        meant = hint(name, bare) or hint(name, [*protocols(), *list(self._names)[:_MAX_COMPARED]])
        shown = ", ".join(routes[:_MAX_SHOWN]) + (", ..." if len(routes) > _MAX_SHOWN else "")
        return (
            f"{place}{call} is for '{name}', and nothing in this test is called so: no route, protocol, recipient, "
            f"domain, queue, site or source{meant}" + (f" (routes were {shown})" if shown else "")
        )


@define(eq=False)
class WatchedQueues(InternalQueues):
    """The queues' policy; what it names is met."""

    roster: Roster

    async def egress_pool(self, name: str) -> PoolConfig:
        """Policy's."""
        pool = await InternalQueues.egress_pool(self, name)
        self.roster.meet(entry.name for entry in pool.entries)
        return pool

    async def route_table(self, name: str) -> RouteTableConfig:
        """Policy's."""
        table = await InternalQueues.route_table(self, name)
        self.roster.meet_table(table)
        return table
