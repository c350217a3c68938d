"""What became of the demonstration's messages, read from the daemon's own log records.

Public: `Tally`, `Count`, `spooled`. Segments are read when the daemon has
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

from kumotwist.demo.gauges import ROUTES
from kumotwist.demo.moves import Moves
from kumotwist.demo.outage import Cost
from kumotwist.spool.database import Database
from kumotwist.spool.shards import SHARDS, shard_path
from kumotwist.spool.tuning import Memory

#: What is not mail, by the domain that the send API gives it.
KINDS: Final = {"sms": "SMS by SMPP", "push": "push by FCM"}
_ENDS: Final = ("Bounce", "Expiration", "AdminBounce")
#: Events that are kept: as many as a large screen has room for.
_EVENTS: Final = 8


@define(eq=False)
class Count:
    """Messages of one kind, or by one route, which is known only once it was tried."""

    name: str
    accepted: int = 0
    delivered: int = 0
    #: Attempts that failed for the moment.
    refused: int = 0
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

    def note(self, record: dict[str, Any]) -> bool:
        """Count a record; whether it is one that counts."""
        kind = record["type"]
        if kind == "Reception":
            self.accepted += 1
        elif kind == "Delivery":
            self.delivered += 1
        elif kind == "TransientFailure":
            self.refused += 1
        elif kind in _ENDS:
            self.bounced += 1
        elif kind == "DeadAddress":
            self.dead += 1
        elif kind == "Receipt":
            self.receipts += 1
            self.receipts_bad += record["receipt"]["state"] != "delivered"
        else:
            return False
        return True


@define(eq=False)
class Tally:
    """Counts by kind and by route, what the outages cost, and the last things that happened."""

    log_dir: Path
    cost: Cost
    mail: Count = field(factory=lambda: Count("mail"), init=False)
    kinds: dict[str, Count] = field(factory=lambda: {key: Count(name) for key, name in KINDS.items()}, init=False)
    routes: dict[str, Count] = field(factory=lambda: {key: Count(name) for key, name in ROUTES.items()}, init=False)
    total: Count = field(factory=lambda: Count("all"), init=False)
    events: deque[str] = field(factory=lambda: deque(maxlen=_EVENTS), init=False)
    moves: Moves = field(factory=Moves, init=False)
    _read: set[Path] = field(factory=set, init=False)

    @property
    def receipts_missing(self) -> int:
        """Texts that were handed over and have no receipt yet."""
        texts = self.kinds["sms"]
        return texts.delivered - texts.receipts

    def update(self) -> None:
        """Read the segments that were closed since last time."""
        for path in sorted(self.log_dir.glob("*")):
            if path not in self._read and not path.stat().st_mode & 0o222:
                self._read.add(path)
                for record in _records(path):
                    self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        if record["type"] == "RouteChange":
            self.moves.note(record)
            return
        of_kind = self.kinds.get(record["recipient"].rpartition("@")[2], self.mail)
        if of_kind is self.mail:
            self.cost.note(record)
        by_route = self.routes.get(record.get("route", ""))
        if of_kind.note(record):
            self.total.note(record)
            if by_route is not None:
                by_route.note(record)
            self._tell(record, by_route or of_kind)

    def _tell(self, record: dict[str, Any], count: Count) -> None:
        kind, response = record["type"], record["response"]
        if kind != "Reception":
            text = record["receipt"]["state"] if kind == "Receipt" else f"{response['code']} {response['content']}"
            self.events.append(f"{kind:<17}{record['recipient']:<32}{count.name:<15}{text[:60]}")


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
