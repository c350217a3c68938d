"""One SQLite file that several processes share: state that outlives a process and is not mail.

The ledger of hand-overs and receipts, the store against replays and the
idempotency keys each own a table in it. All statements of a process run on one
thread of its own; what is asked for while one transaction is under way goes
into the next one, so that one sync serves many callers. Workers take turns by
SQLite's own locks (WAL: readers never wait for the writer).

A piece of work is a function of the connection. It runs on the thread: it must
touch nothing that the reactor thread uses, and must not begin or end
transactions. A piece that fails is undone alone; the others of its transaction
stand.

Public: `SqliteFile`. What can go wrong: `StateUnavailable`, saying what the
operator can do (`permanent` for a damaged file); `Overload` when too much
waits; and whatever the work itself raises.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.net.threads import ReactorClock, SerialThread

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

#: Seconds that we wait for another process to end its transaction. Ours: a transaction takes milliseconds.
BUSY_PATIENCE: Final = 10.0
#: Pieces that may wait. Ours: some seconds of work for a worker that hands over thousands of messages a second.
MAX_WAITING: Final = 20_000
#: Pieces in one transaction, so that other processes get their turn well within their patience.
MAX_PIECES: Final = 1_000
#: Octets of the write-ahead log that are kept after a checkpoint; SQLite's default is no bound.
_JOURNAL_SIZE_LIMIT: Final = 16 * 1024 * 1024
#: Only our own user may read it: it holds addresses.
_MODE: Final = 0o600
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk gives errors",
    sqlite3.SQLITE_NOMEM: "there is no memory",
    sqlite3.SQLITE_PERM: "it may not be used",
}


@define(eq=False)
class _Piece(Generic[T]):
    """One piece of work and whoever waits for it."""

    work: Work[T]
    is_write: bool
    waiting: Deferred[T] = field(factory=Deferred)
    result: T | None = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Hand the end over; the caller may have gone."""
        if self.waiting.called:
            return
        if self.error is not None:
            self.waiting.errback(self.error)
        else:
            self.waiting.callback(self.result)  # type: ignore[arg-type]  # set by the work when there is no error


@define(eq=False)
class SqliteFile:
    """The way of this process to the file."""

    path: Path
    max_waiting: int
    _thread: SerialThread
    _connection: sqlite3.Connection | None = field(default=None, init=False)
    _waiting: list[_Piece[Any]] = field(factory=list, init=False)
    _is_running: bool = field(default=False, init=False)
    _is_closed: bool = field(default=False, init=False)

    @classmethod
    async def open(
        cls, path: Path, reactor: ReactorClock, schema: Iterable[str] = (), max_waiting: int = MAX_WAITING
    ) -> SqliteFile:
        """Open or create the file and run `schema`, statements that may find their work done.

        Raises StateUnavailable.
        """
        opened = cls(path, max_waiting, SerialThread("kumo-state", reactor))
        try:
            await opened._on_thread(opened._connect)
            await opened.define(schema)
        except BaseException:
            await opened.close()
            raise
        return opened

    async def define(self, schema: Iterable[str]) -> None:
        """Run the statements of an owner's tables: `CREATE TABLE IF NOT EXISTS …`. Raises StateUnavailable."""
        statements = tuple(schema)

        def work(connection: sqlite3.Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        await self.write(work)

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, when its changes are on disk.

        May be cancelled; the work is done all the same. Raises
        StateUnavailable, Overload and what `work` raises.
        """
        return await self._ask(_Piece(work, True))

    async def read(self, work: Work[T]) -> T:
        """What `work` returns; it only reads. Waits for no other process. Raises as `write`."""
        return await self._ask(_Piece(work, False))

    async def close(self) -> None:
        """Finish what waits and let go of the file."""
        self._is_closed = True
        while self._waiting or self._is_running:
            await self._on_thread(_nothing)
        await self._on_thread(self._disconnect)
        await self._thread.close()

    # -- on the reactor thread ----------------------------------------------------------------------

    async def _ask(self, piece: _Piece[T]) -> T:
        if self._is_closed:
            raise StateUnavailable(f"{self.path} is closed")
        if len(self._waiting) >= self.max_waiting:
            raise Overload(f"{self.path} has {self.max_waiting} changes waiting")
        self._waiting.append(piece)
        self._run()
        return await piece.waiting

    def _run(self) -> None:
        if self._is_running or not self._waiting:
            return
        self._is_running = True
        pieces, self._waiting = self._waiting[:MAX_PIECES], self._waiting[MAX_PIECES:]

        def done(error: BaseException | None) -> None:
            self._is_running = False
            self._run()
            for piece in pieces:
                piece.error = error or piece.error
                piece.tell()

        self._thread.submit(lambda: self._transact(pieces), done)

    async def _on_thread(self, work: Callable[[], None]) -> None:
        """Run `work` behind what was given to the thread before."""
        ended: Deferred[None] = Deferred()

        def done(error: BaseException | None) -> None:
            if error is not None:
                ended.errback(error)
            else:
                ended.callback(None)

        self._thread.submit(work, done)
        await ended

    # -- on the thread ------------------------------------------------------------------------------

    def _connect(self) -> None:
        deadline = time.monotonic() + BUSY_PATIENCE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE))
        except OSError as error:
            raise StateUnavailable(f"{self.path}: {error.strerror}") from error
        while True:
            connection = sqlite3.connect(self.path, timeout=BUSY_PATIENCE, isolation_level=None)
            try:
                _prepare(connection)
            except sqlite3.Error as error:
                connection.close()
                # Two processes that turn WAL on at once do not wait for each other.
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise self._explained(error) from error
                time.sleep(0.01)
            else:
                self._connection = connection
                return

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _transact(self, pieces: list[_Piece[Any]]) -> None:
        connection = self._connection
        if connection is None:
            raise StateUnavailable(f"{self.path} is not open")
        try:
            connection.execute("BEGIN IMMEDIATE" if any(piece.is_write for piece in pieces) else "BEGIN")
            for piece in pieces:
                self._do(connection, piece)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                # What fails here is the same trouble once more.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise self._explained(error) if isinstance(error, sqlite3.Error) else error from error

    def _do(self, connection: sqlite3.Connection, piece: _Piece[Any]) -> None:
        if piece.is_write:
            connection.execute("SAVEPOINT piece")
        try:
            piece.result = piece.work(connection)
        except sqlite3.Error as error:
            if self._is_ours(error):
                # The file is at fault, not the piece: it costs the whole transaction.
                raise
            piece.error = error
        except Exception as error:
            piece.error = error
        if piece.is_write:
            connection.execute("ROLLBACK TO piece" if piece.error is not None else "RELEASE piece")

    def _is_ours(self, error: sqlite3.Error) -> bool:
        code = _primary_code(error)
        return code in _DAMAGED or code in _ADVICE

    def _explained(self, error: sqlite3.Error) -> BaseException:
        code = _primary_code(error)
        if code in _DAMAGED:
            text = f"{self.path} is damaged ({error}); move it away with its -wal and -shm files to begin anew"
            return StateUnavailable(text, permanent=True)
        if code in _ADVICE:
            return StateUnavailable(f"{self.path}: {_ADVICE[code]} ({error})")
        return error


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {round(BUSY_PATIENCE * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, not NORMAL: what a provider was told 200 for must survive a power cut (SQLite, pragma synchronous).
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_SIZE_LIMIT}")
    # Reads the first page: a file that is no database is found now and not with the first message.
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's code without the extension in the upper octets; -1 for errors of the module itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def _nothing() -> None:
    pass
