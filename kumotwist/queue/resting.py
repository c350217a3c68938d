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
from kumotwist.queue.routing import Routing, Traveller, pin_of
from kumotwist.queue.scheduled import ScheduledQueue
from kumotwist.queue.sleepers import Sleepers


@define(eq=False)
class Resting:
    """Tells the tables of `routing`, and `sleepers` of what waits.

    `find` gives the route of a queue by table and name, if it is known.
    """

    routing: Routing
    find: Callable[[ScheduledQueue, tuple[str, str]], Route | None]
    clock: Clock
    sleepers: Sleepers

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

    def wait(self, message: Message, traveller: Traveller, is_again: bool = False) -> None:
        """The message waits for the rest of its route, and keeps its turn there; `is_again` when it did so before."""
        if not traveller.has_choice:
            return
        self.routing.keep(message, traveller)
        if pin_of(message) is None:
            self.sleepers.add(message.id, traveller.way, self.clock.seconds(), is_again)

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
