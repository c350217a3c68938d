"""Idempotency-Key: whatever happens in between, a request that is sent again has no further effect.

A crash is played by leaving everything of a process where it is for ever, and
building another one on the same spool and the same state file.
"""

import base64
import re

import pytest
import pytest_twisted
from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_http import House, listen
from support.fakes_intake import FakeQueue, FakeStore
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater

from kumotwist.config.option import Cidrs
from kumotwist.core.errors import Overload, PolicyError, Rejection, SpoolUnhealthy, StateUnavailable
from kumotwist.core.records import RecordType
from kumotwist.intake.send.idempotency import MAX_KEY, SCHEMA, TTL, Keys, key_of
from kumotwist.intake.send.result import INTERRUPTED
from kumotwist.net.sqlite import SqliteFile

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
REQUEST = {
    "to": [{"email": "a@example.org"}, {"phone": "+15551234567"}],
    "from": {"email": "s@example.com"},
    "text": "Hello",
}


@define(eq=False)
class Failing:
    """The state file of a process: after `writes` changes the next ones fail with `error`, or never end."""

    file: SqliteFile
    writes: int
    error: Exception | None = None

    async def write(self, work):
        self.writes -= 1
        if self.writes >= 0:
            return await self.file.write(work)
        if self.error is not None:
            raise self.error
        return await Deferred()

    async def read(self, work):
        return await self.file.read(work)


class World:
    """One spool and one state file, and the processes that come and go on them."""

    def __init__(self, file):
        self.file = file
        self.clock = Clock()
        self.clock.advance(1_790_000_000)
        self.store = FakeStore()
        self.peers = []

    def start(self, shard=0, file=None, **options):
        """A process, listening with `options`; its queue is its own."""
        house = House(store=self.store, queue=FakeQueue(), keys=Keys(file or self.file, shard, self.clock))
        peer = listen(house, **options)
        self.peers.append(peer)
        return house, peer

    async def settle(self, *shards):
        """What the next owner of the shards does when it starts."""
        await Keys(self.file, 0, self.clock).settle(shards, self.store)

    async def close(self):
        for peer in self.peers:
            await peer.port.stopListening()
            peer.site.abort()
            for client in peer.clients:
                client.transport.abortConnection()
                client.closed.addErrback(lambda _: None)
        await self.file.close()


@pytest.fixture
def world(tmp_path):
    file = pytest_twisted.blockon(ensureDeferred(SqliteFile.open(tmp_path / "state.sqlite", reactor, SCHEMA)))
    made = World(file)
    yield made
    pytest_twisted.blockon(ensureDeferred(made.close()))


def send(peer, request=REQUEST, key=KEY, **headers):
    return peer.send(request, Idempotency_Key=key, **headers)


def turn():
    return deferLater(reactor, 0.005, lambda: None)


def ids(answer):
    return [one["id"] for one in answer.json()["recipients"]]


def saved(world):
    return sorted(one.hex() for one in world.store.saved)


@pytest_twisted.ensureDeferred
async def test_the_first_answer_again(world):
    """The same key and body: the same status and ids, nothing new is sent, and the client can see that."""
    house, peer = world.start()
    first, second = await send(peer), await send(peer)
    assert first.code == second.code == 200
    assert first.body == second.body
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert len(house.queue.messages) == 2
    assert len(house.recorder.of(RecordType.RECEPTION)) == 2


@pytest_twisted.ensureDeferred
async def test_without_a_key_each_request_counts(world):
    """No key, no memory."""
    house, peer = world.start()
    first, second = await peer.send(REQUEST), await peer.send(REQUEST)
    assert not set(ids(first)) & set(ids(second))
    assert len(house.queue.messages) == 4


@pytest_twisted.ensureDeferred
async def test_another_body_is_refused(world):
    """The same key with another request is a mistake of the client's: 409, and nothing is sent."""
    house, peer = world.start()
    await send(peer)
    other = await send(peer, REQUEST | {"text": "Bye"})
    assert (other.code, other.text) == (409, "Error: this Idempotency-Key was used with another request")
    assert "retry-after" not in other.headers
    assert len(house.queue.messages) == 2


@pytest.mark.parametrize("other", [KEY, "another"])
@pytest_twisted.ensureDeferred
async def test_two_keys_are_none(world, other):
    """Which of two keys would count another server may see otherwise: 400 says so, and nothing is sent."""
    house, peer = world.start()
    answer = await peer.send(REQUEST, Idempotency_Key=KEY, idempotency_key=other)
    assert (answer.code, answer.text) == (
        400,
        "Error: Idempotency-Key is there more than once; a request has one key",
    )
    assert not house.queue.messages
    assert (await send(peer)).code == 200


