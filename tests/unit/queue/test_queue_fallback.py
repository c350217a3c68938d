"""A fallback in the queue: the stages of a message while policy, providers and the clock do what they like."""

from collections import Counter

import pytest
from attrs import evolve
from support.fakes_queue import (
    DEFERRED,
    DELIVERED,
    REFUSED,
    START,
    UNREACHABLE,
    FakeChannel,
    FakePolicy,
    House,
    now,
)
from twisted.internet.defer import Deferred

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.errors import SpoolCorrupt
from kumotwist.core.receipt import ReceiptState
from kumotwist.core.schedule import Schedule, format_rfc3339
from kumotwist.core.units import Throttle
from kumotwist.queue.ready import Bodies
from kumotwist.spool.memory import MemoryStore

MAIL, SMS = CustomLuaProtocol(constructor="mail"), CustomLuaProtocol(constructor="sms")
STAGE = FallbackStage(route_table="sms", wait=300.0)


def table(name, protocol, *stages):
    return RouteTableConfig(name=name, routes=(RouteEntry(name=name, weight=1, protocol=protocol),), fallback=stages)


def house(mail=DELIVERED, sms=DELIVERED, stage=STAGE, **config):
    """A house whose messages go by `mail`, and five minutes later by `sms`."""
    policy = FakePolicy(QueueConfig(route_table="mail", **config))
    policy.tables = {"mail": table("mail", MAIL, stage), "sms": table("sms", SMS)}
    one = House(policy=policy)
    one.channels = {MAIL: FakeChannel(lambda _: mail), SMS: FakeChannel(lambda _: sms)}
    one.channels[SMS].protocol_name = "fake-sms"
    one.manager.start()
    return one


def reload(one, **tables):
    """Another policy; a table that is None is gone."""
    one.policy.tables |= {name: config for name, config in tables.items() if config is not None}
    for name in [name for name, config in tables.items() if config is None]:
        del one.policy.tables[name]
    one.policy.epoch += 1


def delivered(one):
    return [(record.recipients, record.way.table) for record in one.recorder.of("Delivery")]


def ways(one):
    return [way for _, way in delivered(one)]


def moves(one):
    return [(record.fallback["to"], record.fallback["reason"]) for record in one.recorder.of("Fallback")]


def test_without_a_receipt_the_text_follows_after_five_minutes():
    """The same message, with its id; not before its time, and only once."""
    one = house()
    message = one.insert()
    one.pass_time(295)
    assert ways(one) == ["mail"]
    one.pass_time(10)
    assert ways(one) == ["mail", "sms"]
    assert {record.message.id for record in one.recorder.of("Delivery")} == {message.id}
    assert moves(one) == [("sms", "no_receipt")]
    one.pass_time(1000)
    assert ways(one) == ["mail", "sms"]
    assert len(one.store) == 0
    one.stop()


def test_a_message_of_several_recipients_is_split():
    """Each has its own way from there on: who has the mail gets no text; nobody gets anything twice."""
    one = house()
    one.insert(one.message("a@to.example", "b@to.example", "c@to.example"))
    one.pass_time(5)
    assert len(one.store) == 3
    found = {record.recipients[0]: record.message.id for record in one.recorder.of("Delivery")}
    assert len(set(found.values())) == 3
    one.watch.tell(found["b@to.example"], ReceiptState.DELIVERED, "mail")
    one.pass_time(320)
    texts = sorted(recipients for recipients, way in delivered(one) if way == "sms")
    assert texts == [("a@to.example",), ("c@to.example",)]
    assert ways(one).count("mail") == 3
    assert len(one.store) == 0
    one.stop()


def test_a_split_message_survives_a_restart():
    """A new process finds each recipient once, with the deadline that it had."""
    one = house()
    one.insert(one.message("a@to.example", "b@to.example"))
    one.pass_time(100)
    one.stop()
    again = House(policy=one.policy, store=one.store.restarted(), clock=one.clock)
    again.channels = {protocol: FakeChannel() for protocol in (MAIL, SMS)}
    again.manager.start()
    again.pass_time(190)
    assert delivered(again) == []
    again.pass_time(20)
    assert sorted(delivered(again)) == [(("a@to.example",), "sms"), (("b@to.example",), "sms")]
    assert len(again.store) == 0
    again.stop()


def test_a_policy_without_the_stage():
    """What was handed over is done; what was not goes on as any message; nothing is lost or sent twice."""
    one = house()
    one.insert()
    one.pass_time(10)
    reload(one, mail=table("mail", MAIL))
    one.pass_time(600)
    assert ways(one) == ["mail"]
    assert len(one.store) == 0
    one.stop()
    waits = house(mail=DEFERRED, retry_interval=60.0)
    waits.insert()
    waits.pass_time(10)
    reload(waits, mail=table("mail", MAIL))
    waits.channels[MAIL].answer = lambda _: DELIVERED
    waits.pass_time(600)
    assert ways(waits) == ["mail"]
    assert moves(waits) == []
    assert len(waits.store) == 0
    waits.stop()


