"""From due to a ready queue: queues and routes, rates, sources, limits, and what holds a message up."""

from collections import Counter

import pytest
from support.fakes_queue import DELIVERED, START, FakeChannel, FakePolicy, House, now
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig, PoolConfig, PoolEntry
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.core.errors import ConnectFailed, PolicyError, ResolveError
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.response import Response
from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.ready import connections_wanted
from kumotwist.spool.memory import MemoryStore


class CountingStore(MemoryStore):
    """Notes how many messages are read in one go."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.loaded = []

    async def load(self, spool_ids):
        self.loaded.append(len(spool_ids))
        return await super().load(spool_ids)


def house_with(answer=lambda batch: DELIVERED, config=None, path=None, **more):
    return House(policy=FakePolicy(config, path), channel=FakeChannel(answer), **more)


def pool(**weights):
    return PoolConfig(name="p", entries=tuple(PoolEntry(name=name, weight=weight) for name, weight in weights.items()))


# -- queues -----------------------------------------------------------------------------------------


def test_a_queue_is_asked_for_once_however_many_want_it():
    """get_queue_config runs once per queue, also when a thousand clients ask at the same moment."""
    house = house_with()
    house.policy.gate = Deferred()
    waiting = [Deferred.fromCoroutine(house.manager.resolve("to.example")) for _ in range(10)]
    house.policy.gate.callback(None)
    for one in waiting:
        now(one)
    house.insert()
    assert house.policy.asked("queue_config") == [("to.example",)]
    house.stop()


def test_a_failing_queue_is_refused_for_a_minute():
    """An error in get_queue_config is raised to whoever wants the queue, and policy is left alone for 60 s."""
    house = house_with()
    house.policy.config = PolicyError("policy.lua:3: nil")
    for _ in range(3):
        with pytest.raises(PolicyError, match=r"policy\.lua:3"):
            now(house.manager.resolve("to.example"))
    assert len(house.policy.asked("queue_config")) == 1
    house.policy.config = QueueConfig()
    house.clock.advance(60)
    now(house.manager.resolve("to.example"))
    house.stop()


def test_a_mended_policy_ends_the_refusal_at_once():
    """A reload makes everybody ask again."""
    house = house_with()
    house.policy.config = PolicyError("policy.lua:3: nil")
    with pytest.raises(PolicyError):
        now(house.manager.resolve("to.example"))
    house.policy.config, house.policy.epoch = QueueConfig(), 2
    now(house.manager.resolve("to.example"))
    house.stop()


def test_a_queue_whose_pool_or_source_fails_is_refused():
    """Every source of the pool is looked at before a message is accepted."""
    house = house_with(config=QueueConfig(egress_pool="nowhere"))
    with pytest.raises(PolicyError, match="no pool nowhere"):
        now(house.manager.resolve("to.example"))
    house.stop()


def test_a_changed_configuration_is_used_after_the_refresh_interval():
    """Ttl: a queue keeps its configuration for a minute, then follows policy."""
    house = house_with(config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool(a=1)
    house.insert()
    house.policy.config = QueueConfig()
    house.clock.advance(59)
    house.insert()
    house.clock.advance(1)
    house.insert()
    assert [one.egress_source for one in house.recorder.records] == ["a", "a", "unspecified"]
    house.stop()


def test_an_epoch_queue_follows_a_reload_only():
    """refresh_strategy Epoch: time alone changes nothing."""
    house = house_with(config=QueueConfig(refresh_strategy="Epoch"))
    house.insert()
    house.clock.advance(3600)
    house.insert()
    assert len(house.policy.asked("queue_config")) == 1
    house.policy.epoch = 2
    house.insert()
    assert len(house.policy.asked("queue_config")) == 2
    house.stop()


def test_an_error_at_refresh_keeps_the_old_configuration():
    """A broken edit of the policy does not stop mail that was running."""
    house = house_with()
    house.insert()
    house.policy.config = PolicyError("policy.lua:1: broken")
    house.clock.advance(61)
    house.insert()
    assert len(house.recorder.of("Delivery")) == 2
    house.stop()


def test_a_queue_that_is_idle_is_forgotten():
    """Queues of domains that nobody writes to any more cost nothing after reap_interval."""
    house = house_with()
    house.manager.start()
    house.insert()
    house.pass_time(590)
    assert house.numbers("scheduled_queue_count") == {(): 1}
    assert house.numbers("total_connection_count")[("service", "fake"),] == 1
    house.pass_time(30)
    assert house.numbers("scheduled_queue_count") == {(): 0}
    assert house.numbers("total_connection_count") == {(("service", "fake"),): 1}
    house.stop()


# -- rates ------------------------------------------------------------------------------------------


def test_a_queues_own_rate_spreads_its_messages():
    """max_message_rate 1/m on a queue: one each minute, none charged an attempt."""
    house = house_with(config=QueueConfig(max_message_rate=Throttle.parse("1/m")))
    house.manager.start()
    for _ in range(3):
        house.insert()
    assert len(house.recorder.of("Delivery")) == 1
    delayed = house.recorder.of("Delayed")[0]
    assert delayed.response.content.startswith("Context: Received, MessageRateThrottle. Next due in 1m at ")
    assert house.policy.asked("requeue_message")[0] == (
        "451 4.4.4 KumoMTA internal: to.example throttled message rate, delay=1m",
        ("Received", "MessageRateThrottle"),
        False,
        60.0,
    )
    assert house.numbers("delayed_due_to_message_rate_throttle") == {(("queue", "to.example"),): 2}
    house.pass_time(61)
    assert len(house.recorder.of("Delivery")) == 2
    house.pass_time(61)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [0, 0, 0]
    house.stop()


def test_policy_may_hold_a_message_up():
    """throttle_insert_ready_queue that moves `due` delays the message, without charging an attempt."""
    house = house_with()
    house.manager.start()
    house.policy.on_throttle = lambda message: setattr(message, "due", START + 120) if not message.due else None
    house.insert()
    (delayed,) = house.recorder.records
    assert "Received, ThrottledByThrottleInsertReadyQueue. Next due in 2m 30s" in delayed.response.content
    house.pass_time(149)
    assert house.channel.batches == []
    house.pass_time(2)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [0]
    house.stop()


def test_an_error_in_throttle_insert_ready_queue_refuses_a_new_message():
    """The client hears of it; the queue has not taken the message."""
    house = house_with()

    def fail(message):
        raise PolicyError("policy.lua:9: nil")

    house.policy.on_throttle = fail
    with pytest.raises(PolicyError, match=r"policy\.lua:9"):
        house.insert()
    assert house.channel.batches == []
    house.stop()


def test_an_error_in_throttle_insert_ready_queue_loses_no_waiting_message():
    """A policy that is broken when a retry is due holds the message until it is mended."""
    house = house_with()
    house.manager.start()
    message = house.message()
    message.due = START + 10
    house.insert(message)

    def fail(message):
        raise PolicyError("policy.lua:9: nil")

    house.policy.on_throttle = fail
    house.pass_time(30)
    house.policy.on_throttle = None
    house.pass_time(60)
    assert len(house.recorder.of("Delivery")) == 1
    house.stop()


def test_the_ready_queues_rate_makes_a_session_wait():
    """max_message_rate on the path: a short wait is slept through with the connection open."""
    house = house_with(path=PathConfig(max_message_rate=Throttle.parse("2/4s,max_burst=0")))
    for _ in range(3):
        house.insert()
    assert len(house.channel.batches) == 1
    house.pass_time(2)
    assert len(house.channel.batches) == 2
    house.pass_time(2)
    assert len(house.channel.batches) == 3
    assert house.channel.connects == 1
    house.stop()


def test_a_long_wait_for_the_ready_queues_rate_puts_everything_back():
    """A wait beyond idle_timeout frees the connection; nothing is charged an attempt."""
    house = house_with(path=PathConfig(max_message_rate=Throttle.parse("1/m"), connection_limit=Limit(1)))
    house.manager.start()
    for _ in range(3):
        house.insert()
    assert len(house.channel.batches) == 1
    assert [record.response.content.split(".")[0] for record in house.recorder.of("Delayed")] == [
        "Context: MessageRateThrottle"
    ] * 2
    assert house.policy.asked("requeue_message")[0] == (
        "451 KumoMTA internal: ready queue throttled", ("MessageRateThrottle",), False, 60.0,
    )  # fmt: skip
    house.pass_time(70)
    assert len(house.channel.batches) == 2
    house.pass_time(70)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [0, 0, 0]
    house.stop()


def test_the_rate_of_connections_is_kept():
    """max_connection_rate holds the next connection back until it may be made."""
    path = PathConfig(max_connection_rate=Throttle.parse("1/3s"), max_deliveries_per_connection=1)
    house = house_with(path=path)
    house.manager.start()
    for _ in range(2):
        house.insert()
        house.turn()
    assert house.channel.connects == 1
    house.pass_time(3)
    assert house.channel.connects == 2
    assert len(house.recorder.of("Delivery")) == 2
    house.stop()


# -- sources ----------------------------------------------------------------------------------------


def test_sources_take_turns_by_weight():
    """Weights 5, 2 and 3 over 100 messages: exactly 50, 20 and 30."""
    house = house_with(config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool(a=5, b=2, unused=0, c=3)
    for _ in range(100):
        house.insert()
    assert Counter(one.egress_source for one in house.recorder.records) == {"a": 50, "b": 20, "c": 30}
    assert {one.egress_pool for one in house.recorder.records} == {"p"}
    house.stop()


def test_a_source_without_room_is_passed_over():
    """While one source's ready queue is full the others take its share."""
    house = house_with(lambda batch: Deferred(), config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool(a=1, b=1)
    house.policy.paths["a"] = PathConfig(max_ready=0)
    house.policy.paths["b"] = PathConfig(max_ready=100, connection_limit=Limit(1))
    for _ in range(10):
        house.insert()
    assert house.numbers("ready_count")[("service", "fake"),] == 9
    assert house.recorder.records == []
    house.stop(1)


def test_a_sources_selection_rate_moves_messages_to_another():
    """source_selection_rate: what one source may not take goes out by the next, or is a transient failure."""
    house = house_with(config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool(a=1, b=1)
    house.policy.path = PathConfig(source_selection_rate=Throttle.parse("2/h"))
    for _ in range(5):
        house.insert()
    assert Counter(one.egress_source for one in house.recorder.of("Delivery")) == {"a": 2, "b": 2}
    (failed,) = house.recorder.of("TransientFailure")
    assert failed.response.to_line() == (
        "451 4.4.4 KumoMTA internal: no sources for to.example pool=`p` are eligible for selection at this time"
    )
    assert failed.egress_pool == "p"
    house.stop()


def test_a_pool_without_sources_is_a_transient_failure():
    """An empty pool delays mail with a text that names it."""
    house = house_with(config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool()
    house.insert()
    (failed,) = house.recorder.records
    assert failed.response.to_line() == ("451 4.4.4 KumoMTA internal: no sources available for to.example pool=`p`")
    house.stop()


def test_pools_and_sources_are_kept_for_their_ttl():
    """get_egress_pool and get_egress_source run once a minute, not once a message."""
    house = house_with(config=QueueConfig(egress_pool="p"))
    house.policy.pools["p"] = pool(a=1, b=1)
    for _ in range(10):
        house.insert()
    assert house.policy.asked("egress_pool") == [("p",)]
    assert house.policy.asked("egress_source") == [("a",), ("b",)]
    house.clock.advance(61)
    house.insert()
    assert len(house.policy.asked("egress_pool")) == 2
    house.stop()


# -- ready queues -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "connections"), [(0, 0), (1, 1), (10, 7), (32, 17), (128, 31), (10_000, 32)])
def test_connections_grow_with_the_queue(length, connections):
    """KumoMTA's table for a limit of 32."""
    assert connections_wanted(32, length) == connections


def test_queues_to_the_same_site_share_a_ready_queue():
    """Tenants and campaigns of one domain share connections and limits; the path is asked for once."""
    house = house_with()
    house.insert(tenant="a")
    house.insert(tenant="b", campaign="c")
    assert {one.site for one in house.recorder.records} == {"unspecified->mx.to.example@fake"}
    assert house.policy.asked("egress_path") == [("to.example", "unspecified", "mx.to.example")]
    assert house.channel.connects == 1
    house.stop()


def test_a_full_ready_queue_sends_messages_back_for_a_while():
    """Past max_ready a message waits up to a minute, not charged an attempt, and policy is not asked."""
    held = Deferred()
    answers = [held]
    house = house_with(
        lambda batch: answers.pop(0) if answers else DELIVERED,
        path=PathConfig(max_ready=2, connection_limit=Limit(1)),
    )
    house.manager.start()
    for _ in range(5):
        house.insert()
    assert [one.response.content.split(".")[0] for one in house.recorder.of("Delayed")] == [
        "Context: Received, ReadyQueueWasFull"
    ] * 2
    assert house.policy.asked("requeue_message") == []
    assert house.numbers("delayed_due_to_ready_queue_full") == {(("queue", "to.example"),): 2}
    assert house.numbers("ready_full")[("service", "fake"),] == 2
    held.callback(DELIVERED)
    house.pass_time(61)
    assert [one.attempts for one in house.recorder.of("Delivery")] == [0] * 5
    house.stop()


def test_a_slow_lookup_holds_up_neither_client_nor_other_domains():
    """The client is answered while DNS is still being asked; the message goes when the answer is there."""
    house = house_with()
    house.channel.site_gate = Deferred()
    house.insert()
    house.insert(house.message("user@other.example"))
    assert house.channel.batches == []
    gate, house.channel.site_gate = house.channel.site_gate, None
    house.insert(house.message("user@third.example"))
    assert len(house.recorder.of("Delivery")) == 1
    gate.callback(None)
    assert len(house.recorder.of("Delivery")) == 3
    house.stop()


def test_a_domain_that_does_not_resolve_is_a_transient_failure():
    """DNS trouble delays a message, retried on schedule until it expires."""
    house = house_with()
    house.channel.sites["to.example"] = ResolveError("NXDOMAIN to.example", permanent=True)
    house.insert()
    (failed,) = house.recorder.records
    assert failed.type.value == "TransientFailure"
    assert failed.response.to_line() == "451 4.4.4 failed to resolve queue to.example: NXDOMAIN to.example"
    assert house.policy.asked("requeue_message") == [
        (
            "451 4.4.4 KumoMTA internal: to.example error while inserting into ready queue: "
            "failed to resolve queue to.example: NXDOMAIN to.example",
            ("Received", "LoggedTransientFailure", "FailedToInsertIntoReadyQueue"),
            True,
            None,
        )
    ]
    house.stop()


def test_a_changed_path_takes_effect_on_a_running_queue():
    """get_egress_path_config is asked again each refresh_interval; a smaller max_ready sends the excess back."""
    house = house_with(lambda batch: Deferred(), path=PathConfig(connection_limit=Limit(1), idle_timeout=3600.0))
    house.manager.start()
    for _ in range(6):
        house.insert()
    assert house.numbers("ready_count")[("service", "fake"),] == 5
    house.policy.path = PathConfig(connection_limit=Limit(1), max_ready=2)
    house.pass_time(63)
    assert house.numbers("ready_count")[("service", "fake"),] == 2
    assert "MaxReadyWasReducedByConfigUpdate" in house.recorder.records[0].response.content
    house.stop(1)


def test_a_changed_protocol_takes_the_messages_along():
    """When a queue is switched to another protocol, what was ready for the old one is routed anew."""
    house = house_with(lambda batch: Deferred(), path=PathConfig(connection_limit=Limit(2)))
    house.manager.start()
    for _ in range(3):
        house.insert()
    house.channel.answer = lambda batch: DELIVERED
    house.policy.config = QueueConfig(protocol=CustomLuaProtocol(constructor="make.it"))
    house.clock.advance(61)
    house.insert()
    house.turn()
    assert len(house.recorder.of("Delivery")) == 3
    assert sum("ProtocolChanged" in one.response.content for one in house.recorder.of("Delayed")) == 2
    house.stop(1)


def test_thousands_due_at_once_go_in_slices():
    """A burst of due messages does not keep the reactor from everything else."""
    store = CountingStore()
    house = house_with(path=PathConfig(max_ready=5000), store=store)
    house.manager.start()
    for number in range(1000):
        message = house.message(f"user@to{number % 10}.example")
        message.due = START + 5.5
        house.insert(message)
    house.pass_time(6)
    assert sum(store.loaded) == 1000
    assert max(store.loaded) <= 64
    assert len(house.recorder.of("Delivery")) == 1000
    assert house.numbers("scheduled_count_total") == {(): 0}
    house.stop()


def test_a_word_for_what_the_mx_said_reaches_policy():
    """requeue_message is told KumoMTA's reason when a domain has no hosts, and not only that it failed."""
    nowhere = Outcome(Verdict.TRANSIENT, Response(451, "no hosts"), Scope.SITE, reason="MxResolvedToZeroHosts")
    house = house_with()
    house.channel.on_connect = lambda: ConnectFailed(nowhere)
    house.insert()
    (asked,) = house.policy.asked("requeue_message")
    assert asked == ("451 no hosts", ("MxResolvedToZeroHosts", "LoggedTransientFailure"), True, None)
    house.stop()