@pytest_twisted.ensureDeferred
async def test_while_the_first_is_under_way(world):
    """A second one that comes too early is told to come back, and gets the answer then, on any worker."""
    house, peer = world.start(shard=0)
    _, other = world.start(shard=1)
    world.store.hold = True
    first = ensureDeferred(send(peer))
    while not world.store.waiting:
        await turn()
    for early in (await send(peer), await send(other)):
        assert early.code == 409
        assert "still under way" in early.text
        assert early.headers["retry-after"] == "1"
    assert (await send(other, REQUEST | {"text": "Bye"})).text.endswith("used with another request")
    world.store.release()
    assert (await first).body == (await send(other)).body
    assert len(house.queue.messages) == 2


@pytest_twisted.ensureDeferred
async def test_users_have_keys_of_their_own(world):
    """One user's key says nothing about another's, and tells nobody anything."""
    house, _ = world.start()
    house.policy.handlers["http_server_validate_auth_basic"] = lambda user, password: True
    peer = listen(house, trusted_hosts=Cidrs())
    world.peers.append(peer)
    answers = [
        await send(peer, authorization="Basic " + base64.b64encode(user).decode())
        for user in (b"ann:x", b"bob:x", b"ann:y")
    ]
    assert [one.headers.get("idempotent-replayed") for one in answers] == [None, None, "true"]
    assert len(house.queue.messages) == 4


@pytest_twisted.ensureDeferred
async def test_a_day_later_the_key_is_free(world):
    """An answer is remembered for 24 hours, and swept away afterwards."""
    house, peer = world.start()
    first = await send(peer)
    await send(peer, key="other")
    world.clock.advance(TTL - 1)
    assert (await send(peer)).body == first.body
    world.clock.advance(1)
    assert ids(await send(peer)) != ids(first)
    assert len(house.queue.messages) == 6
    await house.keys.sweep()
    assert await world.file.read(lambda one: one.execute("SELECT count(*) FROM idempotency").fetchone()[0]) == 1


@pytest_twisted.ensureDeferred
async def test_what_came_to_nothing_may_come_again(world):
    """No recipient accepted, too much waiting, a request that is wrong: the key is free for another try."""
    house, peer = world.start()

    def generated(message, auth):
        raise Rejection(550, "not now")

    house.policy.handlers["http_message_generated"] = generated
    assert (await send(peer)).code == 422
    del house.policy.handlers["http_message_generated"]
    world.store.failure = Overload("too much mail is waiting for the disk")
    assert (await send(peer)).code == 503
    world.store.failure = None
    assert (await send(peer, REQUEST | {"text": None})).code == 422
    assert (await send(peer)).code == 200
    assert len(house.queue.messages) == 2


@pytest_twisted.ensureDeferred
async def test_failures_are_part_of_the_answer(world):
    """A recipient that failed the first time stays failed under that key."""
    house, peer = world.start()
    house.policy.handlers["http_message_generated"] = _refuse_mail
    first = await send(peer)
    del house.policy.handlers["http_message_generated"]
    assert [one["error"] for one in first.json()["recipients"]] == ["550 no mail today", None]
    assert (await send(peer)).body == first.body


def _refuse_mail(message, auth):
    if message.recipients[0].domain == "example.org":
        raise Rejection(550, "no mail today")


@pytest_twisted.ensureDeferred
async def test_what_the_queue_refused_late_is_remembered(world):
    """The answer that is kept is the one that was given."""
    house, peer = world.start()
    house.queue.failures["example.org"] = PolicyError("no config")
    first = await send(peer)
    assert [one["error"] for one in first.json()["recipients"]] == ["cannot be queued", None]
    assert (await send(peer)).body == first.body


# -- the process dies -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_killed_before_anything_was_saved(world):
    """The request has left no trace; the retry is the first that counts."""
    house, peer = world.start()
    never = Deferred()
    house.policy.handlers["http_message_generated"] = lambda message, auth: never
    ensureDeferred(send(peer)).addErrback(lambda _: None)
    while not house.policy.calls or house.policy.calls[-1][0] != "http_message_generated":
        await turn()
    house, peer = world.start()
    assert (await send(peer)).code == 409
    await world.settle(0)
    assert (await send(peer)).code == 200
    assert len(house.queue.messages) == 2


@pytest_twisted.ensureDeferred
async def test_killed_between_the_disk_and_the_answer(world):
    """The messages are in the spool and were never queued; the retry gets their ids and makes no others."""
    house, peer = world.start(file=Failing(world.file, 1))
    ensureDeferred(send(peer)).addErrback(lambda _: None)
    while len(world.store.saved) < 2:
        await turn()
    await turn()
    assert not house.queue.messages
    house, peer = world.start()
    await world.settle(0)
    answer = await send(peer)
    assert answer.code == 200
    assert answer.json()["accepted"] == 2
    assert sorted(ids(answer)) == saved(world)
    assert [one["to"] for one in answer.json()["recipients"]] == ["a@example.org", "+15551234567@sms"]
    assert not house.queue.messages
    assert (await send(peer)).body == answer.body
    assert (await send(peer, REQUEST | {"text": "Bye"})).code == 409


