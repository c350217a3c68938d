"""From insert to the end of a message: outcomes, retries, expiry, records."""

import pytest
from support.fakes_queue import (
    DEFERRED,
    DELIVERED,
    PEER,
    REFUSED,
    START,
    FakeChannel,
    FakePolicy,
    House,
    now,
)
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import QueueConfig
from kumotwist.core.errors import PolicyError, Rejection, SpoolCorrupt
from kumotwist.core.outcome import Outcome, Verdict
from kumotwist.core.response import Response
from kumotwist.core.schedule import Schedule
from kumotwist.core.units import Limit
from kumotwist.queue.ready import Bodies
from kumotwist.spool.memory import MemoryStore


class BodilessStore(MemoryStore):
    """A spool that has lost the bodies."""

    async def load_body(self, message):
        raise SpoolCorrupt("no body")


def house_with(answer=lambda batch: DELIVERED, config=None, path=None, **more):
    return House(policy=FakePolicy(config, path), channel=FakeChannel(answer), **more)


def test_a_message_that_is_due_goes_out_within_the_insert():
    """A new message does not wait for a timer; its record says who took it and how it went."""
    house = house_with()
    message = house.insert(reception_protocol="ESMTP", tenant="t")
    (record,) = house.recorder.records
    assert (record.type.value, record.message, record.recipients) == ("Delivery", message, ("user@to.example",))
    assert (record.queue, record.site) == ("t@to.example", "unspecified->mx.to.example@fake")
    assert (record.egress_pool, record.egress_source) == ("unspecified", "unspecified")
    assert (record.attempts, record.size, record.event_time) == (0, len(house.message().body), START)
    assert (record.peer, record.delivery_protocol, record.session_id) == (PEER, "ESMTP", "s1")
    assert (record.reception_protocol, record.sender) == ("ESMTP", "sender@from.example")
    assert len(house.store) == 0
    house.stop()


def test_the_second_message_uses_the_waiting_session():
    """A session stays open for the next message and closes after idle_timeout."""
    house = house_with()
    house.manager.start()
    for _ in range(3):
        house.insert()
    assert house.channel.connects == 1
    assert len(house.recorder.of("Delivery")) == 3
    house.pass_time(4)
    assert not house.channel.sessions[0].is_closed
    house.pass_time(3)
    assert house.channel.sessions[0].is_closed
    house.insert()
    assert house.channel.connects == 2
    house.stop()


