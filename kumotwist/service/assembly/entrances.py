"""What stands behind the listening sockets: a factory each, and the APIs of the HTTP listeners.

Public: `Entrances`, `make_entrances`. What can go wrong: ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from kumotwist.admin.openapi import with_document
from kumotwist.config.listener import HttpListenerConfig, SmtpListenerConfig
from kumotwist.intake.http.site import build_site
from kumotwist.intake.http.tls import with_tls
from kumotwist.intake.receipts import ReceiptIntake
from kumotwist.intake.send.route import send_route
from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.net.httpserver import HttpSite
from kumotwist.net.router import Route
from kumotwist.net.tls import ServerTls
from kumotwist.service import lifecycle, listeners
from kumotwist.service.assembly.books import Books
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.assembly.sockets import Sockets
from kumotwist.service.assembly.thought import Thought
from kumotwist.service.assembly.ways_in import WaysIn


@frozen(eq=False)
class Entrances:
    """SMTP and HTTP listeners, in the order of their declaration, and for each of these what takes connections."""

    smtp: Sequence[SmtpFactory]
    http: Sequence[HttpSite]
    http_factories: Sequence[Any]

    def open(self, ground: Ground, sockets: Sockets) -> list[Any]:
        """Take connections; the ports, to stop listening on."""
        pairs = zip((*sockets.smtp, *sockets.http), (*self.smtp, *self.http_factories), strict=True)
        return [listeners.adopt(ground.reactor, sock, factory, ground.house.seat) for sock, factory in pairs]

    def stop(self, within: float) -> list[Deferred[Any]]:
        """Finish what is on the wire, within so many seconds."""
        ways: list[Deferred[Any]] = [factory.stop(within) for factory in self.smtp]
        return ways + [Deferred.fromCoroutine(site.close()) for site in self.http]


async def make_entrances(
    ground: Ground, thought: Thought, books: Books, ways_in: WaysIn, receipts: ReceiptIntake, routes: Iterable[Route]
) -> Entrances:
    """All that policy declares; `routes` are those that every HTTP listener has."""
    declared = thought.policy.declarations
    maker = _Maker(ground, thought, books, ways_in, receipts, tuple(routes))
    smtp = [maker.smtp_factory(number, config) for number, config in enumerate(declared.esmtp_listeners)]
    http = [maker.http_site(config) for config in declared.http_listeners]
    factories = [await maker.with_tls(*pair) for pair in zip(http, declared.http_listeners, strict=True)]
    for factory in smtp:
        ground.tasks.spawn("loading a listener's certificate", factory.listener.load_certificate())
    return Entrances(smtp, http, factories)


@frozen(eq=False)
class _Maker:
    ground: Ground
    thought: Thought
    books: Books
    ways_in: WaysIn
    receipts: ReceiptIntake
    routes: tuple[Route, ...]

    def smtp_factory(self, number: int, config: SmtpListenerConfig) -> SmtpFactory:
        """What makes the sessions of one SMTP listener."""
        ground, house = self.ground, self.ground.house
        affordable = lifecycle.affordable_connections(config.max_connections, house.count)
        return SmtpFactory(
            config=config,
            policy=self.thought.policy,
            admission=self.ways_in.admission,
            recorder=self.books.records,
            gate=self.ways_in.gate,
            keys=self.thought.keys,
            ids=ground.ids,
            clock=ground.reactor,
            hostname=ground.hostname,
            slots=ConnectionSlots(house.limits, f"esmtp-listener-{number}", affordable, house.count),
            auditor=self.books.auditor,
        )

    def http_site(self, config: HttpListenerConfig) -> HttpSite:
        """One HTTP listener with all its APIs."""
        ways_in = self.ways_in
        routes = (
            *self.routes,
            send_route(ways_in.sending, ways_in.requests, config.default_region),
            *self.receipts.routes(config.receipts, config.use_tls),
        )
        policy, clock, auditor = self.thought.policy, self.ground.reactor, self.books.auditor
        return build_site(config, policy, clock, with_document(routes), auditor=auditor)

    async def with_tls(self, site: HttpSite, config: HttpListenerConfig) -> Any:
        """The site, behind TLS if the listener has it."""
        if not config.use_tls:
            return site
        ground, tls = self.ground, ServerTls(self.thought.keys, self.ground.reactor)
        return await with_tls(site, config, tls, ground.tasks, config.hostname or ground.hostname)
