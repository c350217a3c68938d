"""What route tables have learned, shared by all workers and kept over restarts.

Each worker writes what it has learned to rows of its own in the state file and
reads the rows of the others, once a second; choices are made from memory
alone. A worker that is started anew finds its own rows.

Public: `RouteState`, `SCHEMA`, `KEPT`. What can go wrong: a state file that cannot be
read or written, which is told in the diagnostic log once and tried again;
until then each worker learns by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from attrs import astuple, define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.net.clock import Clock, sleep
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.rest import Rest
from kumotwist.queue.routes.balance import MAX_CLASSES
from kumotwist.queue.routes.evidence import Evidence
from kumotwist.queue.routes.standing import Known
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tally import Tally

log: Final = Logger()

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS route_standing (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      worker INTEGER NOT NULL, name TEXT NOT NULL, class TEXT NOT NULL, changed REAL NOT NULL, state BLOB NOT NULL,
      UNIQUE (worker, name, class) ON CONFLICT REPLACE)""",
    "CREATE INDEX IF NOT EXISTS route_standing_worker ON route_standing (worker)",
    "CREATE INDEX IF NOT EXISTS route_standing_all ON route_standing (number) WHERE class = ''",
)
#: Seconds after which a row tells nothing any more: dozens of the usual half-lives.
KEPT: Final = 86_400.0
#: Rows that one look reads; more are read the next second. Those of the class of all come first, since breakers of
#: whole routes are there.
_ROWS: Final = 2_000
#: Rows that are taken in before mail has its turn. Ours: some hundredths of a second.
_AT_ONCE: Final = 250
#: Rows that a worker keeps: of more classes than memory has nothing is known anyway. Some 10 MB.
_MOST: Final = 2 * MAX_CLASSES
#: Seconds between two rounds of forgetting rows, and how many one takes.
_PRUNE_EVERY: Final = 10.0
_PRUNED_AT_ONCE: Final = 2_000

_INSERT: Final = "INSERT INTO route_standing (worker, name, class, changed, state) VALUES (?, ?, ?, ?, ?)"
# A number is given when a row is written and grows with every writing, so whoever knows the last one misses nothing.
_NEWS_OF_ALL: Final = """SELECT number, worker, name, class, state FROM route_standing
    WHERE number > :after AND worker != :own AND class = '' ORDER BY number LIMIT :most"""
_NEWS_OF_CLASSES: Final = """SELECT number, worker, name, class, state FROM route_standing
    WHERE number > :after AND worker != :own AND class != '' ORDER BY number LIMIT :most"""
_OWN: Final = """SELECT number, worker, name, class, state FROM route_standing
    WHERE worker = :own AND name = :name ORDER BY number DESC LIMIT :classes"""
_OTHERS: Final = """SELECT number, worker, name, class, state FROM route_standing
    WHERE worker != :own AND name = :name
    AND (class = '' OR number > (SELECT max(number) FROM route_standing) - :most)"""
_PRUNE: Final = """DELETE FROM route_standing WHERE number IN (
        SELECT number FROM route_standing WHERE worker = :worker ORDER BY number LIMIT :at_once)
    AND (changed < :older_than OR (class != '' AND number <= (
        SELECT number FROM route_standing WHERE worker = :worker ORDER BY number DESC LIMIT 1 OFFSET :most)))"""

_Row = tuple[int, int, str, str, bytes]


class _State(msgspec.Struct, array_like=True):
    """A route's part of a row."""

    handed: tuple[float, float, float, float, float, float]
    arrived: tuple[float, float, float, float, float, float]
    open_until: float
    moved: float = 0.0
    #: Of the tally: the time, and its slots that are not empty.
    counted_at: float = 0.0
    counted: dict[int, float] = {}
    #: Whether it was found to be worse than another.
    worse: bool = False
    #: For which it is out: when that began and is over, and what was said.
    rest: tuple[float, float, str] | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, _State]).decode


