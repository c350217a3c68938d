"""Sessions: connecting and failing to, limits, ends of all kinds, shutdown and restart."""

from support.fakes_queue import (
    DEFERRED,
    DELIVERED,
    START,
    UNREACHABLE,
    FakeChannel,
    FakePolicy,
    House,
    now,
    started_clock,
)
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import QueueConfig
from kumotwist.core.errors import ConnectFailed, PolicyError, SessionEnded, SpoolUnhealthy
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit

ONE = PathConfig(connection_limit=Limit(1))


def house_with(answer=lambda batch: DELIVERED, config=None, path=None, **more):
    return House(policy=FakePolicy(config, path), channel=FakeChannel(answer), **more)


def test_no_connection_is_a_transient_failure_of_what_waited_for_it():
    """A site that cannot be reached: code 400, one attempt charged, tried again on schedule."""
    house = house_with()
    house.manager.start()
    house.channel.on_connect = lambda: UNREACHABLE
    house.insert()
    (record,) = house.recorder.records
    assert (record.type.value, record.response) == ("TransientFailure", UNREACHABLE.outcome.response)
    assert record.site == "unspecified->mx.to.example@fake"
    house.channel.on_connect = None
    house.pass_time(1201)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [1]
    house.stop()


def test_too_many_failures_in_a_row_delay_the_whole_ready_queue():
    """A dead site does not cost one connection attempt per message for ever."""
    path = PathConfig(consecutive_connection_failures_before_delay=2, connection_limit=Limit(1))
    house = house_with(path=path)
    gate = Deferred()
    house.channel.on_connect = lambda: gate
    for _ in range(6):
        house.insert()
    house.channel.on_connect = lambda: UNREACHABLE
    gate.callback(UNREACHABLE)
    house.turn()
    texts = [record.response.to_line() for record in house.recorder.of("TransientFailure")]
    assert len(texts) == 6
    assert sum(text.startswith("400 KumoMTA internal: failed to connect") for text in texts) == 3
    assert sum(text.startswith("451 4.4.1 bulk delay of ready queue: too many") for text in texts) == 3
    assert house.channel.connects == 3
    house.stop()


def test_a_domain_that_takes_no_mail_bounces_all_of_it():
    """A null MX (or prohibited host) settles everything in the ready queue at once."""
    null_mx = ConnectFailed(
        Outcome(Verdict.PERMANENT, Response.parse(556, "5.1.10 Recipient address has a null MX"), Scope.SITE)
    )
    house = house_with(path=ONE)
    gate = Deferred()
    house.channel.on_connect = lambda: gate
    for _ in range(5):
        house.insert()
    gate.callback(null_mx)
    assert [kind for kind, _, _ in house.recorder.brief()] == ["Bounce"] * 5
    assert len(house.store) == 0
    assert house.channel.connects == 1
    house.stop()


