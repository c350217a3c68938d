"""`GET /api/check-liveness/v1`: whether new messages are taken, for load balancers.

200 `OK`, or 503 with the reason that an injection would hear. Public: `routes`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.interfaces import Gatekeeper
from kumotwist.net.operation import Operation, text_answer
from kumotwist.net.router import HttpRequest, Reply, Route, text_reply

_OPERATION: Final = Operation(
    name="checkLiveness",
    tag="operation",
    summary="Whether new messages are taken.",
    answers={200: text_answer("`OK`: they are."), 503: text_answer("They are not; the text says why.")},
)


def routes(gate: Gatekeeper) -> tuple[Route, ...]:
    """The one route."""

    async def check(_: HttpRequest) -> Reply:
        refusal = gate.refusal()
        return text_reply(200, "OK") if refusal is None else text_reply(503, refusal)

    return (Route("GET", "/api/check-liveness/v1", check, _OPERATION),)
