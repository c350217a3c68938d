"""The promises of `MessageStore`, on the real store and on the double."""

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred

from kumotwist.core.address import NULL_SENDER, EnvelopeAddress
from kumotwist.core.errors import PolicyError, SpoolCorrupt, SpoolUnhealthy
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule
from kumotwist.spool import codec
from kumotwist.spool.memory import MemoryStore
from kumotwist.spool.rocks import RocksStore

ids = IdGenerator(reactor.seconds)
RECIPIENT = EnvelopeAddress("user", "example.org")


def new_message(body=b"Subject: x\r\n\r\nhello\r\n", **changes):
    fields = {"sender": EnvelopeAddress("me", "example.com"), "recipients": (RECIPIENT,), "meta": {}}
    return Message(ids(), body=body, **{**fields, **changes})


class MemoryHouse:
    """Opens and reopens the double."""

    def __init__(self, _):
        self.store = MemoryStore()

    async def restart(self):
        self.store = self.store.restarted()
        return self.store

    async def close(self):
        await self.store.close()


class RocksHouse:
    """Opens and reopens the real one."""

    def __init__(self, path):
        self.path = path
        self.store = RocksStore.open(path, (0, 4), reactor)

    async def restart(self):
        await self.store.close()
        self.store = RocksStore.open(self.path, (0, 4), reactor)
        return self.store

    async def close(self):
        await self.store.close()


@pytest_twisted.async_yield_fixture(params=[MemoryHouse, RocksHouse])
async def house(request, tmp_path):
    one = request.param(tmp_path / "spool")
    yield one
    await one.close()


async def listed(store):
    return [message async for batch in as_iterator(store) for message in batch]


async def as_iterator(store):
    async for batch in store.enumerate():
        yield batch


@pytest_twisted.ensureDeferred
async def test_a_saved_message_is_there_after_a_restart(house):
    """What was acknowledged is found again, with everything that belongs to it."""
    schedule = Schedule.parse({"first_attempt": "2030-01-01T00:00:00Z"})
    message = new_message(
        sender=NULL_SENDER,
        recipients=(RECIPIENT, EnvelopeAddress("öl", "пример.example")),
        meta={"tenant": "t", "n": 1, "deep": {"list": [1.5, None, True, "x"]}},
        due=1234567890.25,
        attempts=3,
        schedule=schedule,
    )
    await house.store.save((message,))
    assert message.is_spooled
    store = await house.restart()
    (found,) = await store.load((message.id,))
    assert found is not message
    for name in ("id", "sender", "recipients", "meta", "body", "due", "attempts", "schedule"):
        assert getattr(found, name) == getattr(message, name)
    assert found.is_spooled


@pytest_twisted.ensureDeferred
async def test_a_restart_lists_all_messages_once_without_bodies(house):
    """Start-up sees every message that was waiting, and none of the new ones."""
    old = [new_message() for _ in range(600)]
    await house.store.save(old)
    store = await house.restart()
    await store.save((new_message(),))
    found = await listed(store)
    assert sorted(message.id for message in found) == sorted(message.id for message in old)
    assert {message.body for message in found} == {None}
    assert all(message.is_spooled for message in found)


@pytest_twisted.ensureDeferred
async def test_a_removed_message_stays_away(house):
    """A delivered message is not delivered again after a restart."""
    kept, gone = new_message(), new_message()
    await house.store.save((kept, gone))
    house.store.remove(gone.id)
    house.store.remove(ids())
    assert [message and message.id for message in await house.store.load((gone.id, kept.id))] == [None, kept.id]
    store = await house.restart()
    assert [message.id for message in await listed(store)] == [kept.id]


@pytest_twisted.ensureDeferred
async def test_changed_meta_is_kept_and_the_body_with_it(house):
    """Retry state survives: due time, attempts and meta as last noted."""
    message = new_message()
    await house.store.save((message,))
    body, message.body = message.body, None
    message.attempts, message.due = 7, 99.5
    message.set_meta("queue", "other")
    await house.store.save_meta_later(message)
    assert message.is_spooled
    (now,) = await house.store.load((message.id,))
    assert (now.attempts, now.meta) == (7, {"queue": "other"})
    store = await house.restart()
    (found,) = await store.load((message.id,))
    assert (found.attempts, found.due, found.meta, found.body) == (7, 99.5, {"queue": "other"}, body)


