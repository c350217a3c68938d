"""`GET /api/check-liveness/v1`: whether new messages are taken, for load balancers.

200 `OK`, or 503 with the reason that an injection would hear. Public: `routes`.
"""

from __future__ import annotations

from kumotwist.core.interfaces import Gatekeeper
from kumotwist.net.router import HttpRequest, Reply, Route, text_reply


def routes(gate: Gatekeeper) -> tuple[Route, ...]:
    """The one route."""

    async def check(_: HttpRequest) -> Reply:
        refusal = gate.refusal()
        return text_reply(200, "OK") if refusal is None else text_reply(503, refusal)

    return (Route("GET", "/api/check-liveness/v1", check),)
