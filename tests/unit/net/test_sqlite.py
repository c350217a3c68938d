"""The state file that processes share."""

import subprocess
import sys
import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.threads import deferToThread

from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.net.sqlite import SqliteFile

SCHEMA = ("CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID",)
OTHER_PROCESS = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from kumotwist.net.sqlite import SqliteFile

async def main():
    file = await SqliteFile.open(Path(sys.argv[1]), reactor, (sys.argv[2],))
    def add(connection):
        connection.execute("INSERT INTO counts VALUES ('n', 1) ON CONFLICT DO UPDATE SET value = value + 1")
    for _ in range(20):
        await DeferredList([ensureDeferred(file.write(add)) for _ in range(25)], fireOnOneErrback=True)
    await file.close()

done = []
def end(result):
    done.append(result)
    reactor.stop()
reactor.callWhenRunning(lambda: ensureDeferred(main()).addBoth(end))
reactor.run()
sys.exit(repr(done[0]) if done[0] is not None else 0)
"""


def add(connection):
    connection.execute("INSERT INTO counts VALUES ('n', 1) ON CONFLICT DO UPDATE SET value = value + 1")


def value(connection):
    row = connection.execute("SELECT value FROM counts WHERE name = 'n'").fetchone()
    return row[0] if row else 0


@pytest_twisted.ensureDeferred
async def test_what_was_written_is_there_after_a_restart(tmp_path):
    """A change that was acknowledged survives; only our user may read the file."""
    path = tmp_path / "state.sqlite"
    file = await SqliteFile.open(path, reactor, SCHEMA)
    await file.write(add)
    await file.close()
    assert path.stat().st_mode & 0o777 == 0o600
    file = await SqliteFile.open(path, reactor, SCHEMA)
    assert await file.read(value) == 1
    await file.close()
    assert "kumo-state" not in [one.name for one in threading.enumerate()]


@pytest_twisted.ensureDeferred
async def test_many_changes_share_a_transaction(tmp_path):
    """A thousand changes asked for at once cost a few syncs, not a thousand."""
    file = await SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA)
    statements = []
    await file.read(lambda connection: connection.set_trace_callback(statements.append))
    results = await DeferredList([ensureDeferred(file.write(add)) for _ in range(1000)])
    assert all(ok for ok, _ in results)
    assert statements.count("COMMIT") <= 3
    assert await file.read(value) == 1000
    await file.close()


@pytest_twisted.ensureDeferred
async def test_two_processes_write_one_file(tmp_path):
    """Workers share the ledger: no change of either is lost, and both start at once on a new file."""
    path = tmp_path / "state.sqlite"
    command = [sys.executable, "-c", OTHER_PROCESS, str(path), SCHEMA[0]]
    others = [deferToThread(subprocess.run, command, capture_output=True, timeout=60) for _ in range(2)]
    for is_ok, ended in await DeferredList(others):
        assert is_ok
        assert ended.returncode == 0, ended.stderr
    file = await SqliteFile.open(path, reactor)
    assert await file.read(value) == 1000
    await file.close()


@pytest_twisted.ensureDeferred
async def test_a_piece_that_fails_is_undone_alone(tmp_path):
    """One caller's mistake costs neither its neighbours nor half of its own change."""

    def fails(connection):
        add(connection)
        raise KeyError("mine")

    file = await SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA)
    pieces = [add, fails, lambda connection: connection.execute("no SQL"), add]
    ends = await DeferredList([ensureDeferred(file.write(piece)) for piece in pieces], consumeErrors=True)
    assert [is_ok for is_ok, _ in ends] == [True, False, False, True]
    assert await file.read(value) == 2
    await file.close()


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_said_and_overcome(tmp_path):
    """Nothing is acknowledged while the disk is full; with room again it goes on."""

    def large(connection):
        connection.execute("INSERT INTO counts VALUES (hex(randomblob(500000)), 1)")

    def limit(pages):
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    file = await SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA)
    await file.read(limit(20))
    with pytest.raises(StateUnavailable, match="the disk is full") as caught:
        await file.write(large)
    assert not caught.value.permanent
    await file.read(limit(100_000))
    await file.write(large)
    await file.close()


@pytest_twisted.ensureDeferred
async def test_a_damaged_file_is_said_with_the_way_out(tmp_path):
    """The operator reads which file it is and what to do."""
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StateUnavailable, match=r"state\.sqlite is damaged .*move it away") as caught:
        await SqliteFile.open(path, reactor, SCHEMA)
    assert caught.value.permanent


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be(tmp_path):
    """A missing directory is made; where that fails the operator reads a clear line, not a traceback."""
    file = await SqliteFile.open(tmp_path / "made" / "here" / "state.sqlite", reactor)
    await file.close()
    with pytest.raises(StateUnavailable, match=r"File exists|Not a directory"):
        await SqliteFile.open(tmp_path / "made" / "here" / "state.sqlite" / "below", reactor)


@pytest_twisted.ensureDeferred
async def test_what_waits_is_bounded(tmp_path):
    """Past the bound the caller hears at once, and memory does not grow."""
    file = await SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA, max_waiting=10)
    ends = await DeferredList([ensureDeferred(file.write(add)) for _ in range(30)], consumeErrors=True)
    refused = [end for is_ok, end in ends if not is_ok]
    assert refused
    assert all(one.check(Overload) for one in refused)
    assert await file.read(value) == 30 - len(refused)
    await file.close()


@pytest_twisted.ensureDeferred
async def test_close_finishes_what_waits(tmp_path):
    """A clean stop loses nothing that was asked for, and nothing is taken after it."""
    path = tmp_path / "state.sqlite"
    file = await SqliteFile.open(path, reactor, SCHEMA)
    ends = DeferredList([ensureDeferred(file.write(add)) for _ in range(2500)])
    await file.close()
    assert all(is_ok for is_ok, _ in await ends)
    with pytest.raises(StateUnavailable):
        await file.write(add)
    file = await SqliteFile.open(path, reactor)
    assert await file.read(value) == 2500
    await file.close()


@pytest_twisted.ensureDeferred
async def test_a_caller_that_went_away(tmp_path):
    """A cancelled wait neither undoes the change nor disturbs anybody."""
    file = await SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA)
    waiting = ensureDeferred(file.write(add))
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert await file.read(value) == 1
    await file.close()