@pytest_twisted.ensureDeferred
async def test_a_replaced_body_replaces(house):
    """A message that policy rewrote goes out as rewritten, also when a large body becomes a small one or grows."""
    small, large, larger = b"small", b"l" * 3_000_000, b"m" * 5_000_001
    message = new_message(small)
    for body in (small, large, larger, small):
        message.set_body(body)
        await house.store.save((message,))
        assert await house.store.load_body(message) == body
        store = await house.restart()
        message.body = None
        assert await store.load_body(message) == body
        assert message.body == body


@pytest_twisted.ensureDeferred
async def test_a_body_of_20_mebibytes_is_kept(house):
    """The largest message that a listener takes by default fits, and is gone when removed."""
    message = new_message(b"0123456789abcdef" * (20 * 65536))
    await house.store.save((message,))
    store = await house.restart()
    (found,) = await store.load((message.id,))
    assert found.body == message.body
    store.remove(message.id)
    store = await house.restart()
    with pytest.raises(SpoolCorrupt, match=message.id.hex()):
        await store.load_body(message)
    assert await listed(store) == []


@pytest_twisted.ensureDeferred
async def test_saves_that_come_together_all_return(house):
    """Twenty sessions at once: each hears back."""
    messages = [new_message() for _ in range(50)]
    results = await DeferredList([ensureDeferred(house.store.save((message,))) for message in messages])
    assert all(good for good, _ in results)
    assert None not in await house.store.load([message.id for message in messages])


@pytest_twisted.ensureDeferred
async def test_meta_that_is_not_json_is_refused_and_harms_nothing(house):
    """A policy that stores nonsense fails its own message only."""
    good, bad = new_message(), new_message(meta={"x": object()})
    with pytest.raises(PolicyError, match="cannot be stored"):
        await house.store.save((bad,))
    huge = new_message(meta={"x": 1 << 70})
    with pytest.raises(PolicyError):
        await house.store.save((huge,))
    await house.store.save((good,))
    store = await house.restart()
    assert [message.id for message in await listed(store)] == [good.id]


@pytest_twisted.ensureDeferred
async def test_a_clean_message_costs_nothing(house):
    """Saving twice writes once."""
    message = new_message()
    await house.store.save((message,))
    await house.store.save((message,))
    await house.store.save(())
    samples = {sample.name: sample.value for sample in house.store.samples()}
    assert sum(samples["message_save_latency"].counts) == 1


@pytest_twisted.ensureDeferred
async def test_a_message_without_a_body_cannot_be_saved(house):
    """A body that was never there is a defect of ours and is named."""
    with pytest.raises(ValueError, match="has no body"):
        await house.store.save((new_message(body=None),))


@pytest_twisted.ensureDeferred
async def test_after_close_nothing_is_taken(tmp_path):
    """A stopped daemon does not pretend."""
    store = RocksStore.open(tmp_path, (0,), reactor)
    await store.close()
    assert not store.is_healthy
    with pytest.raises(SpoolUnhealthy):
        await store.save((new_message(),))
    await store.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON, max_size=4),
    st.lists(st.tuples(st.text(), st.text()), max_size=4),
    st.floats(0, 1e11),
    st.integers(0, 65535),
)
def test_every_envelope_is_read_back_as_it_was(meta, recipients, due, attempts):
    """Whatever JSON a policy keeps in a message comes back the same."""
    message = new_message(
        meta=meta, recipients=tuple(EnvelopeAddress(*pair) for pair in recipients), due=due, attempts=attempts
    )
    found = codec.decode(message.id, codec.encode(message))
    assert (found.meta, found.recipients, found.due, found.attempts) == (meta, message.recipients, due, attempts)
    assert found.is_spooled


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(record):
    """Garbage in the spool is named as such, never an unknown error."""
    try:
        codec.decode(ids(), record)
    except SpoolCorrupt:
        pass
