"""`GET /metrics` and `GET /metrics.json`: the numbers, for Prometheus and for people.

What they say comes from the worker, or from all workers when there are
several. Public: `routes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from kumotwist.net.operation import Operation, json_answer, text_answer
from kumotwist.net.router import JSON, HttpRequest, Reply, Route

#: The Prometheus text format, version 0.0.4.
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT: Final = Operation(
    name="metrics",
    tag="operation",
    summary="The numbers of all workers, for Prometheus.",
    answers={200: text_answer("The Prometheus text format, version 0.0.4.")},
)
_JSON: Final = Operation(
    name="metricsJson",
    tag="operation",
    summary="The same numbers as JSON.",
    answers={200: json_answer("By name: what it is, and a value, or values by label.", dict[str, object])},
)


def routes(text: Callable[[], Awaitable[bytes]], json: Callable[[], Awaitable[bytes]]) -> tuple[Route, ...]:
    """The two routes; `text` and `json` give the bodies as they are now."""

    async def as_text(_: HttpRequest) -> Reply:
        return Reply(200, await text(), PROMETHEUS)

    async def as_json(_: HttpRequest) -> Reply:
        return Reply(200, await json(), JSON)

    return (
        Route("GET", "/metrics", as_text, _TEXT),
        Route("GET", "/metrics.json", as_json, _JSON),
    )
