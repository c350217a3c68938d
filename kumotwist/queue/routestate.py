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
from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.errors import KumotwistError
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.routes.evidence import Evidence
from kumotwist.queue.routes.standing import Known
from kumotwist.queue.routes.table import RouteTable
from kumotwist.queue.routes.tally import Tally

log: Final = Logger()

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS route_state (
      worker INTEGER NOT NULL, name TEXT NOT NULL, class TEXT NOT NULL, changed REAL NOT NULL, state BLOB NOT NULL,
      PRIMARY KEY (worker, name, class)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS route_state_changed ON route_state (changed)",
)
#: Seconds after which a row tells nothing any more: dozens of the usual half-lives.
KEPT: Final = 86_400.0
#: Rows that one look reads; more are read the next second.
_ROWS: Final = 2_000
#: Seconds that clocks and transactions may be apart: a row is read twice rather than never.
_OVERLAP: Final = 5.0

_Row = tuple[int, str, str, float, bytes]


class _State(msgspec.Struct, array_like=True):
    """A route's part of a row."""

    handed: tuple[float, float, float, float, float, float]
    arrived: tuple[float, float, float, float, float, float]
    open_until: float
    moved: float = 0.0
    #: Of the tally: the time, and its slots that are not empty.
    counted_at: float = 0.0
    counted: dict[int, float] = {}


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, _State]).decode


@define(eq=False)
class RouteState:
    """The rows of one worker, and what it has read of the others'."""

    file: SqliteFile
    worker: int
    clock: Clock
    _read_to: float = field(default=0.0, init=False)
    _seen: dict[tuple[int, str, str], float] = field(factory=dict, init=False)
    _is_told: bool = field(default=False, init=False)

    async def recall(self, table: RouteTable) -> None:
        """Give a table that was just made what is known about it, by us before the last start and by others."""
        name = table.config.name

        def work(connection: sqlite3.Connection) -> list[_Row]:
            query = "SELECT worker, name, class, changed, state FROM route_state WHERE name = ? LIMIT ?"
            return connection.execute(query, (name, _ROWS)).fetchall()

        for worker, _, class_, _, state in await self._ask(work) or ():
            known = _known(table, state)
            if known is None:
                continue
            if worker == self.worker:
                table.recall(class_, known, self.clock.seconds())
            else:
                table.hear(worker, class_, known, self.clock.seconds())

    async def exchange(self, tables: Sequence[RouteTable]) -> None:
        """Write what is new of ours, read what is new of the others'."""
        now = self.clock.seconds()
        rows = [
            (self.worker, table.config.name, class_, now, _encode(_states(table, known)))
            for table in tables
            for class_, known in table.news()
        ]
        since, worker = min(self._read_to, now) - _OVERLAP, self.worker

        def work(connection: sqlite3.Connection) -> list[_Row]:
            connection.executemany("INSERT OR REPLACE INTO route_state VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("DELETE FROM route_state WHERE changed < ?", (now - KEPT,))
            query = (
                "SELECT worker, name, class, changed, state FROM route_state "
                "WHERE changed >= ? AND worker != ? ORDER BY changed LIMIT ?"
            )
            return connection.execute(query, (since, worker, _ROWS)).fetchall()

        found = await self._ask(work)
        if found is not None:
            self._hear({table.config.name: table for table in tables}, found, now)

    def _hear(self, tables: dict[str, RouteTable], rows: Sequence[_Row], now: float) -> None:
        for worker, name, class_, changed, state in rows:
            self._read_to = max(self._read_to, min(changed, now))
            table, key = tables.get(name), (worker, name, class_)
            if table is None or self._seen.get(key) == changed:
                continue
            self._seen[key] = changed
            known = _known(table, state)
            if known is not None:
                table.hear(worker, class_, known, now)
        self._seen = {key: changed for key, changed in self._seen.items() if changed >= self._read_to - 2 * _OVERLAP}

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


def _states(table: RouteTable, known: Known) -> dict[str, _State]:
    return {
        route.name: _State(
            known.handed[at].as_numbers(),  # type: ignore[arg-type] # six of them
            known.arrived[at].as_numbers(),  # type: ignore[arg-type]
            known.open_until[at],
            known.moved[at],
            *(known.tallies[at].as_numbers() if at in known.tallies else ()),
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
    nothing = _State((0.0,) * 6, (0.0,) * 6, 0.0)
    found = [states.get(route.name, nothing) for route in table.config.routes]
    return Known(
        tuple(Evidence.of_numbers(half_life, one.handed) for one in found),
        tuple(Evidence.of_numbers(half_life, one.arrived) for one in found),
        tuple(one.open_until for one in found),
        tuple(one.moved for one in found),
        {at: Tally.of_numbers(half_life, one.counted_at, one.counted) for at, one in enumerate(found) if one.counted},
    )
