"""What the ledger knows of one message: its hand-overs, and what came back.

Public: `story_of`, `heard_of`. It runs on the thread of the state file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from kumotwist.core.ids import SpoolId
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.receipt import ReceiptEvent, ReceiptState
from kumotwist.records.receipts.tables import decode_event, decode_facts

#: Rows of each kind. Ours: an SMS has 255 parts at most, a newsletter may be opened a few hundred times.
MAX_ROWS: Final = 1_000
#: What only somebody who has the message can do.
_SEEN: Final = frozenset(
    (ReceiptState.OPENED, ReceiptState.CLICKED, ReceiptState.COMPLAINED, ReceiptState.UNSUBSCRIBED)
)


def story_of(connection: sqlite3.Connection, spool_id: SpoolId) -> tuple[list[Json], list[Json]]:
    """Hand-overs and receipts, each in the order in which they were noted."""
    leaders = connection.execute(
        """SELECT number, key, account, state, parts, handed, facts FROM handover
        WHERE spool_id = ? AND leader IS NULL ORDER BY number LIMIT ?""",
        (spool_id, MAX_ROWS),
    ).fetchall()
    receipts = connection.execute(
        "SELECT noted, due, event FROM receipt WHERE spool_id = ? ORDER BY number LIMIT ?", (spool_id, MAX_ROWS)
    ).fetchall()
    return [_handover(connection, *row) for row in leaders], [_receipt(*row) for row in receipts]


def heard_of(connection: sqlite3.Connection, spool_ids: Sequence[SpoolId]) -> set[SpoolId]:
    """Those of some hundred messages whose fate is known: a receipt has ended the delivery, or somebody has seen it."""
    places = ", ".join("?" * len(spool_ids))
    rows = connection.execute(f"SELECT spool_id, event FROM receipt WHERE spool_id IN ({places})", spool_ids)  # noqa: S608
    return {spool_id for spool_id, packed in rows if _is_known(packed)}


def _is_known(packed: bytes) -> bool:
    try:
        state = decode_event(packed).state
    except ValueError:
        return False
    return state.is_final or state in _SEEN


def _handover(
    connection: sqlite3.Connection,
    number: int,
    key: str,
    account: str,
    state: str | None,
    parts: int,
    handed: float,
    facts: bytes,
) -> JsonObject:
    known = decode_facts(facts)
    shown: JsonObject = {
        "channel": key.partition(" ")[0],
        "account": account,
        "remote_id": known.remote_id,
        "recipients": list[Json](known.recipients),
        "time": handed,
    }
    if parts > 1:
        rows = connection.execute("SELECT state FROM handover WHERE leader = ? ORDER BY number", (number,))
        states: list[Json] = [state, *[one for (one,) in rows]]
        shown["parts"] = states
    return shown


def _receipt(noted: float, due: float | None, packed: bytes) -> JsonObject:
    event = decode_event(packed)
    return {**_event(event), "noted": noted, "is_written": due is None}


def _event(event: ReceiptEvent) -> JsonObject:
    shown: JsonObject = {
        "channel": event.channel,
        "account": event.account,
        "state": event.state.value,
        "class": event.class_.value,
        "text": event.text,
        "remote_id": event.remote_id,
        "recipient": event.recipient,
        "event_id": event.event_id,
        "event_time": event.event_time,
        "part": event.part,
        "facts": event.facts,
    }
    return {name: value for name, value in shown.items() if value not in ("", None, {})}
