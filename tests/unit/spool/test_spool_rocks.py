"""What only the store on RocksDB can show: shards, locks, damage, failing disks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest
import pytest_twisted
from rocksdict import Rdict
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import ConfigError, SpoolCorrupt
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.spool import tuning
from kumotwist.spool.database import Database
from kumotwist.spool.rocks import RocksStore
from kumotwist.spool.shards import SHARDS, SpoolInUse, shard_path, shards_of

ids = IdGenerator(reactor.seconds)
USER = EnvelopeAddress("user", "example.org")


def new_message(body=b"hello"):
    return Message(ids(), USER, (USER,), {}, body)


async def listed(store):
    found = []
    async for batch in store.enumerate():
        found += [message.id for message in batch]
    return found


def test_each_shard_belongs_to_one_worker():
    """However many workers there are, every shard is served, by one of them."""
    for workers in range(1, SHARDS + 1):
        served = [shard for worker in range(workers) for shard in shards_of(worker, workers)]
        assert sorted(served) == list(range(SHARDS))
    with pytest.raises(ConfigError, match="16 shards"):
        shards_of(0, 17)


@pytest_twisted.ensureDeferred
async def test_the_number_of_workers_may_change(tmp_path):
    """Three workers, then one, then sixteen: every message is found once and can be removed and changed."""
    messages = []
    for worker in range(3):
        store = RocksStore.open(tmp_path, shards_of(worker, 3), reactor)
        messages += [new_message() for _ in range(5)]
        await store.save(messages[-5:])
        await store.close()
    alone = RocksStore.open(tmp_path, shards_of(0, 1), reactor)
    assert sorted(await listed(alone)) == sorted(message.id for message in messages)
    for message in messages[::5]:
        alone.remove(message.id)
    for message in messages[1::5]:
        message.attempts = 2
        await alone.save_meta_later(message)
        assert await alone.load_body(message) == b"hello"
    await alone.close()
    found = {}
    for worker in range(SHARDS):
        store = RocksStore.open(tmp_path, shards_of(worker, SHARDS), reactor)
        async for batch in store.enumerate():
            for message in batch:
                assert message.id not in found
                found[message.id] = message.attempts
        await store.close()
    expected = {one.id: 0 for one in messages} | {one.id: 2 for one in messages[1::5]}
    for message in messages[::5]:
        del expected[message.id]
    assert found == expected


@pytest_twisted.ensureDeferred
async def test_a_spool_in_use_is_refused(tmp_path):
    """Two daemons on one spool: the second says who holds it."""
    store = RocksStore.open(tmp_path, (3,), reactor)
    with pytest.raises(SpoolInUse, match=r"shard-03.lock is held by process \d+"):
        RocksStore.open(tmp_path, (2, 3), reactor)
    await store.close()
    await RocksStore.open(tmp_path, (2, 3), reactor).close()


def test_a_foreign_directory_is_refused(tmp_path):
    """A spool of another format is not touched."""
    (tmp_path / "format").write_text("something else")
    with pytest.raises(ConfigError, match="something else"):
        RocksStore.open(tmp_path, (0,), reactor)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use the spool"):
        RocksStore.open(tmp_path / "file", (0,), reactor)


@pytest_twisted.ensureDeferred
async def test_shards_that_never_held_anything_are_not_opened(tmp_path):
    """Sixteen shards for one worker cost what one does."""
    store = RocksStore.open(tmp_path, shards_of(0, 1), reactor)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["shard-00"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_an_unreadable_record_is_set_aside_and_the_rest_goes_on(tmp_path, events):
    """One damaged message does not stop the start; the operator finds it as a file."""
    good, bad = new_message(), new_message(b"the body of the bad one")
    store = RocksStore.open(tmp_path, (0,), reactor)
    await store.save((good, bad))
    await store.close()
    database = Database.open(shard_path(tmp_path, 0), tuning.Memory())
    database.put_record(bad.id, b"\xc1garbage")
    database.put_record(b"odd key", b"?")
    database.commit(database.take())
    database.close()
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert await listed(store) == [good.id]
    assert await store.load((bad.id,)) == [None]
    await store.close()
    name = bad.id.hex()
    assert (tmp_path / "corrupt" / f"{name}.meta").read_bytes() == b"\xc1garbage"
    assert (tmp_path / "corrupt" / f"{name}.eml").read_bytes() == b"the body of the bad one"
    assert any(event.get("id") == name for event in events)
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert await listed(store) == [good.id]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_record_whose_body_is_gone_is_set_aside(tmp_path):
    """A message without a body is not sent as an empty one."""
    message = new_message()
    store = RocksStore.open(tmp_path, (0,), reactor)
    store._databases[0].put_record(message.id, b"")
    await store.save((message,))
    store._databases[0]._batch().delete(message.id, store._databases[0]._tables.bodies_handle)
    await store.save((new_message(),))
    with pytest.raises(SpoolCorrupt):
        await store.load_body(message)
    assert await store.load((message.id,)) == [None]
    assert (tmp_path / "corrupt" / f"{message.id.hex()}.meta").exists()
    await store.close()


async def crashed(tmp_path, messages):
    """A spool as a crash would leave it, its log, and the log's size after each message."""
    store = RocksStore.open(tmp_path / "live", (0,), reactor)
    (log,) = shard_path(tmp_path / "live", 0).glob("*.log")
    sizes = []
    for message in messages:
        await store.save((message,))
        sizes.append(log.stat().st_size)
    shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    await store.close()
    return tmp_path / "crashed", shard_path(tmp_path / "crashed", 0) / log.name, sizes


