"""Moves of shares and breakers on a machine with several workers: each is told by one of them.

All workers know nearly the same, so all see the same move. What one has told
is in the state file; the others then keep silent. While a share moves, the one
that told of it first goes on; when it falls silent for some seconds, because it
has nothing to send or has died, the next one to see a move takes over, and its
record begins where the last one ended. A breaker is told by whoever moved it;
those that follow, and those that moved theirs in the same seconds, are not. An
outage of all routes is told like that as well.

Public: `Announcer`, `Move`, `SCHEMA`. What can go wrong: a state file that cannot be read or
written; then each worker tells for itself, since a record twice is better than none.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError

from kumotwist.core.errors import KumotwistError
from kumotwist.net.clock import Clock
from kumotwist.net.sqlite import SqliteFile
from kumotwist.queue.routes.told import TOLD, Change

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS route_told (
      name TEXT NOT NULL, class TEXT NOT NULL, route TEXT NOT NULL, what TEXT NOT NULL,
      worker INTEGER NOT NULL, told REAL NOT NULL, after TEXT NOT NULL,
      PRIMARY KEY (name, class, route, what)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS route_told_told ON route_told (told)",
)
#: Seconds for which who told of something is the one to tell what comes next. Ours: a few judgements of a class, and
#: as many exchanges between workers.
_TURN: Final = 10.0
#: Seconds after which what was told is no beginning for the next record any more.
_KEPT: Final = 3600.0
#: Moves that wait. Ours: every class of a large table; beyond, the oldest is told by each worker for itself.
_MAX_WAITING: Final = 20_000

_Key = tuple[str, str, str, str, str]


@frozen
class Move:
    """A change of the table of that name, seen at `at`, in Unix seconds."""

    table: str
    change: Change
    at: float

    @property
    def key(self) -> _Key:
        """What it is about. A share may move on while it waits, a breaker's moves are one each."""
        return *self.about, "" if self.change.what == "share" else self.change.after

    @property
    def about(self) -> tuple[str, str, str, str]:
        """Table, class, route and what it is. An outage is of all routes, whichever made the difference."""
        change = self.change
        return self.table, change.name, "" if change.what == "outage" else change.route, change.what


@define(eq=False)
class Announcer:
    """That of one worker among several: `note` what is seen, and `tell` it."""

    file: SqliteFile
    worker: int
    clock: Clock
    _waiting: dict[_Key, Move] = field(factory=dict, init=False)
    #: Claimed, and not recorded yet.
    _ours: deque[Move] = field(factory=lambda: deque(maxlen=_MAX_WAITING), init=False)

    def note(self, move: Move) -> None:
        """A move that may have to be told."""
        if move.change.is_heard:
            return
        earlier = self._waiting.pop(move.key, None)
        if earlier is not None:
            move = evolve(move, change=evolve(move.change, before=earlier.change.before))
        self._waiting[move.key] = move

    async def tell(self, record: Callable[[Move], Awaitable[None]]) -> None:
        """Record those that are ours to tell, as they are to be told; others are forgotten, or wait.

        Raises what `record` raises; what follows the move at which it did is recorded the next time.
        """
        self._ours += await self._claimed()
        while self._ours:
            await record(self._ours.popleft())

    async def _claimed(self) -> list[Move]:
        if not self._waiting:
            return []
        moves, self._waiting, now = self._waiting, {}, self.clock.seconds()
        too_many = [moves.pop(key) for key in list(moves)[: max(0, len(moves) - _MAX_WAITING)]]
        seen = list(moves.values())

        def work(connection: sqlite3.Connection) -> tuple[list[Move], list[Move]]:
            connection.execute("DELETE FROM route_told WHERE told < ?", (now - _KEPT,))
            ours, later = list[Move](), list[Move]()
            for move in seen:
                self._claim(connection, move, now, ours, later)
            return ours, later

        try:
            ours, later = await self.file.write(work)
        except CancelledError:
            self._wait(seen)
            raise
        except KumotwistError:
            return [*too_many, *seen]
        self._wait(later)
        return [*too_many, *ours]

    def _wait(self, moves: list[Move]) -> None:
        """Put moves back behind what has come meanwhile."""
        newer, self._waiting = self._waiting, {move.key: move for move in moves}
        for move in newer.values():
            self.note(move)

    def _claim(
        self, connection: sqlite3.Connection, move: Move, now: float, ours: list[Move], later: list[Move]
    ) -> None:
        """Make the move ours to tell, unless another worker has told it, or may still do so."""
        change, about = move.change, move.about
        query = "SELECT worker, told, after FROM route_told WHERE (name, class, route, what) = (?, ?, ?, ?)"
        worker, told, after = connection.execute(query, about).fetchone() or (self.worker, 0.0, "")
        is_anothers_turn = worker != self.worker and 0.0 <= now - told < _TURN
        if change.what == "share" and after:
            if abs(float(after) - float(change.after)) < TOLD:
                return
            if is_anothers_turn:
                later.append(move)
                return
            change = evolve(change, before=after)
        elif is_anothers_turn and after == change.after:
            return
        row = (*about, self.worker, now, change.after)
        connection.execute("INSERT OR REPLACE INTO route_told VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        ours.append(evolve(move, change=change))
