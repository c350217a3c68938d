"""Resting: a route table hears that the account behind one of its routes rests.

A route rests when all sources of its pool do. What rests for some recipients
only, since the way leads to a place of their own, is no fault of the route:
their messages go on by another one, each by itself.

Public: `Resting`. Nothing can go wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.message import Message
from kumotwist.net.clock import Clock
from kumotwist.queue.rest import Rest
from kumotwist.queue.route import Route
from kumotwist.queue.routing import Routing, Traveller
from kumotwist.queue.scheduled import ScheduledQueue


@define(eq=False)
class Resting:
    """Tells the tables of `routing`; `find` gives the route of a queue by table and name, if it is known."""

    routing: Routing
    find: Callable[[ScheduledQueue, tuple[str, str]], Route | None]
    clock: Clock

    def note(self, queue: ScheduledQueue, message: Message) -> float:
        """Tell the message's table if its route rests, and more than shortly; the seconds that are left of that.

        They are 0 without a table, and as long as a source is at work.
        """
        traveller, now = self.routing.traveller(message), self.clock.seconds()
        if traveller is None:
            return 0.0
        route = self.find(queue, (traveller.way.table, traveller.way.route))
        rest = route.rest(now) if route is not None else None
        if route is None or rest is None:
            return 0.0
        if not rest.is_short and not _is_for_some(queue, route):
            self._tell(traveller, rest, now)
        return rest.left(now)

    def _tell(self, traveller: Traveller, rest: Rest, now: float) -> None:
        """Tell the table as policy has it now, unless the route leads elsewhere by now: it may have another key."""
        table = self.routing.tables.at_work(traveller.way.table) or traveller.table
        position = table.config.position(traveller.way.route)
        if position is not None and table.config.routes[position].leads_like(traveller.entry):
            table.begin_rest(position, rest, now)


def _is_for_some(queue: ScheduledQueue, route: Route) -> bool:
    """Whether other recipients' messages by the same route would go to another site."""
    protocol = route.protocol
    if isinstance(protocol, SmtpProtocol):
        return not protocol.mx_list
    return route.site == queue.name.delivery_domain
