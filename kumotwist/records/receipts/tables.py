"""The tables of the ledger, and the rows that go in and out of them.

`handover`: one row for each id that a provider gave a message; the first of a
message's parts has the facts about it, the others point to it (`leader`).
`receipt`: one row for each event that came in; `due` is when it is to be
looked at, and NULL when it is done with. `receipt_token`: what signed calls
have shown that may be shown but once.

`awaited`: messages that wait for a receipt, each with the number of the worker
that has it; `has_news` when there is one. It only says where to look: what
receipts have said is in `receipt`. `mailed`: mail that route tables have sent by
SMTP, see `mailed`.

Everything here runs on the thread of the state file, inside a transaction.

Public: `SCHEMA`, `TABLE`, `Facts`, `Handover`, `add_handovers`, `add_events`, `add_done`,
`decode_event`, `is_first`, `finish`, `prune`, `waiting`, `note_news`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from attrs import frozen

from kumotwist.core.ids import SpoolId
from kumotwist.core.receipt import ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.proto.receipts.ids import canonical

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS handover (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        account TEXT NOT NULL,
        spool_id BLOB NOT NULL,
        leader INTEGER,
        parts INTEGER NOT NULL,
        state TEXT,
        told_by INTEGER,
        handed REAL NOT NULL,
        facts BLOB
    )""",
    "CREATE INDEX IF NOT EXISTS handover_key ON handover (key)",
    "CREATE INDEX IF NOT EXISTS handover_leader ON handover (leader) WHERE leader IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS handover_message ON handover (spool_id) WHERE leader IS NULL",
    """CREATE TABLE IF NOT EXISTS receipt (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        event_key BLOB NOT NULL UNIQUE,
        key TEXT NOT NULL,
        spool_id BLOB,
        noted REAL NOT NULL,
        due REAL,
        event BLOB NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS receipt_due ON receipt (due) WHERE due IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS receipt_waiting ON receipt (key) WHERE due IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS receipt_message ON receipt (spool_id) WHERE spool_id IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS receipt_token (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        token BLOB NOT NULL UNIQUE,
        until REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS awaited (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        spool_id BLOB NOT NULL UNIQUE,
        worker INTEGER NOT NULL,
        noted REAL NOT NULL,
        has_news INTEGER NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS awaited_news ON awaited (worker) WHERE has_news",
    """CREATE TABLE IF NOT EXISTS mailed (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        spool_id BLOB NOT NULL,
        name BLOB,
        handed REAL NOT NULL,
        facts BLOB NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS mailed_message ON mailed (spool_id)",
    "CREATE INDEX IF NOT EXISTS mailed_name ON mailed (name) WHERE name IS NOT NULL",
)
_PRUNE: Final = (
    """DELETE FROM handover WHERE number IN (SELECT number FROM handover ORDER BY number LIMIT :at_once)
    AND (handed < :older_than OR number <= (SELECT max(number) FROM handover) - :max_rows)""",
    """DELETE FROM receipt
    WHERE number IN (SELECT number FROM receipt WHERE due IS NULL ORDER BY number LIMIT :at_once)
    AND (noted < :older_than OR number <= (SELECT max(number) FROM receipt) - :max_rows)""",
    """DELETE FROM receipt_token WHERE number IN (SELECT number FROM receipt_token ORDER BY number LIMIT :at_once)
    AND (until < :now OR number <= (SELECT max(number) FROM receipt_token) - :max_rows)""",
    """DELETE FROM awaited WHERE number IN (SELECT number FROM awaited ORDER BY number LIMIT :at_once)
    AND noted < :older_than""",
    """DELETE FROM mailed WHERE number IN (SELECT number FROM mailed ORDER BY number LIMIT :at_once)
    AND (handed < :older_than OR number <= (SELECT max(number) FROM mailed) - :max_rows)""",
)
#: What the facts of a report by mail call the route table that had sent the message.
TABLE: Final = "route_table"
#: Rows that one call of `prune` takes from a table: some 20 ms.
_PRUNED_AT_ONCE: Final = 2_000


# Both are kept for weeks as lists of values: a new field goes last and has a default.


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """What a Receipt record tells about its message, kept from the Delivery record."""

    sender: str
    recipients: tuple[str, ...]
    queue: str
    site: str
    egress_pool: str | None
    egress_source: str | None
    provider_name: str | None
    reception_protocol: str | None
    delivery_protocol: str | None
    attempts: int
    size: int
    peer_name: str
    peer_addr: str
    remote_id: str
    parts: int
    #: A JsonObject; msgspec cannot read the type of one.
    meta: dict[str, Any]
    #: Table, route and class, when a route table chose.
    way: tuple[str, str, str] | None = None


class _Event(msgspec.Struct, array_like=True, frozen=True):
    """A `ReceiptEvent` as it is kept."""

    channel: str
    account: str
    state: str
    class_: str
    text: str
    spool_id: bytes | None
    remote_id: str
    recipient: str
    event_id: str
    event_time: float | None
    part: int | None
    parts: int | None
    facts: dict[str, Any]


@frozen
class Handover:
    """One message as it was handed over; `remote_ids` has one entry for each part, `facts` are encoded."""

    channel: str
    account: str
    remote_ids: tuple[str, ...]
    spool_id: SpoolId
    handed: float
    facts: bytes


decode_facts: Final = msgspec.msgpack.Decoder(Facts).decode
encode_facts: Final = msgspec.msgpack.Encoder().encode
_decode_event: Final = msgspec.msgpack.Decoder(_Event).decode