@pytest_twisted.ensureDeferred
async def test_killed_and_started_with_another_region(world):
    """A number that was good when it was saved is named as given when it no longer can be read."""
    _, peer = world.start(file=Failing(world.file, 1), default_region="US")
    request = REQUEST | {"to": {"phone": "(555) 123-4567"}}
    ensureDeferred(send(peer, request)).addErrback(lambda _: None)
    while not world.store.saved:
        await turn()
    await world.settle(0)
    _, peer = world.start()
    answer = await send(peer, request)
    assert answer.json()["recipients"] == [{"to": "(555) 123-4567", "id": saved(world)[0], "error": None}]


@pytest_twisted.ensureDeferred
async def test_killed_when_part_was_on_disk(world):
    """What is there is accepted, and the rest is told, recipient by recipient."""
    _, peer = world.start(file=Failing(world.file, 1))
    ensureDeferred(send(peer)).addErrback(lambda _: None)
    while len(world.store.saved) < 2:
        await turn()
    lost = next(one for one, message in world.store.saved.items() if message.recipients[0].domain == "sms")
    del world.store.saved[lost]
    await world.settle(0)
    _, peer = world.start()
    answer = await send(peer)
    assert answer.code == 200
    assert [one["error"] for one in answer.json()["recipients"]] == [None, INTERRUPTED]
    assert ids(answer) == [*saved(world), None]


@pytest_twisted.ensureDeferred
async def test_killed_before_the_client_heard(world):
    """The answer was written down before anything was queued, so it is given again even when all has been delivered."""
    house, peer = world.start()
    house.queue.hold = True
    ensureDeferred(send(peer)).addErrback(lambda _: None)
    while not house.queue.waiting:
        await turn()
    there = saved(world)
    world.store.saved.clear()
    await world.settle(0)
    house, peer = world.start()
    answer = await send(peer)
    assert sorted(ids(answer)) == there
    assert not house.queue.messages


@pytest_twisted.ensureDeferred
async def test_only_the_next_owner_of_the_spool_decides(world):
    """A worker that starts beside one that is busy leaves its requests alone."""
    house, peer = world.start(shard=0)
    world.store.hold = True
    first = ensureDeferred(send(peer))
    while not world.store.waiting:
        await turn()
    await world.settle(1, 3, 5)
    _, other = world.start(shard=1)
    assert (await send(other)).code == 409
    world.store.release()
    assert (await first).code == 200
    assert len(house.queue.messages) == 2


# -- the disk fails -------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_spool_that_broke_leaves_it_open(world):
    """After a failed sync nobody knows what is on disk; the key stays taken until the next start has looked."""
    _, peer = world.start()
    world.store.failure = SpoolUnhealthy("broken")
    assert (await send(peer)).code == 503
    world.store.failure = None
    assert (await send(peer)).code == 409
    await world.settle(0)
    assert (await send(peer)).code == 200


@pytest_twisted.ensureDeferred
async def test_a_state_file_that_fails_before(world):
    """No reservation, no message: 503."""
    house, peer = world.start(file=Failing(world.file, 0, StateUnavailable("disk is full")))
    answer = await send(peer)
    assert (answer.code, answer.text) == (503, "Error: disk is full")
    assert not world.store.saved
    assert (await peer.send(REQUEST)).code == 200
    assert len(house.queue.messages) == 2


@pytest_twisted.ensureDeferred
async def test_a_state_file_that_fails_in_between(world):
    """An answer that cannot be remembered is not given: the messages are taken back."""
    house, peer = world.start(file=Failing(world.file, 1, StateUnavailable("disk is full")))
    assert (await send(peer)).code == 503
    assert not world.store.saved
    assert not house.queue.messages
    await world.settle(0)
    house, peer = world.start()
    assert (await send(peer)).code == 200
    assert len(house.queue.messages) == 2


# -- the header -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e"', "8e03978e"),
        ("8e03978e", "8e03978e"),
        (' "a b, c;d" ', "a b, c;d"),
        (r'"say \"hi\" \\"', r'say "hi" \\'.replace("\\\\", "\\")),
        ("x" * MAX_KEY, "x" * MAX_KEY),
    ],
)
def test_keys(header, key):
    """A string in quotes as the draft has it, or bare as most clients send it."""
    assert key_of(header) == key


@pytest.mark.parametrize(
    "header",
    ["", '""', '"', "a b", "a,b", '"a"; p=1', '"a', "é", '"é"', r'"\n"', "x" * (MAX_KEY + 1), '"a\x7f"', '"a\tb"'],
)
@pytest_twisted.ensureDeferred
async def test_no_keys(world, header):
    """What is no key is 400, and nothing is sent."""
    house, peer = world.start()
    client = await peer.connect()
    assert client
    with pytest.raises(ValueError, match="1 to 255 characters"):
        key_of(header)
    if header and header.isascii() and "\x7f" not in header:
        answer = await send(peer, key=header)
        assert answer.code == 400
        assert "Idempotency-Key must be a text" in answer.text
    assert not house.queue.messages


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MAX_KEY))
def test_every_printable_key_survives_its_quotes(key):
    """RFC 8941 strings, there and back."""
    assert key_of('"' + re.sub(r'(["\\])', r"\\\1", key) + '"') == key
