"""To which hand-over a receipt belongs, and whether it is worth a record.

Our own id, which some providers give back, decides before the provider's. An
id that could mean the same in another base counts only with a second sign:
the recipient, or that nothing better came for some seconds. The parts of a
long SMS make one story: failed with the first that failed, delivered with the
last that was.

Runs on the thread of the state file, inside a transaction.

Public: `Match`, `Verdict`, `find`, `judge`, `recipient_of`, `bare`.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.ids import doubtful_forms, forms
from kumotwist.records.receipts.tables import Facts, decode_facts, key_of

#: Seconds after which an id in the other base is believed without the recipient. Ours: a response
#: that was overtaken is noted well within them.
PATIENCE: Final = 5.0
#: The newest first. A thousand: the one id of a batch has a row for each recipient, and no API takes more of them.
_BY_KEY: Final = """SELECT number, key, account, spool_id, leader, parts, facts, handed FROM handover
    WHERE key = ? ORDER BY number DESC LIMIT 1000"""
_BY_MESSAGE: Final = """SELECT number, key, account, spool_id, leader, parts, facts, handed FROM handover
    WHERE spool_id = ? AND leader IS NULL ORDER BY number DESC LIMIT 1000"""


@frozen
class _Row:
    """One row of `handover`."""

    number: int
    key: str
    account: str
    spool_id: SpoolId
    leader: int | None
    parts: int
    facts: bytes | None
    handed: float


@frozen
class Match:
    """The hand-over that a receipt is about; `part` is the row of the part meant, `leader` that of the whole.

    `handed` is when it was, in Unix seconds.
    """

    spool_id: SpoolId
    part: int
    leader: int
    parts: int
    facts: Facts
    handed: float


class Verdict(enum.Enum):
    """What becomes of a receipt."""

    WRITE = "write"
    #: A part among others: noted, and told with the whole.
    HOLD_BACK = "hold back"


def find(connection: sqlite3.Connection, event: ReceiptEvent, age: float) -> Match | None:
    """The hand-over that `event` is about; `age` is for how long the event has been here, in seconds."""
    sure = [key_of(event.channel, form) for form in forms(event.channel, event.remote_id)] if event.remote_id else []
    if event.spool_id is not None:
        found = _by_message(connection, event, sure)
        if found is not None:
            return found
    for key in sure:
        found = _best(connection, event, _same_account(event, _by_key(connection, key)))
        if found is not None:
            return found
    for form in doubtful_forms(event.channel, event.remote_id) if event.remote_id else ():
        found = _best(connection, event, _same_account(event, _by_key(connection, key_of(event.channel, form))))
        if found is not None and (_concerns(found, event) if event.recipient else age >= PATIENCE):
            return found
    return None


def judge(connection: sqlite3.Connection, match: Match, event: ReceiptEvent, number: int) -> Verdict:
    """Note what the event says of its part; whether receipt `number` is to be written.

    Asked again about the same receipt, it says the same.
    """
    if not event.state.is_final:
        return Verdict.WRITE
    if match.parts > 1:
        states = _note_row(connection, match, event)
    elif event.part is not None and (event.parts or 1) > 1:
        states = _note_part(connection, match, event.part, event)
    else:
        return Verdict.WRITE
    if event.state is ReceiptState.DELIVERED and any(state != ReceiptState.DELIVERED.value for state in states):
        return Verdict.HOLD_BACK
    connection.execute("UPDATE handover SET told_by = coalesce(told_by, ?) WHERE number = ?", (number, match.leader))
    told_by = connection.execute("SELECT told_by FROM handover WHERE number = ?", (match.leader,)).fetchone()[0]
    return Verdict.WRITE if told_by == number else Verdict.HOLD_BACK


def _note_row(connection: sqlite3.Connection, match: Match, event: ReceiptEvent) -> list[str | None]:
    """Note the end of a part that has an id and so a row of its own; the ends of all parts, the first of each."""
    connection.execute(
        "UPDATE handover SET state = coalesce(state, ?) WHERE number = ?", (event.state.value, match.part)
    )
    rows = connection.execute("SELECT state FROM handover WHERE number = ? OR leader = ?", (match.leader, match.leader))
    return [state for (state,) in rows]


def _note_part(connection: sqlite3.Connection, match: Match, part: int, event: ReceiptEvent) -> list[str | None]:
    """The same where all parts go by one id: the row has all their ends, as `1=delivered 2=failed`."""
    (noted,) = connection.execute("SELECT state FROM handover WHERE number = ?", (match.leader,)).fetchone()
    states = dict(one.split("=") for one in (noted or "").split())
    states.setdefault(str(part), event.state.value)
    # No SMS has more than 255 parts (3GPP TS 23.040 s9.2.3.24.1), so neither has this text.
    written = " ".join([f"{number}={state}" for number, state in states.items()][:255])
    connection.execute("UPDATE handover SET state = ? WHERE number = ?", (written, match.leader))
    return [states.get(str(number)) for number in range(1, min(event.parts or 1, 255) + 1)]


def _by_message(connection: sqlite3.Connection, event: ReceiptEvent, keys: Sequence[str]) -> Match | None:
    rows = _rows(connection, _BY_MESSAGE, event.spool_id)
    parts = [row for key in keys for row in _by_key(connection, key) if row.spool_id == event.spool_id]
    same_channel = [row for row in rows if row.key.startswith(f"{event.channel} ")]
    return _best(connection, event, parts or same_channel or rows)


def _by_key(connection: sqlite3.Connection, key: str) -> list[_Row]:
    return _rows(connection, _BY_KEY, key)


def _rows(connection: sqlite3.Connection, query: str, value: object) -> list[_Row]:
    return [_Row(*row) for row in connection.execute(query, (value,))]


def _same_account(event: ReceiptEvent, rows: Sequence[_Row]) -> Sequence[_Row]:
    """Those of the account that reports; an account without a name may be any."""
    same = [row for row in rows if row.account == event.account]
    return same or [row for row in rows if not row.account or not event.account]


def _best(connection: sqlite3.Connection, event: ReceiptEvent, rows: Sequence[_Row]) -> Match | None:
    """The newest that concerns the event's recipient, else the newest."""
    matches = (_match(connection, row) for row in rows)
    first = None
    for match in matches:
        if match is not None and _concerns(match, event):
            return match
        first = first or match
        if not event.recipient:
            break
    return first


