"""Admission: durable first, then recorded, then queued."""

from __future__ import annotations

import pytest
from support.fakes_intake import FakeQueue, FakeRecorder, FakeStore
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kumotwist.core.address import parse_address
from kumotwist.core.errors import Overload, PolicyError, SpoolFull, SpoolUnhealthy
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.records import RecordType
from kumotwist.intake.admission import Admission
from kumotwist.service.diskspace import DiskSpace

IDS = IdGenerator(lambda: 1.0)


def message(recipient="b@example.com", **meta):
    body = b"Subject: hi\r\n\r\nhello\r\n"
    return Message(IDS(), parse_address("a@example.org"), (parse_address(recipient),), dict(meta), body)


@pytest.fixture
def house():
    return Admission(FakeStore(), FakeRecorder(), FakeQueue(), Clock(), DiskSpace())


def run(coroutine):
    return Deferred.fromCoroutine(coroutine)


def finished(deferred):
    results = []
    deferred.addBoth(results.append)
    assert results, "still waiting"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def test_accepted_messages_are_stored_recorded_and_queued(house):
    """What is accepted is on disk, in the log and in the queue."""
    one = message(reception_protocol="ESMTP", tenant="t")
    assert finished(run(house.accept([one], None, "s1"))) == [one]
    assert house.store.saved == {one.id: one}
    assert house.queue.messages == [one]
    (record,) = house.recorder.records
    assert (record.type, record.queue, record.size) == (RecordType.RECEPTION, "t@example.com", one.size)
    assert (record.reception_protocol, record.session_id, record.response.code) == ("ESMTP", "s1", 250)


def test_nothing_is_recorded_before_the_disk_has_it(house):
    """A 250 means that the message is on disk: no record and no queueing before that."""
    house.store.hold = True
    work = run(house.accept([message()], None, None))
    assert not work.called
    assert not house.recorder.records
    assert not house.queue.messages
    house.store.release()
    finished(work)
    assert len(house.queue.messages) == 1


def test_null_queue_is_recorded_only(house):
    """Mail for the queue "null" is logged as received and goes nowhere."""
    finished(run(house.accept([message(queue="null")], None, None)))
    assert not house.store.saved
    assert not house.queue.messages
    assert [record.queue for record in house.recorder.records] == ["null"]


def test_unresolvable_queue_refuses_the_whole_transaction(house):
    """When policy cannot name a queue, nothing of the transaction is taken."""
    house.queue.unresolvable["bad.example"] = PolicyError("no")
    with pytest.raises(PolicyError):
        finished(run(house.accept([message(), message("x@bad.example")], None, None)))
    assert not house.store.saved
    assert not house.recorder.records


def test_bad_queue_meta_is_the_policys_fault(house):
    """A tenant that is a number is refused as the policy's error."""
    with pytest.raises(PolicyError, match="tenant"):
        finished(run(house.accept([message(tenant=1)], None, None)))


def test_failed_insert_bounces_that_message_only(house):
    """One message that cannot be queued ends in a Bounce record; the others go on."""
    house.queue.failures["bad.example"] = PolicyError("no")
    good, bad = message(), message("x@bad.example")
    assert finished(run(house.accept([good, bad], None, None))) == [good]
    assert list(house.store.saved) == [good.id]
    (bounce,) = house.recorder.of(RecordType.BOUNCE)
    assert bounce.response.content == "KumoMTA internal: QueueManager::insert failed during reception: no"


def test_insert_that_fails_for_all_is_raised(house):
    """When nothing was queued the client hears of it."""
    house.queue.failures["example.com"] = PolicyError("no")
    with pytest.raises(PolicyError):
        finished(run(house.accept([message()], None, None)))
    assert not house.store.saved


def test_unhealthy_spool_refuses(house):
    """After a failed sync nothing is accepted."""
    house.store.is_healthy = False
    with pytest.raises(SpoolUnhealthy):
        finished(run(house.accept([message()], None, None)))


class Full:
    """A disk without room."""

    def take(self, octets):
        raise SpoolFull("no room")


def test_a_message_without_room_is_refused_before_it_is_written(house):
    """Mail is refused while the disk still has its reserve, and the store stays healthy."""
    house.room = Full()
    with pytest.raises(SpoolFull):
        finished(run(house.accept([message()], None, None)))
    assert not house.store.saved
    house.room = DiskSpace()
    finished(run(house.accept([message()], None, None)))


def test_a_message_that_was_refused_by_the_disk_is_forgotten(house):
    """A client that heard 452 sends again: what a failed write left behind must not be delivered as well."""
    house.store.failure = SpoolFull("no room")
    one = message()
    with pytest.raises(SpoolFull):
        finished(run(house.accept([one], None, None)))
    assert house.store.removed == [one.id]


def test_slow_disk_is_overload_not_memory(house):
    """When the disk hangs, mail is refused before it fills memory."""
    house.max_unsaved = 30
    house.store.hold = True
    first = run(house.accept([message()], None, None))
    with pytest.raises(Overload):
        finished(run(house.accept([message()], None, None)))
    house.store.release()
    finished(first)
    finished(run(house.accept([message()], None, None)))


def test_cancelled_save_is_forgotten(house):
    """A message whose deadline passed before the disk had it is not delivered later."""
    house.store.hold = True
    one = message()
    work = run(house.accept([one], None, None))
    work.cancel()
    with pytest.raises(CancelledError):
        finished(work)
    house.store.release()
    assert not house.store.saved
    assert not house.recorder.records


def test_inject_leaves_no_reception_record(house):
    """Messages of the house's own are stored and queued without a record."""
    one = message()
    finished(run(house.inject(one)))
    assert house.queue.messages == [one]
    assert not house.recorder.records


def test_inject_that_cannot_be_queued_leaves_nothing_behind(house):
    """A failed injection is the caller's to deal with; the spool is clean."""
    house.queue.failures["example.com"] = PolicyError("no")
    with pytest.raises(PolicyError):
        finished(run(house.inject(message())))
    assert not house.store.saved
