"""A source that has to rest: a key that expired, an account that used up its rate."""

import attrs
from support.fakes_queue import DELIVERED, REFUSED, FakeChannel, FakePolicy, House
from twisted.logger import capturedLogs, formatEvent

from kumotwist.config.egress import PathConfig
from kumotwist.config.option import Duration
from kumotwist.config.queue import QueueConfig
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.outcome import SOURCE_REST, Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit

EXPIRED_KEY = Outcome(Verdict.TRANSIENT, Response(421, "401 Unauthorized: key expired"), Scope.SOURCE)
SLOW_DOWN = Outcome(Verdict.TRANSIENT, Response(421, "429 Too Many Requests"), Scope.SOURCE, retry_after=30.0)


def house_with(answer):
    house = House(policy=FakePolicy(path=PathConfig(connection_limit=Limit(1))), channel=FakeChannel(answer))
    house.manager.start()
    return house


def test_mail_is_kept_and_uncharged_while_a_key_is_wrong():
    """A key that expired costs no message an attempt, let alone its life: it goes out when the key is good again."""
    answers = [EXPIRED_KEY]
    house = house_with(lambda batch: answers[-1])
    for _ in range(3):
        house.insert()
    assert len(house.channel.batches) == 1, "one message found out for all"
    house.pass_time(SOURCE_REST - 2)
    assert len(house.channel.batches) == 1
    answers.append(DELIVERED)
    house.pass_time(5)
    delivered = house.recorder.of("Delivery")
    assert len(delivered) == 3
    assert {record.attempts for record in delivered} == {0}
    assert not house.recorder.of("Bounce")
    house.stop()


def test_the_failure_is_in_the_log_once_for_the_message_that_met_it():
    """Whoever reads the log sees why; what merely waits behind it is Delayed."""
    house = house_with(lambda batch: EXPIRED_KEY)
    house.insert()
    house.insert()
    (failure,) = house.recorder.of("TransientFailure")
    assert failure.response.content == "401 Unauthorized: key expired"
    assert "SourceRests" in house.recorder.of("Delayed")[0].response.content
    house.stop()


def test_the_diagnostic_log_has_one_line_for_a_rest():
    """What several sessions hear at once is said once; what the channel itself has logged is not said again."""
    for answer, lines in ((EXPIRED_KEY, 1), (attrs.evolve(EXPIRED_KEY, is_told=True), 0)):
        house = house_with(lambda batch, answer=answer: answer)
        with capturedLogs() as events:
            house.insert()
            house.insert()
        said = [formatEvent(event) for event in events if "rests for" in formatEvent(event)]
        assert len(said) == lines
        assert all("rests for 300 s: 421 401 Unauthorized: key expired" in one for one in said)
        house.stop()


def test_the_rest_is_as_long_as_the_provider_says():
    """Retry-After is obeyed for the whole ready queue, not by one message only."""
    answers = [SLOW_DOWN, DELIVERED, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.insert()
    house.insert()
    house.pass_time(28)
    assert len(house.channel.batches) == 1
    house.pass_time(5)
    assert len(house.recorder.of("Delivery")) == 2
    house.stop()


def test_a_login_that_is_refused_rests_the_source_too():
    """A bind or login refused for good reason is asked again after a rest, and no message pays for it."""
    house = house_with(lambda batch: DELIVERED)
    house.channel.on_connect = lambda: ConnectFailed(EXPIRED_KEY)
    house.insert()
    house.insert()
    house.channel.on_connect = None
    house.pass_time(SOURCE_REST + 3)
    assert [record.attempts for record in house.recorder.of("Delivery")] == [0, 0]
    assert house.channel.connects == 2
    house.stop()


def test_recipients_done_are_done_although_the_source_rests():
    """In one message, a refusal for one recipient stands while the other waits for the source."""
    rows = [[(REFUSED, SLOW_DOWN)], [(DELIVERED,)]]
    house = house_with(lambda batch: rows.pop(0))
    house.insert(house.message("a@to.example", "b@to.example"))
    house.pass_time(33)
    assert [record.recipients for record in house.recorder.of("Bounce")] == [("a@to.example",)]
    assert [record.recipients for record in house.recorder.of("Delivery")] == [("b@to.example",)]
    house.stop()


def test_recipients_with_remote_ids_of_their_own_have_records_of_their_own():
    """A receipt finds its recipient: ids that differ are not folded into one record."""
    first = Outcome(Verdict.DELIVERED, Response(202, "Accepted"), remote_id="r1")
    second = Outcome(Verdict.DELIVERED, Response(202, "Accepted"), remote_id="r2 r3", parts=2)
    house = house_with(lambda batch: [(first, second)])
    house.insert(house.message("a@to.example", "b@to.example"))
    told = [(one.recipients, one.remote_id, one.parts) for one in house.recorder.of("Delivery")]
    assert told == [(("a@to.example",), "r1", 1), (("b@to.example",), "r2 r3", 2)]
    house.stop()


def test_a_dead_address_has_a_record_of_its_own():
    """An application that reads DeadAddress drops the token; other bounces do not make it do so."""
    dead = Outcome(Verdict.PERMANENT, Response(550, "410 Unregistered"), is_address_dead=True)
    house = house_with(lambda batch: [(dead, REFUSED)] if len(batch[0].recipients) == 2 else [(dead,)])
    house.insert(house.message("a@push", "b@push"))
    assert [one.recipients for one in house.recorder.of("Bounce")] == [("a@push",), ("b@push",)]
    assert [one.recipients for one in house.recorder.of("DeadAddress")] == [("a@push",)]
    house.insert(house.message("c@push"))
    (*_, bounce, told) = house.recorder.records
    assert (bounce.type.value, told.type.value) == ("Bounce", "DeadAddress")
    assert told.response == bounce.response
    house.stop()


def test_a_rest_longer_than_a_messages_life_does_not_cut_it_short():
    """An hour's rest does not end a one-time code that lives five minutes before the five minutes are over."""
    answers = [Outcome(Verdict.TRANSIENT, Response(421, "429"), Scope.SOURCE, retry_after=290.0)]
    policy = FakePolicy(QueueConfig(max_age=Duration(300.0)), PathConfig(connection_limit=Limit(1)))
    house = House(policy=policy, channel=FakeChannel(lambda batch: answers[-1]))
    house.manager.start()
    house.insert()
    answers.append(Outcome(Verdict.TRANSIENT, Response(421, "429"), Scope.SOURCE, retry_after=3600.0))
    house.pass_time(291)
    assert len(house.channel.batches) == 2
    assert not house.recorder.of("Expiration"), "it has seven seconds left"
    house.pass_time(12)
    assert len(house.recorder.of("Expiration")) == 1
    house.stop()
