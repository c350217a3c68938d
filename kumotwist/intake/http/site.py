"""The HTTP listener: who asks, what for, and `POST /api/inject/v1`.

Every request is authenticated, its route found, its permission judged and its
body inflated, in this order; then the route's handler has it. Routes of the
operator's API come from outside (`admin`), as does the send API's (`send_route`).

Public: `build_site`, `inject_route`, `Listener`, and for other ways in `require_json`,
`origin_of` and `refusals`. What can go wrong: nothing
reaches the caller; the client hears 400, 401, 404, 405, 413, 415, 422, 500 or
503 in plain text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from attrs import define

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.errors import Overload, SpoolFull, SpoolUnhealthy, StateUnavailable
from kumotwist.core.interfaces import Auditor, HttpPolicy
from kumotwist.intake.http.acl import Authorizer
from kumotwist.intake.http.auth import TRUSTED_GROUP, Authenticator
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.inject.injection import Injection, InjectResult
from kumotwist.intake.inject.request import InjectRequest, RequestProblem, decode
from kumotwist.net.clock import Clock
from kumotwist.net.httpserver import HttpSite
from kumotwist.net.inflate import inflate
from kumotwist.net.operation import BODY_REFUSALS, NOT_NOW, Operation, json_answer, text_answer
from kumotwist.net.router import Handler, HttpError, HttpRequest, Reply, Route, Router, json_reply
from kumotwist.records.acct import NO_ACCT_LOG

#: Seconds after which a client that heard 503 should try again. Ours: the gate looks every three seconds.
RETRY_AFTER: Final = "5"
#: axum's text, which KumoMTA's clients know.
_NOT_JSON: Final = "Expected request with `Content-Type: application/json`"
_INJECT: Final = Operation(
    name="inject",
    tag="messages",
    summary="Injects mail to one or many recipients; KumoMTA's API.",
    text="Each recipient gets a message of its own, made from templates. 200 means that what was accepted is on disk.",
    body=InjectRequest,
    answers={
        **BODY_REFUSALS,
        200: json_answer("How many were accepted, and what became of each recipient.", InjectResult),
        500: text_answer("The envelope_sender is no address (as KumoMTA says it), or something is broken."),
        503: NOT_NOW,
    },
)


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


def inject_route(injection: Injection) -> Route:
    """`POST /api/inject/v1`."""

    async def handle(request: HttpRequest) -> Reply:
        require_json(request)
        with refusals():
            return json_reply(await injection.inject(decode(request.body), origin_of(request)))

    return Route("POST", "/api/inject/v1", handle, _INJECT)


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


def origin_of(request: HttpRequest) -> Origin:
    """Whence `request` came."""
    return Origin(request.auth, request.local_address.rpartition(":")[0].strip("[]"), request.hostname)


@contextmanager
def refusals() -> Iterator[None]:
    """What an injection refuses, as HTTP says it."""
    try:
        yield
    except RequestProblem as problem:
        raise HttpError(problem.code, str(problem)) from None
    except (Overload, SpoolUnhealthy, SpoolFull, StateUnavailable) as error:
        raise HttpError(503, f"Error: {error}", {"Retry-After": RETRY_AFTER}) from None


def require_json(request: HttpRequest) -> None:
    """Raises HttpError 415 for a body that is not called JSON."""
    kind = (request.headers("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpError(415, _NOT_JSON)
