"""Reports by mail find the mail that they are about, and the way by which it had gone."""

import pytest
import pytest_twisted
from attrs import evolve
from support.receipt_desk import NEW_ID
from twisted.internet import reactor
from twisted.internet.task import Clock

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import StateUnavailable
from kumotwist.core.message import Message
from kumotwist.core.origin import Origin
from kumotwist.core.receipt import MAIL, Heard, ReceiptClass, ReceiptEvent, ReceiptState
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.core.way import Way
from kumotwist.net.sqlite import SqliteFile
from kumotwist.records.receipts.awaited import Awaited
from kumotwist.records.receipts.returns import Returns
from kumotwist.records.receipts.story import heard_of
from kumotwist.records.receipts.tables import SCHEMA, prune

START = 1795462200.0
WAY = Way("bulk", "mx", "far.test")
BOUNCE = ReceiptEvent(
    channel=MAIL, state=ReceiptState.FAILED, class_=ReceiptClass.BLOCK, text="550 blocked", recipient="ann@far.test"
)


class House:
    """One worker's, on a file."""

    def __init__(self, path, is_wanted=True):
        self.path, self.is_wanted, self.learned = path, is_wanted, []
        self.clock = Clock()
        self.clock.advance(START)

    async def open(self):
        self.file = await SqliteFile.open(self.path, reactor, SCHEMA)
        self.returns = Returns(self.file, self.clock, lambda: self.is_wanted, self._learn)
        return self

    def _learn(self, way, event, handed):
        self.learned.append((way.route, event.state.value, event.recipient, handed))

    def hand_over(self, *recipients, way=WAY, protocol="ESMTP", name="m1@shop.test"):
        """A Delivery record as the queue writes it; the message's id."""
        to = tuple(EnvelopeAddress(*one.split("@")) for one in recipients or ("ann@far.test",))
        body = f"Message-ID: <{name}>\r\n\r\nhello\r\n".encode()
        message = Message(NEW_ID(), EnvelopeAddress("shop", "src.test"), to, {}, body)
        record = Record(
            type=RecordType.DELIVERY,
            event_time=self.clock.seconds(),
            response=Response(250, "ok"),
            message=message,
            recipients=tuple(one.email for one in to),
            delivery_protocol=protocol,
            way=way,
        )
        self.returns.note(record)
        return message.id

    def count(self, state, message):
        found = [one for one in self.returns.samples() if one.name == "total_mail_reports"]
        labels = (("kind", state), ("message", message))
        return next((one.value for one in found if one.labels == labels), 0)

    async def close(self):
        await self.returns.close()
        await self.file.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest_twisted.ensureDeferred
async def test_a_report_finds_its_message_on_any_worker_and_after_a_restart(path):
    """By the id in our Received header or by the Message-ID; what it says is learned there, with the time."""
    one = await House(path).open()
    first, second = one.hand_over(), one.hand_over("bob@far.test", name="m2@shop.test")
    await one.close()
    two = await House(path).open()
    two.clock.advance(3 * 86400.0)
    assert await two.returns.hear(Origin((NEW_ID(), first)), BOUNCE) == WAY
    about_bob = evolve(BOUNCE, recipient="robert@elsewhere.test")
    assert await two.returns.hear(Origin((), "m2@shop.test"), about_bob) == WAY
    assert two.learned == [("mx", "failed", "ann@far.test", START), ("mx", "failed", "bob@far.test", START)]
    assert set(await two.file.read(lambda c: heard_of(c, [first, second]))) == {first, second}, "its story tells it"
    await two.close()