@pytest_twisted.ensureDeferred
async def test_a_damaged_log_is_kept_aside_and_read_as_far_as_it_goes(tmp_path, failures):
    """A bad sector in the log costs the messages on it, not the start of the daemon."""
    messages = [new_message(b"x" * 5000) for _ in range(40)]
    spool, path, _ = await crashed(tmp_path, messages)
    content = bytearray(path.read_bytes())
    content[60_000:60_016] = b"\xff" * 16
    path.write_bytes(content)
    store = RocksStore.open(spool, (0,), reactor)
    found = await listed(store)
    assert 20 < len(found) < 40
    assert set(found) < {message.id for message in messages}
    await store.close()
    assert (path.parent / "damaged" / path.name).read_bytes() == content
    failures.expect("is damaged (Corruption: checksum mismatch)")


@pytest_twisted.ensureDeferred
async def test_a_log_cut_anywhere_keeps_what_was_synced_before(tmp_path):
    """Power fails at any octet of the log: each message saved before that point is there and whole."""
    messages = [new_message(os.urandom(size)) for size in (10, 40_000, 1_000, 70_000, 1, 33_000)]
    spool, path, sizes = await crashed(tmp_path, messages)
    whole = path.read_bytes()
    edges = [size + offset for size in sizes for offset in (-7, -1, 0, 1, 7)]
    for number, cut in enumerate([0, 1, *edges]):
        copy = tmp_path / f"cut-{number}"
        shutil.copytree(spool, copy)
        (shard_path(copy, 0) / path.name).write_bytes(whole[:cut])
        store = RocksStore.open(copy, (0,), reactor)
        expected = [one.id for one, size in zip(messages, sizes, strict=True) if size <= cut]
        assert sorted(await listed(store)) == sorted(expected)
        assert [one.body for one in await store.load(expected)] == [one.body for one in messages[: len(expected)]]
        await store.close()


@pytest_twisted.ensureDeferred
async def test_pieces_of_a_large_body_that_was_never_acknowledged_are_dropped(tmp_path):
    """A crash in the middle of a 20 MiB message leaves neither the message nor its space."""
    message = new_message(b"y" * 3_500_000)
    store = RocksStore.open(tmp_path, (0,), reactor)
    await store.close()
    database = Database.open(shard_path(tmp_path, 0), tuning.Memory())
    database.put(message.id, b"record", message.body)
    database.commit(database.take()[:2])
    database.close()
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert await listed(store) == []
    await store.save((new_message(),))
    await store.close()
    database = Database.open(shard_path(tmp_path, 0), tuning.Memory())
    assert list(database._tables.pieces.keys()) == []
    assert list(database._tables.large.keys()) == []
    database.close()


