"""Those whom budgets hold, in the state file: one line for each budget, through all workers.

Each row is a message: the budget that it waits for, when it came, and its
worker. Places are dealt to the first of the line, whoever's they are, so each
worker gets as many as its messages are next, which is in the order of arrival
and so in proportion to what each holds. A worker learns which of its own are
called; the place itself is taken in `budget_state`, so a line that is wrong
lets nothing pass that a budget forbids.

Rows outlive their worker for some seconds only. Those of one that has not been
heard of count for nothing, nor does one at the head that leaves its place free,
until its worker names it again. When a worker starts anew its messages join
where they were, by when they came.

Public: `SCHEMA`, `BEAT_EVERY`, `ALIVE`, `FORGET_EVERY`, `beat`, `forget`, `deal`, `leave`, `has_line`. They run on the
thread of the state file. What can go wrong: sqlite3's errors.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from kumotwist.core.interfaces import Ask, Deal, Event, Waiter
from kumotwist.queue.routes.line import UNCLAIMED
from kumotwist.queue.throttle import Places

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS budget_line (
      name TEXT NOT NULL, came REAL NOT NULL, message BLOB NOT NULL, worker INTEGER NOT NULL,
      PRIMARY KEY (name, came, message)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS budget_worker (worker INTEGER PRIMARY KEY, seen REAL NOT NULL)",
)
#: Seconds between two signs of life of a worker that has something in line, and after the last one that its messages
#: are passed over. Ours: a sync in two seconds, and longer than a busy worker or its start takes.
BEAT_EVERY: Final = 2.0
ALIVE: Final = 6.0
#: Seconds after which a place that should have been taken by another worker is looked at again.
_LOOK_AGAIN: Final = 2.0
#: Seconds between two searches for rows of workers that are no more. Ours: it looks at all rows, a tenth of a second's
#: work at worst.
FORGET_EVERY: Final = 600.0
#: How many of the first of its own a worker names each time. Ours: a write that changes nothing costs no sync.
_HEADS: Final = 8
#: Others in line up to which they are counted. Ours: half a millisecond; what is told of turns is an estimate anyway.
_COUNTED: Final = 10_000

_FIRST: Final = """SELECT came, message, worker FROM budget_line WHERE name = ?
    AND worker IN (SELECT worker FROM budget_worker WHERE seen BETWEEN ? AND ?)
    ORDER BY came, message LIMIT ?"""
_OTHERS: Final = "SELECT count(*) FROM (SELECT 1 FROM budget_line WHERE name = ? AND worker != ? LIMIT ?)"
_FORGET: Final = """DELETE FROM budget_line WHERE worker = ?
    OR worker NOT IN (SELECT worker FROM budget_worker WHERE seen BETWEEN ? AND ?)"""


def beat(connection: sqlite3.Connection, worker: int, now: float) -> None:
    """A sign of life."""
    connection.execute("INSERT OR REPLACE INTO budget_worker VALUES (?, ?)", (worker, now))


def forget(connection: sqlite3.Connection, worker: int | None, now: float) -> None:
    """Take those out of all lines whose workers give no sign of life, and those that this worker had before it began.

    None: it began long ago.
    """
    connection.execute(_FORGET, (worker, now - ALIVE, now + ALIVE))


def deal(connection: sqlite3.Connection, worker: int, ask: Ask, free: Places, now: float) -> Deal:
    """Who of the worker's own may take one of the places that are `free`."""
    joined = [(ask.key, came, message, worker) for came, message in ask.joined]
    connection.executemany("INSERT OR REPLACE INTO budget_line VALUES (?, ?, ?, ?)", joined)
    # Another worker may have taken the first of them for gone.
    heads = [(ask.key, came, message, worker) for came, message in ask.line[:_HEADS]]
    connection.executemany("INSERT OR IGNORE INTO budget_line VALUES (?, ?, ?, ?)", heads)
    for waiter in ask.left:
        leave(connection, ask.key, waiter)
    first = connection.execute(_FIRST, (ask.key, now - ALIVE, now + ALIVE, max(len(free.times), 1))).fetchall()
    ask_at, called = free.ask_at, list[tuple[Waiter, float]]()
    for (came, message, whose), at in zip(first, free.times, strict=False):
        if whose == worker:
            called.append(((came, message), at))
        else:
            ask_at = min(ask_at, at + _LOOK_AGAIN)
    if first and first[0][2] != worker and now - free.since > UNCLAIMED:
        # Whoever that was for has gone, and his worker has not noticed.
        leave(connection, ask.key, first[0][:2])
        ask_at = now
    others = connection.execute(_OTHERS, (ask.key, worker, _COUNTED)).fetchone()[0]
    return Deal(called, others, ask_at)


def leave(connection: sqlite3.Connection, name: str, waiter: Waiter) -> None:
    """Take one out of its line."""
    connection.execute("DELETE FROM budget_line WHERE (name, came, message) = (?, ?, ?)", (name, *waiter))


def has_line(connection: sqlite3.Connection, event: Event) -> bool:
    """Whether anybody waits for a budget."""
    return (
        event.has_line
        or connection.execute("SELECT 1 FROM budget_line WHERE name = ? LIMIT 1", (event.key,)).fetchone() is not None
    )