@pytest_twisted.ensureDeferred
async def test_a_report_that_nobody_can_tie_teaches_nothing(path):
    """It is counted: a message that was not ours, one that no table sent, and one without anything to know it by."""
    house = await House(path).open()
    direct = house.hand_over(way=None, name="direct@shop.test")
    by_api = house.hand_over(protocol="HTTP", name="api@shop.test")
    for origin in (Origin(), Origin((direct, by_api)), Origin((), "direct@shop.test"), Origin((NEW_ID(),), "x@y")):
        assert await house.returns.hear(origin, BOUNCE) is None
    assert house.learned == []
    assert (house.count("failed", "unknown"), house.count("failed", "known")) == (4, 0)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_the_same_report_twice_counts_once(path):
    """So nobody can sink a route with one message; a complaint after the bounce is another story."""
    house = await House(path).open()
    spool_id = house.hand_over()
    for recipient in ("ann@far.test", "ANN@far.test", "else@far.test"):
        assert await house.returns.hear(Origin((spool_id,)), evolve(BOUNCE, recipient=recipient)) == WAY
    complaint = ReceiptEvent(channel=MAIL, state=ReceiptState.COMPLAINED, text="abuse")
    assert await house.returns.hear(Origin((spool_id,), "", ("ann@far.test",)), complaint) == WAY
    assert [state for _, state, *_ in house.learned] == ["failed", "complained"]
    assert (house.count("failed", "known"), house.count("failed", "repeated")) == (1, 2)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_message_that_waits_on_a_fallback_hears_that_it_came_back(path):
    """At once, and of which table it is: what was sent since by another channel has not failed by that."""
    house = await House(path).open()
    spool_id = house.hand_over()
    awaited = Awaited(house.file, 0, house.clock)
    awaited.expect(spool_id)
    house.clock.advance(1.0)
    assert list(await awaited.news()) == []
    await house.returns.hear(Origin((spool_id,)), BOUNCE)
    assert list(await awaited.news()) == [spool_id]
    assert list(await awaited.heard(spool_id)) == [Heard("bulk", ReceiptState.FAILED, START + 1.0)]
    await awaited.close()
    await house.close()


@pytest_twisted.ensureDeferred
async def test_the_recipients_of_one_message_went_their_own_ways(path):
    """One at once and one by the next route: each report blames the way of its recipient, however it is hidden."""
    house = await House(path).open()
    spool_id = house.hand_over("ann@far.test", "bob@far.test")
    ann, bob = evolve(BOUNCE, recipient="ann@far.test"), evolve(BOUNCE, recipient="hidden")
    assert await house.returns.hear(Origin((spool_id,)), ann) == WAY
    assert await house.returns.hear(Origin((spool_id,), "", ("BOB@far.test",)), bob) == WAY
    assert [one[2] for one in house.learned] == ["ann@far.test", "bob@far.test"]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_recipient_that_is_made_up_counts_once(path):
    """Whoever had a message to several knows its id, and may not report it in the name of sixty others."""
    house = await House(path).open()
    spool_id = house.hand_over("ann@far.test", "bob@far.test")
    for number in range(60):
        await house.returns.hear(Origin((spool_id,)), evolve(BOUNCE, recipient=f"x{number}@made-up-{number}.test"))
    assert [one[2] for one in house.learned] == ["ann@far.test"]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_message_id_that_many_messages_share_names_none_of_them(path):
    """A list's recipients each have the Message-ID of all: one of them may not report for the others."""
    house = await House(path).open()
    house.hand_over("ann@far.test")
    house.hand_over("bob@far.test")
    assert await house.returns.hear(Origin((), "m1@shop.test"), evolve(BOUNCE, recipient="bob@far.test")) is None
    assert house.learned == []
    await house.close()


@pytest_twisted.ensureDeferred
async def test_where_no_report_is_taken_nothing_is_noted(path):
    """A policy without listener domains costs nothing; neither do messages for which no table chose."""
    house = await House(path, is_wanted=False).open()
    house.hand_over()
    house.is_wanted = True
    house.hand_over(way=None)
    await house.returns.close()
    assert await house.file.read(lambda c: c.execute("SELECT count(*) FROM mailed").fetchone()) == (0,)
    await house.close()


@pytest_twisted.ensureDeferred
async def test_what_is_remembered_is_bounded(path):
    """In rows and in age, as all that receipts may refer to."""
    house = await House(path).open()
    for at in range(5):
        house.hand_over(name=f"m{at}@shop.test")
    await house.returns.close()
    limits = {"now": START, "keep": 86400.0, "max_rows": 2}
    assert await house.file.write(lambda c: prune(c, **limits)) == 3
    assert await house.returns.hear(Origin((), "m0@shop.test"), BOUNCE) is None
    assert await house.returns.hear(Origin((), "m4@shop.test"), BOUNCE) == WAY
    limits["now"] += 2 * 86400.0
    assert await house.file.write(lambda c: prune(c, **limits)) == 3, "two hand-overs, and the report"
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_state_file_that_fails_costs_no_mail(path, monkeypatch):
    """What is not noted is counted; a report is then one about mail that nobody knows."""
    house = await House(path).open()

    async def fail(*_):
        raise StateUnavailable("disk is full")

    monkeypatch.setattr(SqliteFile, "write", fail)
    house.hand_over()
    assert await house.returns.hear(Origin((), "m1@shop.test"), BOUNCE) is None
    assert house.count("failed", "unknown") == 1
    assert {one.name: one.value for one in house.returns.samples()}["total_mail_handovers_lost"] == 1
    monkeypatch.undo()
    await house.close()
