"""The file that all workers share: receipts, idempotency keys, suspects, what route tables have learned.

Public: `open_state`, `STATE_FILE`. What can go wrong: StateUnavailable.
"""

from __future__ import annotations

from typing import Final

from kumotwist.intake.send import idempotency
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue import announcer, budgetstate, routestate
from kumotwist.records.receipts import tables as receipt_tables
from kumotwist.service import suspects
from kumotwist.service.assembly.ground import Ground

#: Its name in the state directory.
STATE_FILE: Final = "state.sqlite"
_SCHEMA: Final = (
    *receipt_tables.SCHEMA,
    *idempotency.SCHEMA,
    *suspects.SCHEMA,
    *routestate.SCHEMA,
    *budgetstate.SCHEMA,
    *announcer.SCHEMA,
)


async def open_state(ground: Ground) -> SqliteFile:
    """The file, made if need be."""
    return await SqliteFile.open(ground.state_dir / STATE_FILE, ground.reactor, _SCHEMA)
