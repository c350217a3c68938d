"""What became of the demonstration's messages, read from the daemon's own log records.

Public: `Tally`, `Route`, `BY_SMS`, `spooled`. Segments are read when the daemon has
closed them, which is about once a second under the demo policy.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import zstandard
from attrs import define, field

from kumotwist.spool.database import Database
from kumotwist.spool.shards import SHARDS, shard_path
from kumotwist.spool.tuning import Memory

#: The way out whose messages have receipts.
BY_SMS: Final = "via_sms"
#: Meta `tenant` as the demo policy sets it, and what to call it.
ROUTES: Final = {
    "via_sendgrid": "SendGrid API",
    "via_sparkpost": "SparkPost API",
    "local": "local relay",
    BY_SMS: "SMS by SMPP",
    "via_push": "push by FCM",
}
_ENDS: Final = ("Bounce", "Expiration", "AdminBounce")


@define(eq=False)
class Route:
    """Counts of one way out."""

    name: str
    accepted: int = 0
    delivered: int = 0
    failed_for_now: int = 0
    bounced: int = 0
    #: Receipts that came back, and those among them that say it did not arrive.
    receipts: int = 0
    receipts_bad: int = 0
    #: Addresses that no longer exist, which an application should forget.
    dead: int = 0

    @property
    def waiting(self) -> int:
        """Accepted and not yet at an end."""
        return self.accepted - self.delivered - self.bounced


@define(eq=False)
class Tally:
    """All routes, and the last things that happened."""

    log_dir: Path
    routes: dict[str, Route] = field(factory=lambda: {key: Route(name) for key, name in ROUTES.items()}, init=False)
    events: deque[str] = field(factory=lambda: deque(maxlen=8), init=False)
    _read: set[Path] = field(factory=set, init=False)

    @property
    def total(self) -> Route:
        """All routes together."""
        sums = Route("all")
        for route in self.routes.values():
            sums.accepted += route.accepted
            sums.delivered += route.delivered
            sums.failed_for_now += route.failed_for_now
            sums.bounced += route.bounced
            sums.receipts += route.receipts
            sums.receipts_bad += route.receipts_bad
            sums.dead += route.dead
        return sums

    @property
    def receipts_missing(self) -> int:
        """Texts that were handed over and have no receipt yet."""
        texts = self.routes[BY_SMS]
        return texts.delivered - texts.receipts

    def update(self) -> None:
        """Read the segments that were closed since last time."""
        for path in sorted(self.log_dir.glob("*")):
            if path not in self._read and not path.stat().st_mode & 0o222:
                self._read.add(path)
                for record in _records(path):
                    self._count(record)

    def _count(self, record: dict[str, Any]) -> None:
        route = self.routes.get(record["meta"].get("tenant") or "local")
        if route is None:
            return
        kind = record["type"]
        if kind == "Reception":
            route.accepted += 1
            return
        if kind == "Delivery":
            route.delivered += 1
        elif kind == "TransientFailure":
            route.failed_for_now += 1
        elif kind in _ENDS:
            route.bounced += 1
        elif kind == "DeadAddress":
            route.dead += 1
        elif kind == "Receipt":
            route.receipts += 1
            route.receipts_bad += record["receipt"]["state"] != "delivered"
        else:
            return
        response = record["response"]
        text = record["receipt"]["state"] if kind == "Receipt" else f"{response['code']} {response['content']}"
        self.events.append(f"{kind:<17}{record['recipient']:<32}{route.name:<15}{text[:60]}")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    for line in data.splitlines():
        yield json.loads(line)


def spooled(directory: Path) -> int:
    """Messages in a spool that no daemon uses."""
    count = 0
    for shard in range(SHARDS):
        path = shard_path(directory, shard)
        if path.exists():
            database = Database.open(path, Memory())
            count += sum(1 for _ in database.records_at_start())
            database.close()
    return count