def test_a_policy_without_the_stage_that_a_message_is_on():
    """It goes by what stands in its place now, and not again by what has refused it."""
    one = house(mail=REFUSED, sms=DEFERRED, retry_interval=60.0)
    one.insert()
    one.pass_time(10)
    assert moves(one) == [("sms", "refused")]
    push = CustomLuaProtocol(constructor="push")
    one.channels[push] = FakeChannel()
    one.channels[MAIL].answer = lambda _: DELIVERED
    reload(one, mail=table("mail", MAIL, evolve(STAGE, route_table="push")), push=table("push", push))
    one.pass_time(200)
    assert ways(one) == ["push"]
    assert moves(one) == [("sms", "refused"), ("push", "renamed")]
    assert len(one.store) == 0
    one.stop()


def test_a_policy_without_the_table():
    """The queue has another one: what waits for a receipt is done, what was never handed over goes by that."""
    for answer, expected in ((DELIVERED, ["mail"]), (DEFERRED, ["other"])):
        one = house(mail=answer, retry_interval=60.0)
        one.insert()
        one.pass_time(10)
        one.policy.config = QueueConfig(route_table="other")
        reload(one, mail=None, other=table("other", SMS))
        one.pass_time(700)
        assert ways(one) == expected
        assert len(one.store) == 0
        one.stop()


def test_a_stage_whose_table_does_not_exist_yet():
    """The message waits, the failure says why, and it goes on when the table is there."""
    one = house(retry_interval=60.0)
    del one.policy.tables["sms"]
    one.insert()
    one.pass_time(330)
    assert ways(one) == ["mail"]
    assert "no table sms" in one.recorder.of("TransientFailure")[0].response.content
    assert len(one.store) == 1
    reload(one, sms=table("sms", SMS))
    one.pass_time(300)
    assert ways(one) == ["mail", "sms"]
    assert len(one.store) == 0
    one.stop()


def test_a_clock_that_is_put_forward():
    """What is overdue goes on, once."""
    one = house()
    one.insert()
    one.pass_time(10)
    one.clock.advance(86_000)
    one.pass_time(10)
    assert ways(one) == ["mail", "sms"]
    assert len(one.store) == 0
    one.stop()


def test_a_clock_that_was_put_back_while_the_daemon_was_down():
    """Mail that never went out gets its five minutes from now on, not from a day in the future."""
    one = house(mail=DEFERRED, retry_interval=60.0)
    one.insert()
    one.pass_time(10)
    one.stop()
    again = House(policy=one.policy, store=one.store.restarted())
    again.channels = {MAIL: FakeChannel(lambda _: DEFERRED), SMS: FakeChannel()}
    assert again.clock.seconds() < one.clock.seconds()
    again.manager.start()
    again.pass_time(400)
    assert ways(again) == ["sms"]
    again.stop()


def test_what_is_on_the_wire_at_the_deadline_hears_its_outcome():
    """A hand-over that comes late still counts as one; then the text, for no receipt came in time."""
    answer = Deferred()
    one = house(mail=answer)
    one.insert()
    one.pass_time(320)
    assert moves(one) == []
    answer.callback(DELIVERED)
    one.pass_time(5)
    assert ways(one) == ["mail", "sms"]
    assert moves(one) == [("sms", "no_receipt")]
    one.stop()


def test_a_message_behind_one_on_the_wire_is_withdrawn():
    """It waits in a ready queue at its deadline: it goes by text, and no mail follows."""
    answer = Deferred()
    one = house(mail=answer)
    one.policy.path = evolve(one.policy.path, connection_limit=evolve(one.policy.path.connection_limit, limit=1))
    first, second = one.insert(), one.insert()
    one.pass_time(310)
    assert [record.message.id for record in one.recorder.of("Delivery")] == [second.id]
    assert moves(one) == [("sms", "not_handed_over")]
    answer.callback(DELIVERED)
    one.pass_time(10)
    assert sorted(ways(one)) == ["mail", "sms", "sms"]
    assert len(one.store) == 0
    assert first.id != second.id
    one.stop()


def test_a_message_that_is_still_connecting_is_withdrawn():
    """A mail host that does not answer delays no text: nothing is on the wire. Whoever connects serves others."""
    connected = Deferred()
    one = house()
    one.channels[MAIL].on_connect = lambda: connected
    one.insert()
    one.pass_time(299)
    assert moves(one) == []
    one.pass_time(6)
    assert ways(one) == ["sms"]
    assert moves(one) == [("sms", "not_handed_over")]
    assert len(one.store) == 0
    connected.callback(None)
    one.pass_time(2)
    assert one.channels[MAIL].batches == []
    one.insert()
    assert ways(one) == ["sms", "mail"]
    assert one.channels[MAIL].connects == 1
    one.stop()


