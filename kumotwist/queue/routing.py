"""Routing: on its way by a route table, which route a message takes, and which one after that.

A message that was placed by a table is a traveller until its attempt has
ended; the message may then go on over the next route. What became of it, the
table hears through `queue.learning`.

Public: `Routing`, `Traveller`, `table_name_of`, `pin_of`, `position_of`. What can go wrong: PolicyError for a `route`
in a message's meta that its table has not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import RouteEntry, RouteTableConfig
from kumotwist.core.errors import PolicyError
from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message
from kumotwist.core.outcome import SOURCE_REST, Outcome, Scope
from kumotwist.core.way import Kept, Way
from kumotwist.net.clock import Clock
from kumotwist.queue.rest import SHORT_REST
from kumotwist.queue.routes.breaker import FIRST_PAUSE
from kumotwist.queue.routes.classes import sticky_key
from kumotwist.queue.routes.signals import may_go_elsewhere
from kumotwist.queue.routes.table import Choice, RouteTable
from kumotwist.queue.routetables import RouteTables

#: What meta says when nobody has named anything: a policy may copy a header that is empty.
_NO_NAME: Final = (None, "")
#: What must be left of the share that a route had when a message began to wait for room there, for the message to go on
#: waiting. Ours: chance takes less of a share, and a way of half the messages that is well again takes more.
_KEEPS: Final = 0.75


@frozen
class Traveller:
    """A message on its way by a table, and the routes that this attempt was given, the present one included.

    Those by which it was made and `failed` are fewer: a budget or a ready queue may have had no room. `blamed` are the
    failures that were noted against the first of them.
    """

    table: RouteTable
    way: Way
    position: int
    tried: tuple[str, ...]
    #: When the route was chosen, in Unix seconds.
    since: float
    #: The route's breaker is open.
    is_trial: bool = False
    failed: tuple[str, ...] = ()
    blamed: int = 0

    def give_back(self, again: float) -> None:
        """Should the trial not have been answered, another message may make it from `again` on."""
        if self.is_trial:
            self.table.give_back(self.way.name, self.position, self.since, again)

    @property
    def has_choice(self) -> bool:
        """Whether its table has another route."""
        return len(self.table.config.routes) > 1

    @property
    def entry(self) -> RouteEntry:
        """The present route."""
        return self.table.config.routes[self.position]


@define(eq=False)
class Routing:
    """All messages of this worker that are on their way by one of its `tables`."""

    tables: RouteTables
    clock: Clock
    _travellers: dict[SpoolId, Traveller] = field(factory=dict, init=False)

    def travelled(self) -> Collection[str]:
        """The tables by which messages are on their way, by name."""
        return {traveller.way.table for traveller in self._travellers.values()}

    def set_out(self, message: Message, table: RouteTable, name: str) -> Traveller | None:
        """Choose the route for an attempt of a message of class `name`. Raises PolicyError."""
        return self._set_out(message, table, name, None)

    def further(self, message: Message, before: Traveller) -> Traveller | None:
        """The same attempt on a route that it was not given before; None when there is none. Raises PolicyError."""
        return self._set_out(message, before.table, before.way.name, before)

    def _set_out(self, message: Message, table: RouteTable, name: str, before: Traveller | None) -> Traveller | None:
        config, now = table.config, self.clock.seconds()
        tried = before.tried if before is not None else ()
        choice = self._choice(message, table, name, tried, now)
        if choice is None:
            return None
        self.tables.note_use(config.name, now)
        way = Way(config.name, choice.route, name)
        traveller = Traveller(table, way, choice.position, (*tried, choice.route), now, choice.is_trial)
        if before is not None:
            traveller = evolve(traveller, failed=before.failed, blamed=before.blamed)
        former = self._travellers.get(message.id)
        if former is not None:
            former.give_back(now)  # the message itself is not held up
        self._travellers[message.id] = traveller
        return traveller

    def _choice(
        self, message: Message, table: RouteTable, name: str, tried: tuple[str, ...], now: float
    ) -> Choice | None:
        """The next route; the turn of one that the message has waited for is not counted again."""
        config, pinned = table.config, pin_of(message)
        if pinned is not None:
            position = position_of(config, pinned)
            if pinned in tried:
                return None
            is_kept = message.kept is not None and message.kept.table == config.name and pinned in message.kept.routes
            return table.go_on(name, position, now) if is_kept else table.pin(name, position, now)
        kept = kept_by(message, table, name, now, tried)
        if kept is not None:
            return table.go_on(name, kept, now)
        if message.kept is not None and not tried:
            message.set_kept(None)  # it draws anew
        return table.choose(name, now, tried, sticky_key(config, message))

    def keep(self, message: Message, traveller: Traveller) -> None:
        """The message waits for room on the routes that its attempt was given and has not failed by."""
        table, way, before = traveller.table, traveller.way, message.kept
        routes = tuple(one for one in traveller.tried if one not in traveller.failed)
        if before is not None and (before.table, before.routes[0]) == (way.table, routes[0]):
            share = before.share
        else:
            first = position_of(table.config, routes[0])
            share = table.share_left(way.name, first, self.clock.seconds(), traveller.failed)
        message.set_kept(Kept(way.table, routes, share))

    def go_back(self, message: Message, before: Traveller) -> None:
        """The message waits for room on a route that its attempt was given `before`, and shows nothing of this one."""
        present, self._travellers[message.id] = self._travellers[message.id], before
        present.give_back(self.clock.seconds() + FIRST_PAUSE)

    def traveller(self, message: Message) -> Traveller | None:
        """Where the message is on its way; None when no table placed it."""
        return self._travellers.get(message.id) if self._travellers else None

    def way_of(self, message: Message) -> Way | None:
        """The way that it is on; None when no table placed it, and while it waits."""
        traveller = self.traveller(message)
        return traveller.way if traveller is not None else None

    def arrive(self, message: Message) -> None:
        """The attempt is over: the message has ended, or waits."""
        traveller = self._travellers.pop(message.id, None) if self._travellers else None
        if traveller is not None and traveller.is_trial:
            # Not at once: the next message might have to wait for it as this one does.
            traveller.give_back(self.clock.seconds() + FIRST_PAUSE)

    def blame(self, message: Message) -> None:
        """A failure of the message was noted against its route, which may have to be taken back."""
        traveller = self._travellers[message.id]
        self._travellers[message.id] = evolve(traveller, blamed=traveller.blamed + 1)

    def after_failure(self, message: Message, outcome: Outcome, was_tried: bool = True) -> Traveller | None:
        """The route over which the same attempt goes on; None when it does not.

        Unless it `was_tried` by the route at hand, that is only known to be shut.
        """
        traveller = self.traveller(message)
        if traveller is None:
            return None
        config = traveller.table.config
        if not may_go_elsewhere(outcome, config.next_when_unknown):
            return None
        rest = (outcome.retry_after or SOURCE_REST) if outcome.scope is Scope.SOURCE else 0.0
        if config.on_failure != "next_route" and not self._is_out(message, traveller, rest):
            return None
        if was_tried:
            traveller = evolve(traveller, failed=(*traveller.failed, traveller.way.route))
        following = self.further(message, traveller)
        if following is None and len(traveller.failed) > 1 and len(traveller.tried) == len(config.routes):
            first = position_of(config, traveller.failed[0])
            traveller.table.forgive(traveller.way.name, first, self.clock.seconds(), traveller.blamed)
        return following

    def after_refusal(self, message: Message, traveller: Traveller | None, rest: float) -> Traveller | None:
        """The next route when no ready queue of the one at hand takes the message; None when there is none.

        `rest` is for how many seconds its sources have to rest yet.
        """
        if traveller is None:
            return None
        if traveller.table.config.on_failure != "next_route" and not self._is_out(message, traveller, rest):
            return None
        return self.further(message, traveller)

    def patience(self, message: Message, rest: float) -> float:
        """For how many of the seconds of a rest a message waits before it looks for a way again.

        On a table another route may be well before; it is looked at as often as after a rest of the usual length.
        """
        traveller = self.traveller(message)
        if traveller is None or not traveller.has_choice or pin_of(message) is not None:
            return rest
        return min(rest, SOURCE_REST, traveller.table.soonest(self.clock.seconds()))

    @staticmethod
    def _is_out(message: Message, traveller: Traveller, rest: float) -> bool:
        """Whether a route that rests for so many seconds is left for another one, whatever `on_failure` says."""
        if rest <= SHORT_REST or pin_of(message) is not None:
            return False
        return traveller.table.is_other_well(traveller.way.name, traveller.tried)


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


def kept_by(
    message: Message, table: RouteTable, name: str, now: float, tried: Sequence[str] = (), *, only_looks: bool = False
) -> int | None:
    """The route, by position, that a message of class `name` has waited for, after those `tried`.

    None when it takes any: it has not waited, or the route of its turn has lost its share since. That may be gone, a
    standby by now, or shut; or the others were shut, and are not any more.
    """
    kept = message.kept
    if kept is None or kept.table != table.config.name:
        return None
    route = next((one for one in kept.routes if one not in tried), None)
    position = table.config.position(route) if route is not None else None
    if position is None:
        return None
    share = table.share_left(name, position, now, tried, only_looks=only_looks)
    return position if share > 0.0 and (tried or share >= _KEEPS * kept.share) else None


def position_of(config: RouteTableConfig, pinned: str) -> int:
    """The route that a message is pinned to, by position. Raises PolicyError when the table has not got it."""
    position = config.position(pinned)
    if position is not None:
        return position
    known = ", ".join(route.name for route in config.routes)
    raise PolicyError(f"meta.route is '{pinned}', which route table '{config.name}' has not; it has {known}")
