"""The book of messages that processes ended with: counted over restarts, in the state file that workers share.

Public: `SCHEMA`, `charge`. Raises StateUnavailable.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from twisted.logger import Logger

from kumotwist.core.ids import SpoolId
from kumotwist.core.suspect import PATIENCE_ALONE, Suspect
from kumotwist.net.sqlite import SqliteFile
from kumotwist.service.witness import Note

log: Final = Logger()

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS suspect (
        spool_id BLOB PRIMARY KEY,
        event TEXT NOT NULL,
        alone INTEGER NOT NULL,
        in_company INTEGER NOT NULL,
        noted REAL NOT NULL
    )""",
)
_COUNT: Final = """INSERT INTO suspect VALUES (:id, :event, :alone, :company, :now)
    ON CONFLICT (spool_id) DO UPDATE SET event = :event, noted = :now,
    alone = alone + :alone, in_company = in_company + :company"""
#: Seconds that an end counts as just now: a worker is replaced within half a minute, a daemon by its operator later.
_FRESH: Final = 600.0
#: Seconds that a message is remembered. Ours: four weeks, longer than mail is tried.
_MEMORY: Final = 28 * 86400.0


async def charge(state: SqliteFile, notes: Sequence[Note], now: float) -> Mapping[SpoolId, Suspect]:
    """Count `notes`, and tell of all messages that are under suspicion."""

    def work(connection: sqlite3.Connection) -> list[tuple[bytes, str, int, int, float]]:
        connection.execute("DELETE FROM suspect WHERE noted < ?", (now - _MEMORY,))
        for note in notes:
            is_alone = len(note.spool_ids) == 1
            for spool_id in note.spool_ids:
                values = {"id": spool_id, "event": note.event, "alone": is_alone, "company": not is_alone, "now": now}
                connection.execute(_COUNT, values)
        return connection.execute("SELECT spool_id, event, alone, in_company, noted FROM suspect").fetchall()

    suspects = {
        SpoolId(spool_id): Suspect(event, alone, in_company, now - noted < _FRESH)
        for spool_id, event, alone, in_company, noted in await state.write(work)
    }
    for note in notes:
        for spool_id in note.spool_ids:
            log.error(
                "{id}: {account}; it waits {delay:.0f} s, and is given up after {patience} times",
                id=spool_id.hex(),
                account=suspects[spool_id].account,
                delay=suspects[spool_id].delay,
                patience=PATIENCE_ALONE,
            )
    return suspects
