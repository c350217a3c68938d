"""Mail that route tables have sent by SMTP, as it is remembered for the reports that may come back by mail.

A row for each hand-over: our id, the Message-ID, and what a report is to be told
of. It is a table apart from `handover`, since mail is much more than what any API
takes, and would push that out.

Everything here runs on the thread of the state file, inside a transaction, but for `mailed`.

Public: `Mailed`, `Tie`, `mailed`, `add_mailed`, `tie`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from attrs import evolve, frozen

from kumotwist.core.ids import SpoolId
from kumotwist.core.origin import Origin
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.records import Record
from kumotwist.core.way import Way
from kumotwist.proto.origin import message_id_of
from kumotwist.records.receipts.matching import recipient_of
from kumotwist.records.receipts.tables import TABLE, add_done, note_news

#: Octets of a hash that names a Message-ID. Ours: among a million rows two are alike once in ten million years of it.
_DIGEST: Final = 8
#: Hand-overs of one message that are looked at: as many as it can have recipients.
_ROWS: Final = 1_000
_INSERT: Final = "INSERT INTO mailed (spool_id, name, handed, facts) VALUES (?, ?, ?, ?)"
_BY_ID: Final = "SELECT spool_id, handed, facts FROM mailed WHERE spool_id = ? ORDER BY number DESC LIMIT ?"
_BY_NAME: Final = "SELECT spool_id, handed, facts FROM mailed WHERE name = ? ORDER BY number DESC LIMIT ?"

Mailed = tuple[bytes, bytes | None, float, bytes]


class _Facts(msgspec.Struct, array_like=True, frozen=True):
    """Kept for weeks as a list of values: a new field goes last and has a default."""

    table: str
    route: str
    class_: str
    recipients: tuple[str, ...]


@frozen
class Tie:
    """The way of the message that a report is about, and when it was handed over, in Unix seconds.

    `event` is the report with our id and the recipient as we know it; `is_news` says whether it was not there before.
    """

    way: Way
    handed: float
    event: ReceiptEvent
    is_news: bool


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Facts).decode


def mailed(record: Record, way: Way) -> Mailed | None:
    """The row of a Delivery record; None when there is no message to know again."""
    message = record.message
    if message is None:
        return None
    name = message_id_of(message.body) if message.body is not None else ""
    facts = _encode((way.table, way.route, way.name, record.recipients))
    return message.id, _digest(name) if name else None, record.event_time, facts


def add_mailed(connection: sqlite3.Connection, rows: Iterable[Mailed]) -> None:
    """Note hand-overs."""
    connection.executemany(_INSERT, rows)


def tie(connection: sqlite3.Connection, origin: Origin, event: ReceiptEvent, now: float) -> Tie | None:
    """Whose message `event` reports on, and note it as a receipt that is done with; None when nobody knows.

    The ids that our own headers name come before the Message-ID, which a sender may use twice.
    """
    found = _find(connection, origin, event)
    if found is None:
        return None
    spool_id, handed, facts = found
    told = (event.recipient, *origin.recipients)
    known = next((one for one in (recipient_of(facts.recipients, each) for each in told) if one is not None), None)
    # Whoever the message never was for can be made up, as often as anybody likes: of all such it counts once.
    is_ours = known is not None or len(facts.recipients) == 1
    known = known or facts.recipients[0]
    event = evolve(
        event,
        spool_id=spool_id,
        recipient=known,
        event_id=f"{spool_id.hex()}/{known.casefold() if is_ours else ''}",
        facts={**event.facts, TABLE: facts.table, "route": facts.route},
    )
    is_news = add_done(connection, event, now)
    if is_news:
        note_news(connection, spool_id)
    return Tie(Way(facts.table, facts.route, facts.class_), handed, event, is_news)


def _find(connection: sqlite3.Connection, origin: Origin, event: ReceiptEvent) -> tuple[SpoolId, float, _Facts] | None:
    asked: list[tuple[str, bytes]] = [(_BY_ID, spool_id) for spool_id in origin.ids]
    if origin.message_id:
        asked.append((_BY_NAME, _digest(origin.message_id)))
    told = (event.recipient, *origin.recipients)
    for query, value in asked:
        rows = connection.execute(query, (value, _ROWS)).fetchall()
        found = [(SpoolId(spool_id), handed, _decode(facts)) for spool_id, handed, facts in rows]
        if query is _BY_NAME and len({spool_id for spool_id, _, _ in found}) > 1:
            return None  # one of a list knows the Message-ID of all, and may not report for the others
        if found:
            return next((one for one in found if _concerns(one[2], told)), found[0])
    return None


def _concerns(facts: _Facts, told: Sequence[str]) -> bool:
    return any(recipient_of(facts.recipients, one) is not None for one in told)


def _digest(message_id: str) -> bytes:
    return hashlib.blake2b(message_id.encode("utf-8", "replace"), digest_size=_DIGEST).digest()
