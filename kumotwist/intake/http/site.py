"""The HTTP listener: who asks, and what for.

Every request is authenticated, its route found, its permission judged and its
body inflated, in this order; then the route's handler has it. All routes come
from outside: the operator's API (`admin`), and those that take messages
(`intake.inject.route`, `intake.send.route`) and receipts.

Public: `build_site`, `Listener`. What can go wrong: nothing reaches the caller;
the client hears 400, 401, 404, 405, 413, 415, 422, 500 or 503 in plain text.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.interfaces import Auditor, HttpPolicy
from kumotwist.intake.http.acl import Authorizer
from kumotwist.intake.http.auth import TRUSTED_GROUP, Authenticator
from kumotwist.net.clock import Clock
from kumotwist.net.httpserver import HttpSite
from kumotwist.net.inflate import inflate
from kumotwist.net.router import Handler, HttpError, HttpRequest, Reply, Route, Router
from kumotwist.records.acct import NO_ACCT_LOG


def build_site(
    config: HttpListenerConfig,
    policy: HttpPolicy,
    clock: Clock,
    routes: Iterable[Route],
    *,
    auditor: Auditor = NO_ACCT_LOG,
    name: str = "http_listener",
) -> HttpSite:
    """The factory of one HTTP listener that serves `routes`; TLS is put around it by who listens."""
    listener = Listener(
        Authenticator(policy, config.trusted_hosts, clock, auditor),
        Authorizer(policy, clock, auditor),
        Router(routes),
        config.request_body_limit,
        config.hostname,
    )
    return HttpSite(listener.handle, clock, config.request_body_limit, name=name)


@define(eq=False)
class Listener:
    """What stands before every route of one listener."""

    authenticator: Authenticator
    authorizer: Authorizer
    router: Router
    body_limit: int
    hostname: str | None = None

    async def handle(self, request: HttpRequest) -> Reply:
        """Serve one request. Raises HttpError."""
        request.hostname = self.hostname
        handler = await self._admitted(request)
        if request.body:
            received = len(request.body)
            request.body = inflate(request.body, request.headers("content-encoding"), self.body_limit)
            request.hold(len(request.body) - received)
        return await handler(request)

    async def _admitted(self, request: HttpRequest) -> Handler:
        """The handler of a request that may be made. Raises HttpError."""
        if not self.router.is_guarded(request.path):
            return self.router.find(request.method, request.path)
        request.auth = await self.authenticator.authenticate(request)
        try:
            handler = self.router.find(request.method, request.path)
        except HttpError:
            # What is there and what is not is told only to somebody we know.
            if not (request.auth.is_authenticated or TRUSTED_GROUP in request.auth.groups):
                await self.authorizer.authorize(request)
            raise
        await self.authorizer.authorize(request)
        return handler
