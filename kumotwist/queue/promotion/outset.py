"""The outset: by which way of its route table a message sets out.

The table is found, the message's class, and the table chooses; a message on a
table with a fallback begins with it. `at_hand` does that when nobody has to be
asked for any of it, `find` also asks policy and DNS.

Public: `Outset`. What can go wrong: PolicyError, when the table cannot be made or has not got the route that a message
is pinned to.
"""

from __future__ import annotations

from attrs import define

from kumotwist.core.errors import PolicyError
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import Message
from kumotwist.queue.classes import Classes
from kumotwist.queue.fallback.steps import Steps
from kumotwist.queue.fallback.underway import UnderWay
from kumotwist.queue.routes.classes import stands_in_header
from kumotwist.queue.routetables import RouteTables
from kumotwist.queue.routing import Routing, Traveller, table_name_of
from kumotwist.queue.scheduled import ScheduledQueue


@define(eq=False)
class Outset:
    """Has the tables choose, and messages begin on a fallback."""

    tables: RouteTables
    classes: Classes
    routing: Routing
    steps: Steps
    under_way: UnderWay
    store: MessageStore

    def at_hand(self, message: Message, name: str) -> Traveller | None:
        """The way that the table `name` chooses; None when that takes a wait, or an error is to be told."""
        table = self.tables.at_hand(name)
        if table is None or table.config.fallback:
            return None  # `find` asks policy, and begins what has stages
        class_ = self.classes.known(table.config, message)
        if class_ is None:
            return None  # `find` asks for it
        try:
            return self.routing.set_out(message, table, class_)
        except PolicyError:
            return None  # `find` will say so

    async def find(self, queue: ScheduledQueue, message: Message) -> Traveller | None:
        """The way by the message's table, unless `at_hand` has found it already; None without a table.

        Raises PolicyError, and what the store raises.
        """
        name = message.course.at if message.course is not None else table_name_of(message, queue.config)
        if name is None:
            return None
        table = await self.tables.get(name)
        if table.config.fallback and message.course is None:
            await self.steps.begin(queue, message, table.config)
        traveller = self.routing.traveller(message)
        if traveller is None:
            if stands_in_header(table.config, message):
                await self.store.load_body(message)
            traveller = self.routing.set_out(message, table, await self.classes.find(table.config, message))
        if message.course is not None:
            self.under_way.add(message)
        return traveller
