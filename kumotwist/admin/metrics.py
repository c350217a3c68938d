"""`GET /metrics` and `GET /metrics.json`: the numbers, for Prometheus and for people.

What they say comes from the worker, or from all workers when there are
several. Public: `routes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from kumotwist.net.router import JSON, HttpRequest, Reply, Route

#: The Prometheus text format, version 0.0.4.
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


def routes(text: Callable[[], Awaitable[bytes]], json: Callable[[], Awaitable[bytes]]) -> tuple[Route, ...]:
    """The two routes; `text` and `json` give the bodies as they are now."""

    async def as_text(_: HttpRequest) -> Reply:
        return Reply(200, await text(), PROMETHEUS)

    async def as_json(_: HttpRequest) -> Reply:
        return Reply(200, await json(), JSON)

    return (Route("GET", "/metrics", as_text), Route("GET", "/metrics.json", as_json))
