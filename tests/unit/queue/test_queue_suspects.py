"""Messages that a process ended with, when the next one takes them up."""

from __future__ import annotations

from support.fakes_queue import DELIVERED, FakeChannel, House, now

from kumotwist.core.suspect import PATIENCE_ALONE, Suspect


def taken_up(suspect: Suspect) -> House:
    """A house that starts with one message, which is a suspect."""
    house = House()
    message = house.message()
    now(house.store.save((message,)))
    again = House(
        store=house.store.restarted(),
        channel=FakeChannel(lambda batch: DELIVERED),
        suspects={message.id: suspect},
    )
    again.manager.start()
    again.pass_time(2)
    return again


def test_it_waits_longer_each_time() -> None:
    """A message that a worker ended with does not take the next one down at once."""
    house = taken_up(Suspect("send", 1))
    (delayed,) = house.recorder.records
    assert delayed.type.value == "Delayed"
    assert "Context: Enumerated, ProcessEndedInPolicy. Next due in 1m" in delayed.response.content
    assert delayed.attempts == 0
    house.pass_time(62)
    assert [record.type.value for record in house.recorder.records] == ["Delayed", "Delivery"]
    house.stop()


def test_an_old_suspicion_does_not_hold_it_up() -> None:
    """After a later, ordinary restart it is tried as always."""
    house = taken_up(Suspect("send", 2, is_fresh=False))
    assert house.recorder.brief() == [("Delivery", 250, ("user@to.example",))]
    house.stop()


def test_in_the_end_it_is_given_up_with_a_clear_record() -> None:
    """The third end is the last one: the message bounces, policy is not asked, the record says why."""
    house = taken_up(Suspect("send of mailer", PATIENCE_ALONE))
    (bounce,) = house.recorder.records
    assert bounce.type.value == "Bounce"
    assert bounce.response.to_line() == (
        "554 5.3.0 KumoMTA internal: the process ended 3 times while policy handled this message in send of mailer"
    )
    assert bounce.queue == "to.example"
    assert house.policy.asked("queue_config") == []
    assert len(house.store) == 0
    house.stop()
