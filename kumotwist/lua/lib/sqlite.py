"""The module `sqlite`: a policy's own databases, on threads so that a slow query holds up nobody else.

Public: `SqliteLibrary`, `Database`. What can go wrong: ValueError for what SQLite
says; it never shows the values of parameters.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from kumotwist.lua.binding import Function, facade, integer, text
from kumotwist.net.blocking import BlockingThreads

#: Milliseconds to wait for another's transaction, KumoMTA's default.
BUSY_TIMEOUT: Final = 500
#: Seconds that one query may take, with waits for others' transactions. Ours: it keeps a thread that others wait for.
MAX_SECONDS: Final = 30.0
#: Rows of one answer. Ours: each becomes a table in the policy's memory.
MAX_ROWS: Final = 100_000
#: Seconds between two looks whether another's transaction has ended.
_BUSY_PAUSE: Final = 0.01
#: Steps of SQLite's between two looks at the clock: a few milliseconds.
_STEPS: Final = 100_000

_Value: TypeAlias = str | bytes | int | float | None
_Parameters: TypeAlias = Sequence[_Value] | Mapping[str, _Value]


class SqliteLibrary:
    """What `require 'sqlite'` gives."""

    namespace = ":sqlite"

    def __init__(self, threads: BlockingThreads) -> None:
        self._threads = threads

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"open": self.open}

    async def open(self, path: object, busy_timeout: object = None) -> Database:
        """The database at a path, `:memory:` for one in memory; `busy_timeout` in milliseconds, 500 by default."""
        patience = BUSY_TIMEOUT if busy_timeout is None else integer(busy_timeout, "busy_timeout")
        connection = await self._threads.run(_open, text(path, "path"))
        return Database(self._threads, connection, min(patience / 1000, MAX_SECONDS))


@facade("sqlite-connection", methods=("close", "execute"))
class Database:
    """An open database; closed at the latest when the policy has let go of it."""

    def __init__(self, threads: BlockingThreads, connection: sqlite3.Connection, patience: float) -> None:
        """`patience` in seconds for another's transaction."""
        self._threads = threads
        self._connection: sqlite3.Connection | None = connection
        self._patience = patience
        self._turn = DeferredLock()

    async def execute(self, query: object, *parameters: object) -> object:
        """Rows as tables by column, values when there is one column; the number of changed rows when there is none.

        Parameters follow the query, or stand in a table: a list, or by name for `:name`.
        """
        statement, values = text(query, "query"), _parameters(parameters)
        is_unwanted = threading.Event()

        async def in_turn() -> object:
            # Until the thread has ended, whoever has stopped waiting: two in one connection would block each other.
            await self._turn.acquire()
            try:
                if is_unwanted.is_set():
                    return None
                if self._connection is None:
                    raise ValueError("sqlite: the database is closed")
                return await self._threads.run(
                    _execute, self._connection, statement, values, self._patience,
                    lambda: is_unwanted.is_set() or self._threads.is_closed,
                )  # fmt: skip
            finally:
                self._turn.release()

        answer: Deferred[object] = Deferred()
        Deferred.fromCoroutine(in_turn()).chainDeferred(answer)
        try:
            return await answer
        except CancelledError:
            is_unwanted.set()
            raise

    async def close(self) -> None:
        """Close it when the queries before have ended; a second time does nothing."""
        await self._turn.acquire()
        try:
            connection, self._connection = self._connection, None
            if connection is not None:
                await self._threads.run(connection.close)
        finally:
            self._turn.release()


def _parameters(given: Sequence[object]) -> _Parameters:
    if len(given) == 1 and isinstance(given[0], dict):
        return {str(name): _value(value) for name, value in given[0].items()}
    values = given[0] if len(given) == 1 and isinstance(given[0], list) else given
    return [_value(value) for value in values]


def _value(value: object) -> _Value:
    if value is None or (isinstance(value, (str, bytes, int, float)) and not isinstance(value, bool)):
        return value
    raise ValueError("sqlite: only numbers, strings and nil can be passed as parameter values")


def _open(path: str) -> sqlite3.Connection:
    try:
        # Without isolation level each statement is a transaction, unless the policy begins one. SQLite's own wait for
        # another's transaction cannot be ended, so it has none.
        return sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise ValueError(f"sqlite: {path}: {error}") from None


def _execute(
    connection: sqlite3.Connection,
    query: str,
    parameters: _Parameters,
    patience: float,
    is_unwanted: Callable[[], bool],
) -> object:
    began = time.monotonic()

    def seconds() -> float:
        return time.monotonic() - began

    connection.set_progress_handler(lambda: seconds() > MAX_SECONDS or is_unwanted(), _STEPS)
    while True:
        try:
            return _rows(connection.execute(query, parameters))
        except sqlite3.Error as error:
            is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or seconds() >= patience or is_unwanted():
                why = f"no answer in {MAX_SECONDS:g} s" if seconds() > MAX_SECONDS else error
                raise ValueError(f"sqlite: {why}") from None
        time.sleep(_BUSY_PAUSE)


def _rows(cursor: sqlite3.Cursor) -> object:
    if cursor.description is None:
        return max(cursor.rowcount, 0)
    rows = cursor.fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        cursor.close()
        raise ValueError(f"sqlite: more than {MAX_ROWS} rows")
    names = [column[0] for column in cursor.description]
    return [row[0] for row in rows] if len(names) == 1 else [dict(zip(names, row, strict=True)) for row in rows]