def test_a_deferred_message_is_tried_again_on_schedule():
    """4xx: a TransientFailure record, then another attempt after 20 and 40 minutes; attempts are counted."""
    answers = [DEFERRED, DEFERRED, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.manager.start()
    message = house.insert()
    assert house.recorder.brief() == [("TransientFailure", 451, ("user@to.example",))]
    assert house.policy.asked("requeue_message") == [("451 4.3.0 later", ("LoggedTransientFailure",), True, None)]
    assert message.id in house.store
    house.pass_time(1199)
    assert len(house.recorder.records) == 1
    house.pass_time(2)
    assert [one.attempts for one in house.recorder.records] == [0, 1]
    house.pass_time(2401)
    assert [one.attempts for one in house.recorder.records] == [0, 1, 2]
    assert house.recorder.records[2].type.value == "Delivery"
    assert len(house.store) == 0
    house.stop()


def test_a_refused_message_bounces():
    """5xx: one Bounce record and nothing left."""
    house = house_with(lambda batch: REFUSED)
    house.insert()
    assert house.recorder.brief() == [("Bounce", 550, ("user@to.example",))]
    assert len(house.store) == 0
    house.stop()


def test_the_peers_retry_after_is_honoured():
    """A provider that asks for an hour is not tried after 20 minutes."""
    later = Outcome(Verdict.TRANSIENT, Response(429, "slow down"), retry_after=3600.0)
    house = house_with(lambda batch: later)
    house.manager.start()
    house.insert()
    house.pass_time(3599)
    assert len(house.channel.batches) == 1
    house.pass_time(2)
    assert len(house.channel.batches) == 2
    house.stop()


def test_a_message_expires_at_its_last_useful_retry():
    """When the next attempt would be past max_age the message ends with Expiration, not later."""
    house = house_with(lambda batch: DEFERRED, QueueConfig(retry_interval=60.0, max_age=150.0))
    house.manager.start()
    house.insert()
    house.pass_time(61)
    assert [kind for kind, _, _ in house.recorder.brief()] == ["TransientFailure", "TransientFailure", "Expiration"]
    expired = house.recorder.records[-1]
    assert expired.response.to_line() == (
        "551 5.4.7 Next delivery time would be 3m after creation, which exceeds max_age=2m 30s"
    )
    assert expired.site == ""
    assert len(house.store) == 0
    house.stop()


def test_one_record_per_distinct_response_and_only_the_rest_retries():
    """Of several recipients the delivered and the bounced are done; the spool knows that at once."""
    answers = [[(DELIVERED, DEFERRED, REFUSED, DELIVERED)], DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.manager.start()
    message = house.insert(house.message("a@to.example", "b@to.example", "c@to.example", "d@to.example"))
    assert house.recorder.brief() == [
        ("Delivery", 250, ("a@to.example", "d@to.example")),
        ("TransientFailure", 451, ("b@to.example",)),
        ("Bounce", 550, ("c@to.example",)),
    ]
    (stored,) = now(house.store.restarted().load((message.id,)))
    assert [one.email for one in stored.recipients] == ["b@to.example"]
    assert stored.attempts == 1
    house.pass_time(1201)
    assert house.recorder.brief()[3:] == [("Delivery", 250, ("b@to.example",))]
    assert len(house.store) == 0
    house.stop()


def test_the_same_recipient_twice_is_two_recipients():
    """Only the copy that was deferred is tried again."""
    answers = [[(DELIVERED, DEFERRED)], DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.manager.start()
    house.insert(house.message("a@to.example", "a@to.example"))
    house.pass_time(1201)
    assert [record.recipients for record in house.recorder.of("Delivery")] == [("a@to.example",)] * 2
    house.stop()


def test_policy_may_rewrite_a_peers_code():
    """smtp_client_rewrite_delivery_status turns a 451 into a bounce, and the record says so."""
    house = house_with(lambda batch: DEFERRED)
    house.policy.rewrite["451 4.3.0 later"] = 551
    house.insert()
    (record,) = house.recorder.records
    assert record.type.value == "Bounce"
    assert record.response.to_line() == "551 4.3.0 later (kumomta: status was rewritten from 451 -> 551)"
    house.stop()


def test_an_answer_of_our_own_is_not_offered_for_rewriting():
    """Only what a peer said about a command may be judged anew."""
    own = Outcome(Verdict.TRANSIENT, Response(421, "KumoMTA internal: timed out", None, "."))
    house = house_with(lambda batch: own)
    house.insert()
    assert house.policy.asked("rewrite_delivery_status") == []
    house.stop()


def test_a_channel_that_fails_is_a_transient_failure(failures):
    """An error in delivery costs one attempt and the session, nothing else."""

    def broken(batch):
        raise RuntimeError("no such method")

    house = house_with(broken)
    house.insert()
    (record,) = house.recorder.records
    assert record.type.value == "TransientFailure"
    assert record.response.to_line() == "400 KumoMTA internal: error in deliver_message: no such method"
    assert house.channel.sessions[0].is_closed
    assert len(house.store) == 1
    failures.expect("RuntimeError: no such method")
    house.stop()


def test_a_channel_that_forgets_recipients_loses_none():
    """Recipients without an outcome are tried again."""
    house = house_with(lambda batch: [(DELIVERED,)])
    house.insert(house.message("a@to.example", "b@to.example"))
    assert house.recorder.brief() == [
        ("Delivery", 250, ("a@to.example",)),
        ("TransientFailure", 400, ("b@to.example",)),
    ]
    house.stop()


def test_requeue_message_may_send_a_message_elsewhere_at_once():
    """Another queue after a failure: due now, charged one attempt, not held to the old queue's schedule."""
    answers = [DEFERRED, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.manager.start()
    house.policy.on_requeue = lambda message: message.set_meta("routing_domain", "other.example")
    house.insert()
    house.turn()
    assert [(one.queue, one.attempts) for one in house.recorder.records] == [
        ("to.example", 0),
        ("to.example!other.example", 1),
    ]
    assert house.recorder.records[1].site == "unspecified->mx.other.example@fake"
    house.stop()


def test_requeue_message_may_bounce():
    """kumo.reject in requeue_message ends the message with that text."""
    house = house_with(lambda batch: DEFERRED)

    def refuse(message):
        raise Rejection(471, "enough of this")

    house.policy.on_requeue = refuse
    house.insert()
    assert house.recorder.brief()[1:] == [("Bounce", 471, ("user@to.example",))]
    assert house.recorder.records[1].response.content == "enough of this"
    assert len(house.store) == 0
    house.stop()


def test_an_error_in_requeue_message_changes_nothing():
    """A broken handler costs a line in the log; the retry happens as planned."""
    answers = [DEFERRED, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.manager.start()

    def fail(message):
        raise PolicyError("policy.lua:7: nil")

    house.policy.on_requeue = fail
    house.insert()
    house.pass_time(1201)
    assert [one.queue for one in house.recorder.of("Delivery")] == ["to.example"]
    house.stop()


def test_a_scheduled_message_waits_for_its_time():
    """set_scheduling{first_attempt=} holds the message; a Delayed record says until when."""
    house = house_with()
    house.manager.start()
    message = house.message()
    message.set_schedule(Schedule(first_attempt=START + 300))
    house.insert(message)
    (record,) = house.recorder.records
    assert record.type.value == "Delayed"
    assert record.response.to_line() == (
        "400 Context: Received, ScheduledForLater. Next due in 5m at 2027-01-15T08:05:00Z"
    )
    assert house.numbers("scheduled_count") == {(("queue", "to.example"),): 1}
    house.pass_time(299)
    assert house.channel.batches == []
    house.pass_time(2)
    assert len(house.recorder.of("Delivery")) == 1
    house.stop()


def test_batches_fill_up_from_what_is_ready():
    """custom_lua's batch_size: what has gathered while a session was busy goes together."""
    held = Deferred()
    answers = [held, DELIVERED, DELIVERED]
    house = house_with(lambda batch: answers.pop(0), path=PathConfig(connection_limit=Limit(1)))
    house.channel.max_batch = 3
    for _ in range(6):
        house.insert()
    assert [len(batch) for batch in house.channel.batches] == [1]
    held.callback(DELIVERED)
    assert [len(batch) for batch in house.channel.batches] == [1, 3, 2]
    assert len(house.recorder.of("Delivery")) == 6
    house.stop()


def test_a_batch_waits_for_company_up_to_its_latency():
    """min_batch_size 3, max_batch_latency 500 ms: three go at once, fewer after half a second."""
    house = house_with(path=PathConfig(connection_limit=Limit(1)))
    house.channel.max_batch, house.channel.min_batch, house.channel.batch_latency = 5, 3, 0.5
    for _ in range(3):
        house.insert()
    assert [len(batch) for batch in house.channel.batches] == [3]
    house.insert()
    house.clock.advance(0.49)
    assert [len(batch) for batch in house.channel.batches] == [3]
    house.clock.advance(0.02)
    assert [len(batch) for batch in house.channel.batches] == [3, 1]
    assert len(house.store) == 0
    house.stop()


def test_bodies_leave_memory_beyond_the_budget_and_come_back():
    """Ready messages keep their bodies only within a budget; the rest is read from the spool for delivery."""
    held = Deferred()
    answers = [held] + [DELIVERED] * 10
    bodies, sent = Bodies(limit=250), []

    def answer(batch):
        sent.append(batch[0].body)
        return answers.pop(0)

    house = house_with(answer, path=PathConfig(connection_limit=Limit(1)), bodies=bodies)
    messages = [house.insert(house.message(body=b"x" * 100)) for _ in range(5)]
    assert [message.body is None for message in messages] == [False, False, False, True, True]
    assert bodies.used == 200
    held.callback(DELIVERED)
    assert sent == [b"x" * 100] * 5
    assert bodies.used == 0
    house.stop()


@pytest.mark.parametrize("answer", [DELIVERED, REFUSED, DEFERRED, [(DELIVERED, REFUSED)], [(DELIVERED, DEFERRED)]])
def test_a_message_that_has_ended_or_waits_holds_no_body(answer):
    """A policy's handle on a message, which Lua keeps for long, does not keep megabytes in memory."""
    house = house_with(lambda batch: answer)
    message = house.insert(house.message("a@to.example", "b@to.example"))
    assert len(house.channel.batches) == 1
    assert message.body is None
    house.stop()


def test_an_unreadable_body_bounces():
    """A stored message without its body ends with a record; it does not block the queue."""
    house = house_with(bodies=Bodies(limit=0), store=BodilessStore())
    house.insert()
    (record,) = house.recorder.records
    assert (record.type.value, record.response.code) == ("Bounce", 554)
    assert len(house.store) == 0
    house.stop()


@pytest.mark.parametrize("verdict", ["delivered", "failed"])
def test_a_channel_without_ready_queue_delivers_at_once(verdict):
    """Maildir and null need no ready queue and no egress path."""
    house = house_with((lambda batch: DELIVERED) if verdict == "delivered" else (lambda batch: DEFERRED))
    house.channel.delivers_at_once = True
    house.insert()
    kind = "Delivery" if verdict == "delivered" else "TransientFailure"
    (record,) = house.recorder.records
    assert (record.type.value, record.site) == (kind, "unspecified->to.example@fake")
    assert house.policy.asked("egress_path") == []
    assert house.channel.is_all_closed
    house.stop()
