"""How the routes of the demonstration stand, by the daemon's `/metrics.json`, as a dashboard would read it.

Public: `Gauges`, `Standing`, `ROUTES`, `TABLE`. A daemon that does not answer in time leaves what was read before.
"""

from __future__ import annotations

import http.client
import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen

#: The demo policy's route table, and what to call its routes.
TABLE: Final = "bulk"
ROUTES: Final = {"sendgrid": "SendGrid API", "sparkpost": "SparkPost API", "local": "local relay"}
#: Seconds that the course of a share goes back: an outage and what comes after it.
WINDOW: Final = 30.0
_TIMEOUT: Final = 2.0


@frozen
class Standing:
    """One route: its share of the messages now and at rest, what it has handed over lately, and its breaker."""

    share: float
    rest: float
    health: float
    is_open: bool


@define(eq=False)
class Gauges:
    """All routes, now and in the last half minute."""

    http_port: int
    routes: Mapping[str, Standing] = field(factory=dict, init=False)
    _past: deque[tuple[float, Mapping[str, Standing]]] = field(factory=deque, init=False)

    def update(self, elapsed: float) -> None:
        """Read them at `elapsed` seconds."""
        try:
            numbers = self._ask()
        except (OSError, http.client.HTTPException, ValueError):
            return
        read = {name: _standing(numbers, name) for name in ROUTES if _value(numbers, "route_share", name) is not None}
        if read:
            self.routes = read
            self._past.append((elapsed, read))
        while self._past and self._past[0][0] < elapsed - WINDOW:
            self._past.popleft()

    def is_open(self, route: str) -> bool:
        """Whether the breaker of a route is."""
        return route in self.routes and self.routes[route].is_open

    def course(self, route: str, points: int) -> list[float | None]:
        """The share in the last half minute at so many points; None before anything was read."""
        if not self._past:
            return [None] * points
        start = self._past[-1][0] - WINDOW
        found: list[float | None] = [None] * points
        for at, routes in self._past:
            # A point keeps the least: a share that was gone for a moment must be seen.
            point = min(points - 1, int((at - start) / WINDOW * points))
            share, known = routes[route].share, found[point]
            found[point] = share if known is None else min(known, share)
        for point in range(1, points):
            if found[point] is None:
                found[point] = found[point - 1]
        return found

    def _ask(self) -> dict[str, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=_TIMEOUT)
        try:
            client.request("GET", "/metrics.json")
            numbers: dict[str, Any] = json.loads(client.getresponse().read())
        finally:
            client.close()
        return numbers


def _standing(numbers: Mapping[str, Any], route: str) -> Standing:
    share, rest, health, is_open = (
        _value(numbers, name, route) or 0.0
        for name in ("route_share", "route_resting_share", "route_health", "route_breaker_open")
    )
    return Standing(share, rest, health, bool(is_open))


def _value(numbers: Mapping[str, Any], name: str, route: str) -> float | None:
    """The number for a route, all classes of messages together."""
    for row in numbers.get(name, {}).get("value", ()):
        if row["table"] == TABLE and row["route"] == route and row.get("class", "all") == "all":
            return float(row["@"])
    return None