def test_a_connection_that_fails_after_the_deadline():
    """The message has gone by text and nothing is told of it any more, but the route has failed; others go on."""
    connected = Deferred()
    one = house(retry_interval=60.0)
    one.policy.path = evolve(one.policy.path, connection_limit=evolve(one.policy.path.connection_limit, limit=1))
    one.channels[MAIL].on_connect = lambda: connected
    one.insert()
    one.pass_time(200)
    one.insert()
    one.pass_time(110)
    assert ways(one) == ["sms"]
    one.channels[MAIL].on_connect = None
    connected.errback(UNREACHABLE)
    one.pass_time(5)
    assert ways(one) == ["sms", "mail"]
    assert one.recorder.of("TransientFailure") == []
    assert one.manager.table_at_work("mail").tallies.lately("", 0, one.clock.seconds()).transient > 0.9
    one.stop()


@pytest.mark.parametrize("rate", ["max_connection_rate", "max_message_rate"])
def test_a_message_that_waits_for_its_turn_by_a_rate_is_withdrawn(rate):
    """It goes by text at its deadline and by nothing else; the next one by mail goes when the rate allows."""
    one = house(stage=evolve(STAGE, wait=20.0, until_state="handed_over"))
    options = {rate: Throttle.parse("1/min"), "idle_timeout": 70.0, "max_deliveries_per_connection": 1}
    one.policy.path = evolve(one.policy.path, **options)
    for _ in range(2):
        one.insert()
    assert ways(one) == ["mail"]
    one.pass_time(25)
    assert ways(one) == ["mail", "sms"]
    assert moves(one) == [("sms", "not_handed_over")]
    one.pass_time(30)
    one.insert()
    one.pass_time(10)
    assert ways(one) == ["mail", "sms", "mail"], "no turn was taken for what has gone"
    one.pass_time(120)
    assert len(ways(one)) == 3
    assert len(one.store) == 0
    one.stop()


def test_a_mail_route_that_never_answers_loses_its_share_to_one_that_does():
    """Although each message gives it up at its deadline: what the connections came to is told its table."""
    one = house(stage=evolve(STAGE, wait=20.0, until_state="handed_over"))
    other = CustomLuaProtocol(constructor="other")
    routes = [RouteEntry(name=name, weight=1, protocol=way) for name, way in (("dead", MAIL), ("well", other))]
    one.policy.tables["mail"] = evolve(one.policy.tables["mail"], routes=tuple(routes))
    one.channels[other] = FakeChannel()
    attempts = []

    def connect():
        attempts.append(Deferred())
        return attempts[-1]

    one.channels[MAIL].on_connect = connect
    for _ in range(20):
        one.insert()
    one.pass_time(25)
    assert Counter(ways(one)) == {"mail": 10, "sms": 10}
    for attempt in attempts:
        attempt.errback(UNREACHABLE)
    one.pass_time(1)
    for _ in range(20):
        one.insert()
    assert Counter(ways(one))["mail"] >= 29
    one.stop()


def test_of_a_batch_in_hand_only_what_is_due_is_withdrawn():
    """Two wait for the same connection: the older one goes by text, the younger one by mail."""
    connected = Deferred()
    one = house(stage=evolve(STAGE, until_state="handed_over"))
    channel = one.channels[MAIL]
    channel.on_connect = lambda: connected
    channel.max_batch = channel.min_batch = 2
    channel.batch_latency = 250.0
    first = one.insert()
    one.pass_time(100)
    second = one.insert()
    one.pass_time(205)
    connected.callback(None)
    one.pass_time(5)
    found = [(record.message.id, record.way.table) for record in one.recorder.of("Delivery")]
    assert found == [(first.id, "sms"), (second.id, "mail")]
    one.stop()


def test_a_message_whose_mail_host_is_still_looked_up_goes_by_text():
    """DNS answers after the deadline: no mail goes out any more, and the text does at once."""
    one = house()
    one.channels[MAIL].site_gate = gate = Deferred()
    one.insert()
    one.pass_time(305)
    assert ways(one) == []
    gate.callback(None)
    one.pass_time(1)
    assert ways(one) == ["sms"]
    assert moves(one) == [("sms", "not_handed_over")]
    assert len(one.store) == 0
    one.stop()