_INSERT: Final = (
    "INSERT INTO handover (key, account, spool_id, leader, parts, handed, facts) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def key_of(channel: str, form: str) -> str:
    """What both tables are searched by; `form` is a canonical id."""
    return f"{channel} {form}"


def add_handovers(connection: sqlite3.Connection, handovers: Sequence[Handover], now: float) -> int:
    """Note `handovers`; how many receipts were there before them, which are due now."""
    last = connection.execute("SELECT coalesce(max(number), 0) FROM handover").fetchone()[0]
    single = [
        (key_of(one.channel, canonical(one.remote_ids[0])), one.account, one.spool_id, None, 1, one.handed, one.facts)
        for one in handovers
        if len(one.remote_ids) == 1
    ]
    connection.executemany(_INSERT, single)
    for one in handovers:
        if len(one.remote_ids) > 1:
            _add_parts(connection, one)
    if connection.execute("SELECT 1 FROM receipt WHERE due IS NOT NULL LIMIT 1").fetchone() is None:
        return 0
    return connection.execute(
        """UPDATE receipt SET due = ? WHERE due IS NOT NULL AND noted < ? AND (
            key IN (SELECT key FROM handover WHERE number > ?)
            OR spool_id IN (SELECT spool_id FROM handover WHERE number > ?))""",
        (now, now, last, last),
    ).rowcount


def _add_parts(connection: sqlite3.Connection, one: Handover) -> None:
    keys = [key_of(one.channel, canonical(remote_id)) for remote_id in one.remote_ids]
    parts = len(keys)
    first = (keys[0], one.account, one.spool_id, None, parts, one.handed, one.facts)
    leader = connection.execute(_INSERT, first).lastrowid
    rest = [(key, one.account, one.spool_id, leader, parts, one.handed, None) for key in keys[1:]]
    connection.executemany(_INSERT, rest)


def add_events(connection: sqlite3.Connection, events: Iterable[ReceiptEvent], now: float) -> int:
    """Note events, due at once; those noted before are passed over. How many are new."""
    rows = [
        (
            _event_key(event),
            key_of(event.channel, canonical(event.remote_id.split()[0])) if event.remote_id else "",
            event.spool_id,
            now,
            now,
            _encode_event(event),
        )
        for event in events
    ]
    return connection.executemany(
        "INSERT OR IGNORE INTO receipt (event_key, key, spool_id, noted, due, event) VALUES (?, ?, ?, ?, ?, ?)", rows
    ).rowcount


def add_done(connection: sqlite3.Connection, event: ReceiptEvent, now: float) -> bool:
    """Note an event of which there is nothing more to tell; whether it was not there before."""
    statement = (
        "INSERT OR IGNORE INTO receipt (event_key, key, spool_id, noted, due, event) VALUES (?, '', ?, ?, NULL, ?)"
    )
    row = (_event_key(event), event.spool_id, now, _encode_event(event))
    return connection.execute(statement, row).rowcount == 1


def is_first(connection: sqlite3.Connection, token: str, until: float) -> bool:
    """Whether `token` is shown for the first time; it is remembered for as long as its call would be taken."""
    digest = hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=16).digest()
    statement = "INSERT OR IGNORE INTO receipt_token (token, until) VALUES (?, ?)"
    return connection.execute(statement, (digest, until)).rowcount == 1


def _encode_event(event: ReceiptEvent) -> bytes:
    return encode_facts(
        _Event(
            event.channel,
            event.account,
            event.state.value,
            event.class_.value,
            event.text,
            event.spool_id,
            event.remote_id,
            event.recipient,
            event.event_id,
            event.event_time,
            event.part,
            event.parts,
            event.facts,
        )
    )


def decode_event(packed: bytes) -> ReceiptEvent:
    """The event as it came in."""
    row = _decode_event(packed)
    return ReceiptEvent(
        channel=row.channel,
        account=row.account,
        state=ReceiptState(row.state),
        class_=ReceiptClass(row.class_),
        text=row.text,
        spool_id=SpoolId(row.spool_id) if row.spool_id is not None else None,
        remote_id=row.remote_id,
        recipient=row.recipient,
        event_id=row.event_id,
        event_time=row.event_time,
        part=row.part,
        parts=row.parts,
        facts=row.facts,
    )


def _event_key(event: ReceiptEvent) -> bytes:
    """What makes two events the same: the provider's id of it or, without one, all that it says."""
    named = (event.event_id,) if event.event_id else (event.remote_id, event.recipient, event.text, event.event_time)
    told = repr((event.channel, event.account, event.state.value, *named))
    return hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=16).digest()


def note_news(connection: sqlite3.Connection, spool_id: SpoolId | None) -> None:
    """There is a receipt for a message; whoever waits for it is to know."""
    if spool_id is not None:
        connection.execute("UPDATE awaited SET has_news = 1 WHERE spool_id = ?", (spool_id,))


def finish(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """These receipts are written; what is left of them serves to know them again and to tell a message's story."""
    connection.executemany("UPDATE receipt SET due = NULL WHERE number = ?", [(number,) for number in numbers])


def waiting(connection: sqlite3.Connection) -> int:
    """How many receipts wait for their message or for being written."""
    count: int = connection.execute("SELECT count(*) FROM receipt WHERE due IS NOT NULL").fetchone()[0]
    return count


def prune(connection: sqlite3.Connection, now: float, keep: float, max_rows: int) -> int:
    """Forget what is older than `keep` seconds, and the oldest above so many rows a table.

    How many rows went, of at most some thousand. A receipt that is not done
    with is never forgotten.
    """
    limits = {"now": now, "older_than": now - keep, "max_rows": max_rows, "at_once": _PRUNED_AT_ONCE}
    return sum([connection.execute(statement, limits).rowcount for statement in _PRUNE])