def test_a_broken_session_reconnects_for_the_next_message():
    """An outcome that ends the connection does not end the work; the next message gets a new connection."""
    broken = Outcome(Verdict.TRANSIENT, Response(421, "bye", None, "."), Scope.SESSION)
    answers = [broken, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    house.insert()
    house.insert()
    assert house.channel.connects == 2
    assert len(house.channel.sessions) == 1
    assert [kind for kind, _, _ in house.recorder.brief()] == ["TransientFailure", "Delivery"]
    house.stop()


def test_an_exhausted_session_charges_nobody():
    """When all hosts were tried the session ends quietly; its message goes to the next session."""
    broken = Outcome(Verdict.TRANSIENT, Response(421, "bye", None, "."), Scope.SESSION)
    answers = [broken, DELIVERED]
    house = house_with(lambda batch: answers.pop(0))
    connects = [None, SessionEnded("no host left"), None]
    house.channel.on_connect = lambda: connects.pop(0)
    house.insert()
    house.insert()
    house.turn()
    assert len(house.channel.sessions) == 2
    assert [(one.type.value, one.attempts) for one in house.recorder.records] == [
        ("TransientFailure", 0),
        ("Delivery", 0),
    ]
    house.stop()


def test_a_connection_carries_so_many_messages_and_no_more():
    """max_deliveries_per_connection: then QUIT and a new session."""
    house = house_with(path=PathConfig(max_deliveries_per_connection=2))
    for _ in range(5):
        house.insert()
        house.turn()
    assert len(house.channel.sessions) == 3
    assert len(house.recorder.of("Delivery")) == 5
    house.stop()


def test_no_more_connections_than_the_limit():
    """connection_limit holds however long the queue grows, and the queue still empties."""
    gates = []

    def answer(batch):
        gates.append(Deferred())
        return gates[-1]

    house = house_with(answer, path=PathConfig(connection_limit=Limit(3)))
    house.manager.start()
    for _ in range(300):
        house.insert()
    assert house.numbers("connection_count")[("service", "fake"),] == 3
    while gates:
        gates.pop(0).callback(DELIVERED)
        house.turn()
    assert len(house.recorder.of("Delivery")) == 300
    house.stop()


def test_a_shared_limit_holds_over_several_ready_queues():
    """additional_connection_limits: two sites under one provider limit take turns."""
    gates = []

    def answer(batch):
        gates.append(Deferred())
        return gates[-1]

    path = PathConfig(additional_connection_limits={"provider": Limit(1)}, idle_timeout=2.0)
    house = house_with(answer, path=path)
    house.manager.start()
    house.insert()
    house.insert(house.message("user@other.example"))
    house.pass_time(30)
    assert len(gates) == 1
    gates.pop().callback(DELIVERED)
    house.pass_time(5)
    assert len(gates) == 1
    gates.pop().callback(DELIVERED)
    assert len(house.recorder.of("Delivery")) == 2
    house.stop()


def test_a_session_without_progress_is_ended():
    """The watchdog frees a wedged session; its message is put back uncharged and goes out by another."""
    answers = [Deferred(), DELIVERED]
    path = PathConfig(dispatcher_progress_watchdog_timeout=10.0)
    house = house_with(lambda batch: answers.pop(0), path=path)
    house.manager.start()
    house.insert()
    house.pass_time(12)
    assert house.channel.sessions[0].is_closed
    first, second = house.recorder.of("Delayed")
    assert first.response.to_line().startswith("451 4.4.1 KumoMTA internal: no progress")
    assert second.response.content.startswith("Context: DispatcherDrop. Next due in ")
    house.pass_time(61)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [0]
    house.stop()


def test_a_broken_spool_holds_deliveries():
    """What cannot be removed from the spool would go out twice; so nothing goes out."""
    house = house_with()
    message = house.message()
    now(house.store.save((message,)))
    house.store.break_down(SpoolUnhealthy("disk on fire"))
    now(house.manager.insert(message))
    assert house.channel.batches == []
    (delayed,) = house.recorder.records
    assert "Context: Received, SpoolUnhealthy. Next due in 1m" in delayed.response.content
    house.stop()


def test_stop_finishes_what_is_on_the_wire():
    """SIGTERM: the message being sent is finished and recorded, the ready ones stay in the spool."""
    gate = Deferred()
    answers = [gate]
    house = house_with(lambda batch: answers.pop(0), path=ONE)
    house.manager.start()
    for _ in range(3):
        house.insert()
    assert len(house.channel.batches) == 1
    stopping = Deferred.fromCoroutine(house.manager.stop(5.0))
    assert not stopping.called
    gate.callback(DELIVERED)
    now(stopping)
    assert len(house.recorder.of("Delivery")) == 1
    assert len(house.store) == 2
    late = house.insert()
    assert late.id in house.store
    house.stop()


def test_a_session_that_finishes_its_last_message_ends_the_stop():
    """Shutdown does not wait out an idle timeout."""
    gate = Deferred()
    house = house_with(lambda batch: gate)
    house.manager.start()
    house.insert()
    stopping = Deferred.fromCoroutine(house.manager.stop(60.0))
    gate.callback(DELIVERED)
    now(stopping)
    assert len(house.recorder.of("Delivery")) == 1
    house.stop()


def test_stop_does_not_wait_for_ever():
    """A peer that never answers is cut off at the bound; its message is still in the spool."""
    house = house_with(lambda batch: Deferred())
    house.manager.start()
    message = house.insert()
    stopping = Deferred.fromCoroutine(house.manager.stop(5.0))
    house.clock.advance(4.9)
    assert not stopping.called
    house.clock.advance(0.2)
    now(stopping)
    assert message.id in house.store
    assert house.recorder.records == []
    house.stop()


def test_a_path_may_shorten_the_stop():
    """With system_shutdown_timeout a session to that site is cut off sooner than the others."""
    house = house_with(lambda batch: Deferred(), path=PathConfig(system_shutdown_timeout=2.0))
    house.manager.start()
    message = house.insert()
    stopping = Deferred.fromCoroutine(house.manager.stop(60.0))
    house.clock.advance(1.9)
    assert not stopping.called
    house.clock.advance(0.2)
    now(stopping)
    assert message.id in house.store
    house.stop()


def test_a_restart_takes_up_where_it_left():
    """Attempts, due times and remaining recipients survive; no Delayed record is written for them."""
    house = house_with(lambda batch: DEFERRED)
    house.manager.start()
    house.insert()
    later = house.message()
    later.due = START + 5000
    house.insert(later)
    house.pass_time(1201)
    house.stop()

    clock = started_clock()
    clock.advance(1300)
    again = house_with(store=house.store.restarted(), clock=clock)
    again.manager.start()
    again.turn()
    assert again.recorder.records == []
    assert again.numbers("scheduled_count_total") == {(): 2}
    assert len(again.policy.asked("spool_message_enumerated")) == 2
    again.pass_time(2302)
    assert [one.attempts for one in again.recorder.of("Delivery")] == [2]
    again.pass_time(1500)
    assert [one.attempts for one in again.recorder.of("Delivery")] == [2, 0]
    assert len(again.store) == 0
    again.stop()


def test_what_became_too_old_while_we_were_down_expires():
    """A message past max_age at start ends with an Expiration."""
    house = house_with(lambda batch: DEFERRED)
    house.insert()
    house.stop()
    clock = started_clock()
    clock.advance(8 * 86400)
    again = house_with(store=house.store.restarted(), clock=clock)
    again.manager.start()
    again.turn()
    assert [kind for kind, _, _ in again.recorder.brief()] == ["Expiration"]
    assert again.recorder.records[0].site == "localhost"
    assert len(again.store) == 0
    again.stop()


def test_a_broken_policy_at_start_loses_nothing():
    """Messages whose queue cannot be made wait, uncharged, until policy is mended."""
    house = house_with(lambda batch: DEFERRED)
    house.insert()
    house.stop()
    policy = FakePolicy()
    policy.config = PolicyError("policy.lua:1: broken")
    again = House(policy=policy, store=house.store.restarted())
    again.manager.start()
    again.pass_time(600)
    assert again.recorder.records == []
    assert len(again.store) == 1
    policy.config, policy.epoch = QueueConfig(), 2
    again.pass_time(61)
    assert [one.attempts for one in again.recorder.of("Delivery")] == [1]
    again.stop()


def test_numbers_say_what_waits_and_where():
    """Metrics name queues, tenants, campaigns, services and providers; a counter never goes back."""
    house = house_with(lambda batch: DEFERRED, path=PathConfig(provider_name="big"))
    house.insert(tenant="t", campaign="c")
    house.insert(tenant="t")
    house.insert()
    assert house.numbers("scheduled_count") == {
        (("queue", "c:t@to.example"),): 1,
        (("queue", "t@to.example"),): 1,
        (("queue", "to.example"),): 1,
    }
    assert house.numbers("scheduled_by_domain") == {(("domain", "to.example"),): 3}
    assert house.numbers("scheduled_by_tenant") == {(("tenant", "t"),): 2}
    assert house.numbers("scheduled_by_tenant_campaign") == {(("tenant", "t"), ("campaign", "c")): 1}
    assert house.numbers("message_count") == {(): 3}
    assert house.numbers("connection_count_by_provider_and_pool") == {(("provider", "big"), ("pool", "unspecified")): 1}
    (histogram,) = house.numbers("deliver_message_latency_rollup").values()
    assert sum(histogram.counts) == 3
    house.stop()
