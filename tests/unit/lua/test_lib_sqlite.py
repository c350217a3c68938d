"""The module `sqlite`, as a policy uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_twisted import blockon, ensureDeferred
from support.luabox import LuaBox
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from kumotwist.core.errors import PolicyError
from kumotwist.lua.lib import sqlite
from kumotwist.lua.lib.sqlite import SqliteLibrary
from kumotwist.net.blocking import BlockingThreads


@pytest.fixture
def box() -> Iterator[LuaBox]:
    """A policy with the module."""
    threads = BlockingThreads(reactor, "databases", 2, 100)
    yield LuaBox(SqliteLibrary(threads))
    blockon(Deferred.fromCoroutine(threads.close()))


@ensureDeferred
async def test_the_example_of_kumomtas_documentation(box: LuaBox) -> None:
    """Values of one column, rows as tables, and how many rows were changed."""
    await box.run("""
    local sqlite = require 'sqlite'
    local db = sqlite.open ':memory:'
    db:execute 'CREATE TABLE people (name, age)'
    db:execute('INSERT INTO people (name, age) values (?, ?)', 'john', 42)
    db:execute('INSERT INTO people (name, age) values (:name, :age)', { name = 'fred', age = 32 })
    local ages = db:execute 'select age from people order by age'
    assert(#ages == 2 and ages[1] == 32 and ages[2] == 42)
    local all = db:execute 'select * from people order by age'
    assert(#all == 2 and all[1].name == 'fred' and all[1].age == 32 and all[2].name == 'john')
    assert(db:execute 'delete from people' == 2)
    assert(#db:execute 'select name from people' == 0)
    """)


@ensureDeferred
async def test_values_of_all_kinds(box: LuaBox, tmp_path: Path) -> None:
    """Numbers, texts, octets and nil go in and come out, and others see what is committed."""
    path = tmp_path / "auth.db"
    await box.run(f"""
    local db = require('sqlite').open('{path}', 100)
    db:execute 'create table t (a, b, c, d)'
    assert(db:execute('insert into t values (?, ?, ?, ?)', 1, 2.5, 'text', '\\xff\\0') == 1)
    db:execute('insert into t values (?, ?, ?, ?)', {{ 7, 'x', '', 'y' }})
    db:execute('insert into t values (?, ?, ?, ?)', nil, 'z', nil, nil)
    local row = db:execute('select * from t where a = ?', 1)[1]
    assert(math.type(row.a) == 'integer' and row.b == 2.5 and row.c == 'text' and row.d == '\\xff\\0')
    assert(db:execute("select * from t where b = 'z'")[1].a == nil)
    db:execute 'begin'
    db:execute 'delete from t'
    db:execute 'rollback'
    assert(db:execute('select count(*) from t')[1] == 3)
    db:close()
    db:close()
    """)
    with sqlite3.connect(path) as other:
        assert other.execute("select count(*) from t").fetchone() == (3,)
    other.close()


ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"


@pytest.fixture
def threads() -> Iterator[BlockingThreads]:
    threads = BlockingThreads(reactor, "databases", 2, 100)
    yield threads
    blockon(Deferred.fromCoroutine(threads.close()))


async def under_way(coroutine: Coroutine[Deferred[object], object, object]) -> Deferred[object]:
    """A call that has come to its thread and waits there."""
    call = Deferred.fromCoroutine(coroutine)
    await deferLater(reactor, 0.1, lambda: None)
    assert not call.called
    return call


@ensureDeferred
async def test_a_handler_that_is_given_up_leaves_the_database_to_the_next(threads: BlockingThreads) -> None:
    """A client that hangs up while a query runs ends the query, and holds up nobody."""
    database = await SqliteLibrary(threads).open(":memory:")
    for _ in range(5):
        call = await under_way(database.execute(ENDLESS))
        behind = Deferred.fromCoroutine(database.execute("select 1"))
        call.cancel()
        with pytest.raises(CancelledError):
            await call
        assert await behind == [1]
    await database.execute("create table t (a)")
    call = await under_way(database.execute(ENDLESS))
    unwanted = Deferred.fromCoroutine(database.execute("insert into t values (1)"))
    left = Deferred.fromCoroutine(database.execute("select * from t"))
    closed = Deferred.fromCoroutine(database.close())
    for one in (call, unwanted):
        one.cancel()
        with pytest.raises(CancelledError):
            await one
    await closed
    assert await left == []


@ensureDeferred
async def test_another_s_transaction_is_waited_for(threads: BlockingThreads, tmp_path: Path) -> None:
    """For as long as the policy says; a stop does not wait for it."""
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("create table t (a)")
        other.execute("begin immediate")
        hasty = await SqliteLibrary(threads).open(str(path), 50)
        with pytest.raises(ValueError, match="sqlite: database is locked"):
            await hasty.execute("insert into t values (1)")
        patient = await SqliteLibrary(threads).open(str(path), 10**18)
        call = await under_way(patient.execute("insert into t values (2)"))
        other.execute("commit")
        assert await call == 1
        other.execute("begin immediate")
        call = await under_way(patient.execute("insert into t values (3)"))
        await threads.close()
        with pytest.raises(ValueError, match="sqlite: database is locked"):
            await call


@pytest.mark.parametrize(
    ("lua", "error"),
    [
        ("db:execute 'selec 1'", 'sqlite: near "selec": syntax error'),
        ("db:execute('select ?', true)", "only numbers, strings and nil"),
        ("db:execute('select ?', 'hush', 'hush')", "sqlite: Incorrect number of bindings"),
        ("db:close() db:execute 'select 1'", "the database is closed"),
        ("require('sqlite').open '/nowhere/x.db'", "sqlite: /nowhere/x.db: unable to open database file"),
        (
            "db:execute 'with recursive n(x) as (select 1 union all select x + 1 from n) select x from n'",
            "more than 100 rows",
        ),
        (
            "db:execute 'with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n'",
            "no answer in 0.2 s",
        ),
    ],
)
@ensureDeferred
async def test_mistakes_are_told(lua: str, error: str, box: LuaBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says, bounds in rows and time, and never the values."""
    monkeypatch.setattr(sqlite, "MAX_ROWS", 100)
    monkeypatch.setattr(sqlite, "MAX_SECONDS", 0.2)
    with pytest.raises(PolicyError, match=error) as caught:
        await box.run(f"local db = require('sqlite').open ':memory:' {lua}")
    assert "hush" not in str(caught.value)
