"""The accounting database: how many recipients were received and delivered to in each month, as KumoMTA keeps it.

One row a month (UTC) in the table `accounting`, which all workers add to.
Records of log hooks are nobody's mail and are not counted.

Public: `VolumeBook`. What can go wrong: the file cannot be written; that is
said in the log, and what was counted is added the next time.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.core.records import Record, RecordType
from kumotwist.net.sqlite import SqliteFile
from kumotwist.net.threads import ReactorClock
from kumotwist.records.hooks import LOG_RECORD

log: Final = Logger()

#: Seconds between two writes, KumoMTA's.
FLUSH_INTERVAL: Final = 300.0
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS accounting (
        event_time DATETIME NOT NULL PRIMARY KEY,
        received int NOT NULL,
        delivered int NOT NULL
    )""",
)
_ADD: Final = """INSERT INTO accounting VALUES (:month, :received, :delivered) ON CONFLICT (event_time)
    DO UPDATE SET received = received + :received, delivered = delivered + :delivered"""


@define(eq=False)
class VolumeBook:
    """What one worker has counted since it wrote last."""

    path: Path
    reactor: ReactorClock
    _received: int = field(default=0, init=False)
    _delivered: int = field(default=0, init=False)

    def count(self, record: Record) -> None:
        """Count the recipients of a Reception or Delivery."""
        if record.reception_protocol == LOG_RECORD:
            return
        if record.type is RecordType.RECEPTION:
            self._received += len(record.recipients)
        elif record.type is RecordType.DELIVERY:
            self._delivered += len(record.recipients)

    async def flush(self) -> None:
        """Add what was counted to this month's row."""
        received, delivered = self._received, self._delivered
        if not received and not delivered:
            return
        self._received = self._delivered = 0
        month = dt.datetime.fromtimestamp(self.reactor.seconds(), dt.UTC).strftime("%Y-%m-01 00:00:00")
        values = {"month": month, "received": received, "delivered": delivered}
        try:
            await self._add(values)
        except (StateUnavailable, Overload) as error:
            self._received += received
            self._delivered += delivered
            log.error("the accounting database is not written, the next try is in minutes: {error}", error=error)

    async def _add(self, values: dict[str, object]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ADD, values)

        # Opened each time: it is used for milliseconds every few minutes, and may be moved meanwhile.
        file = await SqliteFile.open(self.path, self.reactor, _SCHEMA)
        try:
            await file.write(work)
        finally:
            await file.close()