def _match(connection: sqlite3.Connection, row: _Row) -> Match | None:
    leader, facts = row.number, row.facts
    if row.leader is not None:
        leader = row.leader
        found = connection.execute("SELECT facts FROM handover WHERE number = ?", (leader,)).fetchone()
        facts = found[0] if found is not None else None
    try:
        known = decode_facts(facts) if facts is not None else None
    except ValueError:
        # A damaged row is as good as none.
        known = None
    return Match(row.spool_id, row.number, leader, row.parts, known, row.handed) if known is not None else None


def _concerns(match: Match, event: ReceiptEvent) -> bool:
    return recipient_of(match.facts.recipients, event.recipient) is not None


def recipient_of(recipients: Sequence[str], told: str) -> str | None:
    """The one of `recipients` that a provider means by `told`, an address or a phone number; None when none is."""
    wanted = bare(told).casefold()
    for one in recipients:
        known = one.casefold()
        if known == wanted or (wanted and _digits(known.partition("@")[0]) == _digits(wanted) != ""):
            return one
    return None


def bare(told: str) -> str:
    """An address without the name that some providers leave before it."""
    inside = told.rpartition("<")[2]
    return inside.removesuffix(">").strip() if inside != told else told


def _digits(text: str) -> str:
    """A phone number without what is written around it; "" when it is none."""
    bare = text.lstrip("+").replace(" ", "").replace("-", "").lstrip("0")
    return bare if bare.isascii() and bare.isdecimal() else ""