def test_a_message_whose_body_is_still_read_is_withdrawn():
    """A slow disk holds up no text; what the read comes to is of no interest any more, and ends no message twice."""

    class SlowStore(MemoryStore):
        gate = None

        async def load_body(self, message):
            if self.gate is not None:
                await self.gate
            await super().load_body(message)

    store = SlowStore()
    store.gate = gate = Deferred()
    policy = FakePolicy(QueueConfig(route_table="mail"))
    policy.tables = {"mail": table("mail", MAIL, STAGE), "sms": table("sms", SMS)}
    one = House(policy=policy, store=store, bodies=Bodies(0))
    one.channels = {MAIL: FakeChannel(), SMS: FakeChannel()}
    one.manager.start()
    one.insert()
    one.pass_time(299)
    assert one.recorder.records == []
    store.gate = None
    one.pass_time(5)
    assert ways(one) == ["sms"]
    gate.errback(SpoolCorrupt("not what was written"))
    one.pass_time(5)
    assert ways(one) == ["sms"]
    assert one.recorder.of("Bounce") == []
    assert one.channels[MAIL].batches == []
    one.stop()


def test_the_hours_of_a_message_hold_for_its_text():
    """Nobody is texted at night: the stage begins when the schedule allows, and a receipt until then cancels it."""
    hours = {"dow": "Mon,Tue,Wed,Thu,Fri,Sat,Sun", "tz": "UTC", "start": "08:00:00", "end": "08:02:00"}
    for is_late in (False, True):
        one = house()
        # START is 08:00:00 UTC: mail goes out at once, and the text's turn is after the window.
        assert START % 86_400 == 28_800
        message = one.message()
        message.set_schedule(Schedule.parse(hours))
        one.insert(message)
        one.pass_time(3_600)
        assert ways(one) == ["mail"]
        assert moves(one) == [("sms", "no_receipt")]
        if is_late:
            one.watch.tell(message.id, ReceiptState.DELIVERED, "mail")
        one.clock.advance(86_400 - 3_600 - 5)
        one.pass_time(30)
        assert ways(one) == (["mail"] if is_late else ["mail", "sms"])
        assert moves(one)[1:] == ([("", "cancelled")] if is_late else [])
        assert len(one.store) == 0
        one.stop()


def test_mail_that_expires_before_its_deadline_leads_on():
    """Too old for another attempt by mail is no end while there is a stage; the text's own expiry is."""
    one = house(mail=DEFERRED, stage=evolve(STAGE, wait=3_600.0), retry_interval=600.0, max_age=300.0)
    one.insert()
    one.pass_time(10)
    assert moves(one) == [("sms", "expired")]
    assert ways(one) == ["sms"]
    assert one.recorder.of("Expiration") == []
    one.stop()


def test_a_message_that_must_not_be_late_expires_on_its_last_stage():
    """An expiry of its own ends it when no stage is left, with the record that it always has."""
    one = house(mail=DEFERRED, sms=DEFERRED, retry_interval=60.0)
    message = one.message()
    message.set_schedule(Schedule.parse({"expires": format_rfc3339(START + 400)}))
    one.insert(message)
    one.pass_time(900)
    assert moves(one) == [("sms", "expired")]
    assert len(one.recorder.of("Expiration")) == 1
    assert len(one.store) == 0
    one.stop()


def test_the_last_stage_refuses():
    """A bounce, once, of a message that no stage could deliver."""
    one = house(mail=REFUSED, sms=REFUSED)
    one.insert()
    one.pass_time(5)
    assert [kind for kind, _, _ in one.recorder.brief()] == ["TransientFailure", "Fallback", "Bounce"]
    assert len(one.store) == 0
    one.stop()


def test_a_failed_receipt_brings_the_text_forward():
    """Within seconds, of the mail's five minutes."""
    one = house()
    message = one.insert()
    one.pass_time(10)
    one.watch.tell(message.id, ReceiptState.FAILED, "mail", one.clock.seconds())
    one.pass_time(3)
    assert ways(one) == ["mail", "sms"]
    assert moves(one) == [("sms", "failed_receipt")]
    one.stop()


def test_a_store_that_fails_at_the_split_loses_nobody():
    """The message keeps all its recipients, and the next process splits it."""
    one = house()
    message = one.message("a@to.example", "b@to.example")
    now(one.store.save((message,)))
    one.store.break_down()
    now(one.manager.insert(message))
    one.pass_time(5)
    assert delivered(one) == []
    assert len(message.recipients) == 2
    one.stop()
    again = House(policy=one.policy, store=one.store.restarted(), clock=one.clock)
    again.channels = {protocol: FakeChannel() for protocol in (MAIL, SMS)}
    again.manager.start()
    again.pass_time(400)
    assert sorted(delivered(again)) == [((f"{to}@to.example",), way) for to in ("a", "b") for way in ("mail", "sms")]
    assert len(again.store) == 0
    again.stop()
