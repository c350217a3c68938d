"""What the queue teaches its route tables, and what they show of it.

Every attempt by a table ends in an outcome, and some time later often in a
receipt, or in none where one was due: each is counted, and judged as a signal
for or against the route that carried the message.

Public: `Learning`. What can go wrong: nothing that anybody has to hear of; a
receipt for a table or a route that is no more teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define

from kumotwist.config.queue import SmtpProtocol
from kumotwist.config.routes import RouteEntry
from kumotwist.core.errors import PolicyError
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import MAIL, ReceiptEvent, ReceiptState
from kumotwist.core.stats import Sample
from kumotwist.core.way import Way
from kumotwist.net.clock import Clock
from kumotwist.net.tasks import Tasks
from kumotwist.queue.overdue import Overdue
from kumotwist.queue.routes.breaker import State
from kumotwist.queue.routes.classes import shown_name
from kumotwist.queue.routes.evidence import REPORTING
from kumotwist.queue.routes.signals import Signal, signal_of, signal_of_receipt
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tallies import ALL
from kumotwist.queue.routes.tally import samples_of
from kumotwist.queue.routetables import RouteTables
from kumotwist.queue.routing import Routing, Traveller

#: Half-lives for which a route whose last `delivered` came then is one that reports it: five hours by default.
_REMEMBERED: Final = 30.0


@define(eq=False)
class Learning:
    """Tells the tables what became of their messages."""

    tables: RouteTables
    routing: Routing
    clock: Clock
    tasks: Tasks
    #: What waits for receipts; None: nobody does, and only those that come late are lost.
    overdue: Overdue | None = None

    def tick(self) -> None:
        """Once a second: count as lost what was not heard of in time."""
        if self.overdue is not None:
            self.overdue.tick(self.clock.seconds(), self._lose)

    def learn(self, message: Message, outcome: Outcome) -> None:
        """Tell the table what became of an attempt."""
        traveller = self.routing.traveller(message)
        if traveller is not None and self.learn_of(traveller, message, outcome):
            self.routing.blame(message)

    def learn_of(self, traveller: Traveller, message: Message, outcome: Outcome) -> bool:
        """The same of a message that may have left its way meanwhile; whether its first route is to blame."""
        table, name, position, now = traveller.table, traveller.way.name, traveller.position, self.clock.seconds()
        seconds = max(now - traveller.since, 0.0)
        table.tallies.outcome(name, position, outcome.verdict, seconds, now)
        within = table.config.learn.receipt_within
        if self.overdue is not None and within is not None and outcome.verdict is Verdict.DELIVERED:
            self.overdue.wait(message.id, traveller.way, now + within)
        signal = signal_of(outcome, seconds, table.config.learn.handed_over_within)
        if signal is None:
            return False
        is_first, site = not traveller.failed, _site_of(message, traveller.entry, outcome)
        is_noted = table.report(name, position, signal, now, since=traveller.since, is_first=is_first, site=site)
        return is_noted and signal is Signal.FAILED

    def learn_receipt(self, way: Way, event: ReceiptEvent, handed_over: float | None = None) -> None:
        """Tell the table what a receipt says about the route that carried the message.

        `handed_over` is when it did, in Unix seconds, if that is known. After a
        start the first word about a table may be a receipt.
        """
        table = self.tables.at_work(way.table)
        if table is not None:
            self._learn_receipt(table, way, event, handed_over)
        else:
            self.tasks.spawn("receipt for a route table", self._learn_receipt_later(way, event, handed_over))

    async def _learn_receipt_later(self, way: Way, event: ReceiptEvent, handed_over: float | None) -> None:
        try:
            table = await self.tables.get(way.table)
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
            table.report(way.name, position, signal, now, site=_site_of_return(event))

    def _lose(self, way: Way) -> None:
        """Nothing was heard of a message in time; that tells something on routes that report what has arrived."""
        table, now = self.tables.at_work(way.table), self.clock.seconds()
        if table is None:
            return
        position = table.config.position(way.route)
        if position is not None and _reports_arrivals(table, position, now):
            table.report(way.name, position, Signal.LOST, now)

    def samples(self) -> Iterator[Sample]:
        """Shares, health and breakers, by table, route and class."""
        if self.overdue is not None:
            yield from self.overdue.samples()
        now = self.clock.seconds()
        for name, table in self.tables.all.items():
            for class_ in table.classes():
                labels = (("table", name), ("class", shown_name(class_)))
                yield Sample("route_outage", float(table.is_outage(class_)), labels)
            rest = table.config.resting_shares
            for position, route in enumerate(table.config.routes):
                yield Sample("route_resting_share", rest[position], (("table", name), ("route", route.name)))
                for class_ in table.classes():
                    by_route = (("table", name), ("route", route.name), ("class", shown_name(class_)))
                    yield from _samples(table, position, class_, by_route, now)


def _reports_arrivals(table: RouteTable, position: int, now: float) -> bool:
    """Whether `delivered` comes of what a route hands over, or came a short while ago."""
    learn, lately = table.config.learn, table.tallies.lately(ALL, position, now)
    delivered = lately.receipts.get(ReceiptState.DELIVERED.value, 0.0)
    waited: float = 2.0 ** -((learn.receipt_within or 0.0) / learn.half_life)
    return delivered > 2.0**-_REMEMBERED * waited and delivered >= REPORTING * lately.handed_over * waited


def _site_of(message: Message, entry: RouteEntry, outcome: Outcome) -> str | None:
    """Whose mail exchangers an outcome tells of; None when it is about the way, or that leads to others."""
    protocol = entry.protocol
    if not isinstance(protocol, SmtpProtocol) or protocol.mx_list:
        return None
    if outcome.verdict is Verdict.TRANSIENT and outcome.scope not in (Scope.SESSION, Scope.SITE):
        return None
    return str(message.meta.get("routing_domain") or message.recipients[0].domain)


def _site_of_return(event: ReceiptEvent) -> str | None:
    """Whose system has returned the message, as far as a bounce by mail tells."""
    if event.channel != MAIL or event.state is not ReceiptState.FAILED:
        return None
    return event.recipient.rpartition("@")[2].lower() or None


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