@pytest_twisted.ensureDeferred
async def test_a_cancelled_save_breaks_nothing(tmp_path):
    """A client that goes away while its message is written does not disturb the others."""
    store = RocksStore.open(tmp_path, (0,), reactor)
    first, second = new_message(), new_message()
    leaving = ensureDeferred(store.save((first,)))
    staying = ensureDeferred(store.save((second,)))
    leaving.cancel()
    with pytest.raises(CancelledError):
        await leaving
    await staying
    store.remove(first.id)
    await store.close()
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert await listed(store) == [second.id]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_closing_while_messages_are_listed_is_clean(tmp_path):
    """A daemon that is stopped during start-up lets go of its spool."""
    store = RocksStore.open(tmp_path, (0,), reactor)
    await store.save([new_message() for _ in range(600)])
    await store.close()
    store = RocksStore.open(tmp_path, (0,), reactor)
    batches = store.enumerate()
    assert len(await anext(batches)) == 256
    await store.close()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert len(await listed(store)) == 600
    await store.close()


FULL_DISK = """
    import json, resource, signal, sys
    from twisted.internet import reactor, task
    from twisted.internet.defer import DeferredList, ensureDeferred
    from kumotwist.core.address import EnvelopeAddress
    from kumotwist.core.errors import SpoolFull, SpoolUnhealthy
    from kumotwist.core.ids import IdGenerator
    from kumotwist.core.message import Message
    from kumotwist.spool.rocks import RocksStore

    async def main(reactor):
        ids, user = IdGenerator(reactor.seconds), EnvelopeAddress("u", "example.org")
        store = RocksStore.open(sys.argv[1], (0,), reactor)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        saved, refused = [], []
        async def save():
            message = Message(ids(), user, (user,), {}, b"z" * 50_000)
            try:
                await store.save((message,))
            except (SpoolFull, SpoolUnhealthy) as error:
                assert message.is_body_dirty and message.is_meta_dirty
                refused.append(type(error).__name__)
            else:
                saved.append(message.id.hex())
        for _ in range(10):
            await DeferredList([ensureDeferred(save()) for _ in range(10)], fireOnOneErrback=True)
        healthy = store.is_healthy
        store.remove(bytes.fromhex(saved[0]))
        await store.close()
        print(json.dumps({"saved": saved, "refused": refused, "healthy": healthy}))

    task.react(lambda reactor: ensureDeferred(main(reactor)))
"""


@pytest_twisted.ensureDeferred
async def test_a_disk_that_refuses_writes_stops_acceptance_and_loses_nothing(tmp_path):
    """When the disk refuses, every sender hears so, and what was acknowledged is there after a restart."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert not result["healthy"]
    assert len(result["saved"]) + len(result["refused"]) == 100
    assert 5 < len(result["saved"]) < 30
    store = RocksStore.open(tmp_path, (0,), reactor)
    assert {one.hex() for one in await listed(store)} >= set(result["saved"])
    await store.close()


@pytest_twisted.ensureDeferred
async def test_the_database_can_be_read_with_rocksdb_alone(tmp_path):
    """Bodies lie in the spool as they came, under the message's id."""
    store = RocksStore.open(tmp_path, (0,), reactor)
    message = new_message()
    await store.save((message,))
    await store.close()
    tables = tuning.open_tables(shard_path(tmp_path, 0), tuning.Memory())
    assert tables.bodies.get(message.id) == b"hello"
    tables.close()
    assert sorted(Rdict.list_cf(str(shard_path(tmp_path, 0)))) == ["body", "default", "large", "pieces"]