@define(eq=False)
class RouteState:
    """The rows of one worker, and what it has read of the others'."""

    file: SqliteFile
    worker: int
    clock: Clock
    #: The numbers of the last rows that were read: of the class of all, and of other classes.
    _read_to: list[int] = field(factory=lambda: [0, 0], init=False)
    _prune_at: float = field(default=0.0, init=False)
    _is_told: bool = field(default=False, init=False)

    async def recall(self, table: RouteTable) -> None:
        """Give a table that was just made what is known about it, by us before the last start and by others."""
        name, own = table.config.name, self.worker

        def work(connection: sqlite3.Connection) -> list[_Row]:
            asked = {"own": own, "name": name, "classes": MAX_CLASSES, "most": _ROWS}
            rows = connection.execute(_OWN, asked).fetchall()
            return [*connection.execute(_OTHERS, asked), *reversed(rows)]

        now = self.clock.seconds()
        for number, (_, worker, _, class_, state) in enumerate(await self._ask(work) or (), 1):
            if number % _AT_ONCE == 0:
                await sleep(self.clock, 0)
            known = _known(table, state)
            if known is None:
                continue
            if worker == own:
                table.recall(class_, known, now)
            else:
                table.hear(worker, class_, known, now)

    async def exchange(self, tables: Sequence[RouteTable]) -> None:
        """Write what is new of ours, read what is new of the others'."""
        now, own = self.clock.seconds(), self.worker
        for table in tables:
            table.judge_news(now)
        rows = [
            (own, table.config.name, class_, now, _encode(_states(table, known)))
            for table in tables
            for class_, known in table.news()
        ]
        of_all, of_classes = self._read_to
        prunes = not self._prune_at - _PRUNE_EVERY <= now < self._prune_at

        def work(connection: sqlite3.Connection) -> list[_Row]:
            connection.executemany(_INSERT, rows)
            if prunes:
                _prune(connection, now - KEPT)
            asked = {"own": own, "most": _ROWS}
            return [
                *connection.execute(_NEWS_OF_ALL, {**asked, "after": of_all}),
                *connection.execute(_NEWS_OF_CLASSES, {**asked, "after": of_classes}),
            ]

        found = await self._ask(work)
        if found is None:
            return
        if prunes:
            self._prune_at = now + _PRUNE_EVERY
        self._hear({table.config.name: table for table in tables}, found, now)

    def _hear(self, tables: dict[str, RouteTable], rows: Sequence[_Row], now: float) -> None:
        for number, worker, name, class_, state in rows:
            self._read_to[class_ != ""] = number
            table = tables.get(name)
            known = _known(table, state) if table is not None else None
            if table is not None and known is not None:
                table.hear(worker, class_, known, now)

    async def _ask(self, work: object) -> list[_Row] | None:
        """The rows; None when the state file fails, which is said once."""
        try:
            rows: list[_Row] = await self.file.write(work)  # type: ignore[arg-type]
        except CancelledError:
            raise
        except KumotwistError as error:
            if not self._is_told:
                log.error("what routes have shown is not shared: {error}", error=error)
            self._is_told = True
            return None
        self._is_told = False
        return rows


def _prune(connection: sqlite3.Connection, older_than: float) -> None:
    """Forget what is old, and of each worker what it wrote longest ago when there is too much."""
    for (worker,) in connection.execute("SELECT DISTINCT worker FROM route_standing").fetchall():
        bounds = {"worker": worker, "at_once": _PRUNED_AT_ONCE, "older_than": older_than, "most": _MOST}
        connection.execute(_PRUNE, bounds)


def _states(table: RouteTable, known: Known) -> dict[str, _State]:
    return {
        route.name: _State(
            known.handed[at].as_numbers(),  # type: ignore[arg-type] # six of them
            known.arrived[at].as_numbers(),  # type: ignore[arg-type]
            known.open_until[at],
            known.moved[at],
            *(known.tallies[at].as_numbers() if at in known.tallies else (0.0, {})),
            at in known.worse,
            astuple(known.rests[at]) if at in known.rests else None,
        )
        for at, route in enumerate(table.config.routes)
    }


def _known(table: RouteTable, state: bytes) -> Known | None:
    """What a row says about the routes that the table has; None when it cannot be read."""
    try:
        states = _decode(state)
    except msgspec.DecodeError:
        return None
    half_life = table.config.learn.half_life
    nothing, none = _State((0.0,) * 6, (0.0,) * 6, 0.0), Evidence(half_life)

    def evidence(numbers: Sequence[float]) -> Evidence:
        return Evidence.of_numbers(half_life, numbers) if any(numbers) else none  # nobody adds to another's

    found = [states.get(route.name, nothing) for route in table.config.routes]
    return Known(
        tuple(evidence(one.handed) for one in found),
        tuple(evidence(one.arrived) for one in found),
        tuple(one.open_until for one in found),
        tuple(one.moved for one in found),
        frozenset(at for at, one in enumerate(found) if one.worse),
        {at: Tally.of_numbers(half_life, one.counted_at, one.counted) for at, one in enumerate(found) if one.counted},
        {at: Rest(*one.rest) for at, one in enumerate(found) if one.rest is not None},
    )
