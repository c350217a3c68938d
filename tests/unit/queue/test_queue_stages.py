"""Messages that go on by another table when there was no success in time: the queue, with a clock of our own."""

from functools import partial

import pytest
from attrs import evolve
from support.fakes_queue import DEFERRED, DELIVERED, PEER, REFUSED, FakeChannel, FakePolicy, House, now, started_clock
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathConfig
from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.errors import PolicyError, StateUnavailable
from kumotwist.core.outcome import Outcome, Scope, Verdict
from kumotwist.core.receipt import ReceiptState
from kumotwist.core.response import Response
from kumotwist.core.schedule import Schedule
from kumotwist.core.units import Limit, Throttle
from kumotwist.queue.fallback.splitting import derived_id
from kumotwist.queue.watch import MemoryWatch

NAMES = ("mail", "push", "sms")
DEAD = Outcome(Verdict.TRANSIENT, Response(451, "cannot connect"), Scope.SESSION, PEER)
TOKEN_GONE = evolve(REFUSED, is_address_dead=True)
ARRIVED, OPENED, FAILED = ReceiptState.DELIVERED, ReceiptState.OPENED, ReceiptState.FAILED


def answer_with(answer, batch):
    return answer


def policy_of(*stages, **queue):
    """Tables `mail`, `push` and `sms`, each with one route of its name; `mail` has the stages."""
    policy = FakePolicy(QueueConfig(route_table="mail", **queue))
    for name in NAMES:
        routes = (RouteEntry(name=name, weight=1, protocol=CustomLuaProtocol(constructor=name)),)
        policy.tables[name] = RouteTableConfig(name=name, routes=routes)
    policy.tables["mail"] = evolve(policy.tables["mail"], fallback=stages)
    return policy


def house(*stages, answers=None, store=None, clock=None, watch=None, policy=None, **queue):
    stages = stages or (FallbackStage(route_table="sms", wait=120.0),)
    one = House(policy=policy or policy_of(*stages, **queue), store=store, clock=clock, watch=watch)
    one.by_name = {}
    for name in NAMES:
        channel = FakeChannel(partial(answer_with, (answers or {}).get(name, DELIVERED)))
        channel.protocol_name = f"fake-{name}"
        one.by_name[name] = one.channels[CustomLuaProtocol(constructor=name)] = channel
    one.manager.start()
    one.turn()
    return one


def restarted(one, seconds=0.0, **changed):
    """The house after kill -9 and so many seconds: the store as it is on disk, what receipts say is kept."""
    clock = started_clock()
    clock.advance(one.clock.seconds() - clock.seconds() + seconds)
    watch = MemoryWatch()
    watch._heard = one.watch._heard
    return house(store=one.store.restarted(), clock=clock, watch=watch, policy=changed.get("policy", one.policy))


def story(one):
    """What records tell: type and, for a Fallback, where to and why."""
    return [
        (record.type.value, record.fallback["to"], record.fallback["reason"])
        if record.fallback
        else (record.type.value, record.way.table if record.way else "", record.response.code)
        for record in one.recorder.records
        if record.type.value != "RouteChange"
    ]


MAILED = ("Delivery", "mail", 250)
TEXTED = ("Delivery", "sms", 250)


def test_without_a_receipt_the_message_goes_on_by_the_next_table():
    """Handed over as mail, no receipt in two minutes: a text message, with the same id; then it has ended."""
    one = house()
    message = one.insert()
    assert story(one) == [MAILED]
    assert message.id in one.store
    one.pass_time(118)
    assert story(one) == [MAILED]
    one.pass_time(4)
    assert story(one) == [MAILED, ("Fallback", "sms", "no_receipt"), TEXTED]
    assert {record.message.id for record in one.recorder.records} == {message.id}
    assert message.id not in one.store
    assert one.watch.expected == set()
    told = one.recorder.of("Fallback")[0].fallback
    assert told == {
        "table": "mail",
        "from": "mail",
        "to": "sms",
        "reason": "no_receipt",
        "evidence": "no receipt says delivered within 2m",
    }
    one.stop()


@pytest.mark.parametrize("state", [ARRIVED, OPENED, ReceiptState.CLICKED, ReceiptState.UNSUBSCRIBED])
def test_a_receipt_in_time_ends_it(state):
    """Nobody gets a text about a mail that has arrived; the message has ended within seconds."""
    one = house()
    message = one.insert()
    one.pass_time(10)
    one.watch.tell(message.id, state, "mail")
    one.pass_time(3)
    assert message.id not in one.store
    one.pass_time(300)
    assert story(one) == [MAILED]
    one.stop()


@pytest.mark.parametrize("state", [FAILED, ReceiptState.EXPIRED])
def test_a_failed_receipt_brings_the_next_stage_forward(state):
    """The provider says that the mailbox does not exist: why wait for the deadline?"""
    one = house()
    message = one.insert()
    one.watch.tell(message.id, state, "mail")
    one.pass_time(3)
    assert story(one) == [MAILED, ("Fallback", "sms", "failed_receipt"), TEXTED]
    one.stop()


def test_a_refusal_leads_to_the_next_stage_at_once():
    """No Bounce is told of a message that is delivered a moment later."""
    one = house(answers={"mail": REFUSED})
    message = one.insert()
    one.turn()
    assert story(one) == [("TransientFailure", "mail", 550), ("Fallback", "sms", "refused"), TEXTED]
    assert one.recorder.of("Fallback")[0].fallback["evidence"] == "550 5.1.1 no"
    assert message.id not in one.store
    one.stop()


def test_a_dead_token_is_told_of_all_the_same():
    """The application is to forget it, whatever comes after."""
    one = house(answers={"mail": TOKEN_GONE})
    one.insert()
    one.turn()
    assert [kind for kind, *_ in story(one)] == ["TransientFailure", "DeadAddress", "Fallback", "Delivery"]
    one.stop()


def test_the_last_stage_ends_as_any_message():
    """Refused by everybody: one Bounce, of the last."""
    one = house(answers={"mail": REFUSED, "sms": REFUSED})
    message = one.insert()
    one.turn()
    assert story(one)[-1] == ("Bounce", "sms", 550)
    assert len(one.recorder.of("Bounce")) == 1
    assert message.id not in one.store
    one.stop()


def test_retries_end_at_the_deadline():
    """A mail that is deferred is tried until then, and not only at its next retry in twenty minutes."""
    one = house(answers={"mail": DEFERRED})
    one.insert()
    one.pass_time(119)
    assert [kind for kind, *_ in story(one)] == ["TransientFailure"]
    one.pass_time(4)
    assert story(one)[1:] == [("Fallback", "sms", "not_handed_over"), TEXTED]
    assert one.recorder.of("Delivery")[0].attempts == 0, "attempts count anew"
    one.stop()


def test_expiry_leads_to_the_next_stage():
    """What is too old for mail is not too old for a text; the next stage has the queue's age for itself."""
    one = house(
        FallbackStage(route_table="sms", wait=86400.0), answers={"mail": DEFERRED, "sms": DEFERRED},
        retry_interval=60.0, max_age=300.0,
    )  # fmt: skip
    one.insert()
    one.pass_time(290)
    assert ("Fallback", "sms", "expired") in story(one)
    at = story(one).index(("Fallback", "sms", "expired"))
    one.pass_time(400)
    assert story(one)[at + 1 :].count(("TransientFailure", "sms", 451)) >= 2
    assert [record.type.value for record in one.recorder.records][-1] == "Expiration"
    assert len(one.recorder.of("Expiration")) == 1
    assert len(one.store) == 0
    one.stop()


def test_what_waits_in_a_ready_queue_is_withdrawn():
    """All connections are busy until after the deadline: it is one message, and goes by the next table."""
    busy = Deferred()
    one = house(answers={"mail": busy})
    one.policy.path = PathConfig(connection_limit=Limit(1))
    first, second = one.insert(), one.insert()
    one.pass_time(122)
    assert story(one) == [("Fallback", "sms", "not_handed_over"), TEXTED]
    assert second.id not in one.store
    assert first.id in one.store, "on the wire: its outcome is heard first"
    busy.callback(DEAD)
    one.pass_time(3)
    assert story(one)[2:] == [
        ("TransientFailure", "mail", 451),
        ("Fallback", "sms", "not_handed_over"),
        TEXTED,
    ]
    assert len(one.store) == 0
    one.stop()


def test_handed_over_is_enough_if_the_policy_says_so():
    """For a channel without receipts: the next stage is for what could not be handed over."""
    one = house(FallbackStage(route_table="sms", wait=60.0, until_state="handed_over"))
    message = one.insert()
    assert message.id not in one.store
    one.by_name["mail"].answer = lambda batch: DEFERRED
    one.insert()
    one.pass_time(62)
    assert story(one)[-1] == TEXTED
    one.stop()


def test_a_late_success_cancels_what_has_not_gone_out():
    """The mail arrives while the text waits for its rate, its retry or a place: no text, and a record says why."""
    one = house(answers={"sms": DEFERRED})
    message = one.insert()
    one.pass_time(122)
    assert story(one)[-1] == ("TransientFailure", "sms", 451)
    one.watch.tell(message.id, ARRIVED, "mail")
    one.pass_time(3)
    assert story(one)[-1] == ("Fallback", "", "cancelled")
    assert one.recorder.of("Fallback")[-1].fallback["evidence"] == "delivered by mail"
    assert message.id not in one.store
    one.stop()


def test_a_late_success_takes_a_text_out_of_its_ready_queue():
    """It has its place behind another one that is on the wire, and is withdrawn from there."""
    busy = Deferred()
    one = house(answers={"sms": busy})
    one.policy.path = PathConfig(connection_limit=Limit(1))
    one.insert()
    second = one.insert()
    one.pass_time(122)
    one.watch.tell(second.id, ARRIVED, "mail")
    one.pass_time(3)
    assert second.id not in one.store
    busy.callback(DELIVERED)
    one.pass_time(1)
    assert story(one).count(TEXTED) == 1
    one.stop()


def test_news_that_change_nothing_bring_no_retry_forward():
    """A receipt of less than what was wanted leaves the retry where it was."""
    one = house(answers={"sms": DEFERRED})
    message = one.insert()
    one.pass_time(122)
    one.watch.tell(message.id, ReceiptState.ACCEPTED, "mail")
    one.pass_time(10)
    assert story(one).count(("TransientFailure", "sms", 451)) == 1
    one.pass_time(2600)
    assert story(one).count(("TransientFailure", "sms", 451)) == 2
    one.stop()


def test_three_stages():
    """Mail, a notification, a text: each gets its time, and none is skipped."""
    one = house(
        FallbackStage(route_table="push", wait=60.0, until_state="opened"), FallbackStage(route_table="sms", wait=90.0)
    )
    message = one.insert()
    one.watch.tell(message.id, ARRIVED, "mail")
    one.pass_time(63)
    assert story(one) == [MAILED, ("Fallback", "push", "no_receipt"), ("Delivery", "push", 250)]
    one.pass_time(93)
    assert story(one)[3:] == [("Fallback", "sms", "no_receipt"), TEXTED]
    one.stop()


def test_kill_9_while_it_waits():
    """All is on disk: after the restart the deadline is the same, and a receipt that came meanwhile counts."""
    one = house()
    first, second, third = one.insert(), one.insert(), one.insert()
    one.pass_time(30)
    one.watch.tell(first.id, ARRIVED, "mail")
    one.watch.tell(second.id, FAILED, "mail")
    after = restarted(one, 20.0)
    after.pass_time(2)
    assert first.id not in after.store
    assert story(after) == [("Fallback", "sms", "failed_receipt"), TEXTED]
    after.pass_time(60)
    assert third.id in after.store
    after.pass_time(12)
    assert story(after)[2:] == [("Fallback", "sms", "no_receipt"), TEXTED]
    assert len(after.store) == 0
    assert after.by_name["mail"].batches == []
    after.stop()


def test_kill_9_long_before_the_restart():
    """The deadline has passed while nobody was there: the next stage follows the start."""
    one = house()
    one.insert()
    after = restarted(one, 86400.0 * 9)
    after.pass_time(2)
    assert story(after) == [("Fallback", "sms", "no_receipt"), TEXTED]
    after.stop()


@pytest.mark.parametrize("reason", ["retry", "deadline"])
def test_kill_9_on_a_later_stage(reason):
    """It stays on its stage, and what it went by before does not get it again."""
    one = house(answers={"sms": DEFERRED})
    one.insert()
    one.pass_time(122)
    after = restarted(one, 3600.0 if reason == "retry" else 0.0)
    after.pass_time(2600)
    assert story(after) == [TEXTED]
    assert after.by_name["mail"].batches == []
    after.stop()


def test_kill_9_before_the_first_attempt_ends():
    """A message that was on the wire is sent again; its time runs from where it began."""
    one = house(answers={"mail": Deferred()})
    one.insert()
    one.pass_time(100)
    after = restarted(one)
    after.by_name["mail"].answer = lambda batch: DEFERRED
    after.pass_time(23)
    assert story(after)[-1] == TEXTED
    after.stop()


def test_several_recipients_become_a_message_each():
    """Each goes its own way from there; ids are made from the first, and the log says where they come from."""
    one = house()
    message = one.insert(one.message("a@to.example", "b@to.example", "c@to.example"))
    one.turn()
    assert sorted(record.recipients for record in one.recorder.of("Delivery")) == [
        ("a@to.example",), ("b@to.example",), ("c@to.example",)
    ]  # fmt: skip
    ids = {record.message.id for record in one.recorder.of("Delivery")}
    assert ids == {
        message.id,
        derived_id(message.id, "b@to.example", 1),
        derived_id(message.id, "c@to.example", 2),
    }
    assert {record.message.created for record in one.recorder.of("Delivery")} == {message.created}
    assert [record.fallback["reason"] for record in one.recorder.of("Fallback")] == ["split"] * 3
    one.watch.tell(message.id, ARRIVED, "mail")
    one.pass_time(125)
    texted = [record.recipients for record in one.recorder.of("Delivery") if record.way.table == "sms"]
    assert sorted(texted) == [("b@to.example",), ("c@to.example",)]
    assert len(one.store) == 0
    one.stop()


class TornStore(type(House().store)):
    """A store whose process dies in the middle of saving several messages, after so many of them."""

    def tear(self, after):
        self.after = after

    async def save(self, messages):
        if len(messages) > 1:
            await super().save(messages[: self.after])
            await Deferred()  # for ever: the process is gone
        await super().save(messages)


@pytest.mark.parametrize("saved", [0, 1, 2, 3])
@pytest.mark.parametrize("is_child_first", [False, True])
def test_kill_9_while_a_message_is_split(saved, is_child_first):
    """Whatever is on disk at that moment: each recipient gets it once, in the end."""
    store = TornStore()
    store.tear(saved)
    one = house(store=store)
    one.insert(one.message("a@to.example", "b@to.example", "c@to.example"))
    assert one.by_name["mail"].batches == []
    on_disk = store.restarted()
    if is_child_first:
        on_disk._at_start.reverse()
    clock = started_clock()
    clock.advance(10.0)
    again = house(store=on_disk, clock=clock)
    again.pass_time(3)
    assert sorted(record.recipients for record in again.recorder.of("Delivery")) == [
        ("a@to.example",), ("b@to.example",), ("c@to.example",)
    ]  # fmt: skip
    again.pass_time(130)
    assert story(again).count(TEXTED) == 3
    assert len(again.store) == 0
    again.stop()
    one.clock.advance(0)


def test_a_pin_holds_for_the_first_table_only():
    """Meta `route` names a route of it, which no other table has."""
    one = house(answers={"mail": REFUSED})
    one.insert(route="mail")
    one.turn()
    assert story(one)[-1] == TEXTED
    one.stop()


def test_a_schedule_holds_for_later_stages():
    """No text at night: the stage begins when the window opens. What expires meanwhile ends."""
    one = house(answers={"mail": REFUSED})
    message = one.message()
    message.set_schedule(Schedule(first_attempt=one.clock.seconds() + 50.0))
    one.insert(message)
    one.pass_time(40)
    assert story(one)[-1][0] == "Delayed"
    one.pass_time(12)
    assert story(one)[-1] == TEXTED
    late = one.message()
    late.set_schedule(Schedule(expires=one.clock.seconds() + 60.0))
    one.by_name["mail"].answer = lambda batch: DELIVERED
    one.insert(late)
    one.pass_time(125)
    assert story(one)[-1][0] == "Expiration"
    assert len(one.store) == 0
    one.stop()


def test_a_stage_that_does_not_exist_makes_the_message_wait():
    """A typing error costs a retry, not a message; the log names the table, and the next stage is still due."""
    one = house(FallbackStage(route_table="psh", wait=60.0), FallbackStage(route_table="sms", wait=600.0))
    one.insert()
    one.pass_time(63)
    failure = one.recorder.of("TransientFailure")[0]
    assert "no table psh" in failure.response.content
    assert len(one.store) == 1
    one.policy.tables["psh"] = evolve(one.policy.tables["push"], name="psh")
    one.policy.epoch += 1
    one.pass_time(603)
    assert story(one)[-2:] == [("Fallback", "sms", "not_handed_over"), TEXTED]
    one.stop()


def test_a_table_that_fails_makes_what_waits_for_a_receipt_wait_longer():
    """An error in policy at the deadline: the message waits, says so, and goes on when the policy is mended."""
    one = house()
    one.insert()
    mended = one.policy.tables["mail"]
    one.policy.tables["mail"] = PolicyError("policy.lua:7: attempt to index a nil value")
    one.policy.epoch += 1
    one.pass_time(300)
    assert story(one) == [MAILED]
    assert len(one.store) == 1
    one.policy.tables["mail"] = mended
    one.policy.epoch += 1
    one.pass_time(62)
    assert story(one)[-1] == TEXTED
    one.stop()


@pytest.mark.parametrize("what", ["fallback", "table"])
def test_a_policy_without_the_fallback(what):
    """What was handed over is done; what was not goes on as any message of its queue."""
    one = house(answers={"mail": DELIVERED})
    handed = one.insert()
    one.by_name["mail"].answer = lambda batch: DEFERRED
    deferred = one.insert()
    if what == "fallback":
        one.policy.tables["mail"] = evolve(one.policy.tables["mail"], fallback=())
    else:
        one.policy.config = QueueConfig(route_table="push")
        del one.policy.tables["mail"]
    one.policy.epoch += 1
    one.pass_time(122)
    assert handed.id not in one.store
    assert deferred.id in one.store or what == "table"
    one.by_name["mail"].answer = lambda batch: DELIVERED
    one.pass_time(2600)
    assert len(one.store) == 0
    (told,) = one.recorder.of("Fallback")
    assert (told.message.id, told.fallback["to"], told.fallback["reason"]) == (handed.id, "", "gone")
    assert len(one.recorder.of("Delivery")) == 2
    one.stop()


@pytest.mark.parametrize("is_waiting", [True, False])
def test_a_stage_that_is_renamed(is_waiting):
    """The mail is not sent again: the message is where it was, under the stage's new name."""
    one = house(answers={"sms": DEFERRED})
    one.insert()
    if not is_waiting:
        one.pass_time(130)
        assert story(one)[:3] == [MAILED, ("Fallback", "sms", "no_receipt"), ("TransientFailure", "sms", 451)]
    text = evolve(one.policy.tables.pop("sms"), name="text")
    one.policy.tables |= {
        "text": text,
        "mail": evolve(one.policy.tables["mail"], fallback=(FallbackStage(route_table="text", wait=120.0),)),
    }
    one.policy.epoch += 1
    one.by_name["sms"].answer = lambda batch: DELIVERED
    one.pass_time(2600)
    moves = [told[1:] for told in story(one) if told[0] == "Fallback"]
    assert moves == ([("text", "no_receipt")] if is_waiting else [("sms", "no_receipt"), ("text", "renamed")])
    assert [told for told in story(one) if told[0] == "Delivery"] == [MAILED, ("Delivery", "text", 250)]
    assert len(one.store) == 0
    one.stop()


@pytest.mark.parametrize("receipt", [None, "mail", "mail2"])
def test_a_table_that_is_renamed(receipt):
    """What waits for a receipt goes on by the queue's table as it is called now; receipts of either name count."""
    one = house()
    handed = one.insert()
    mail = one.policy.tables.pop("mail")
    one.policy.tables["mail2"] = evolve(mail, name="mail2")
    one.policy.config = QueueConfig(route_table="mail2")
    one.policy.epoch += 1
    one.pass_time(10)
    if receipt is not None:
        one.watch.tell(handed.id, ARRIVED, receipt)
    one.pass_time(200)
    assert [told[1] for told in story(one) if told[0] == "Delivery"] == ["mail", *([] if receipt else ["sms"])]
    assert len(one.store) == 0
    one.stop()


def test_a_ledger_that_cannot_be_read():
    """Two channels at once are worse than a delay: the message waits until it is known what was said."""
    one = house()

    class Shut(MemoryWatch):
        async def heard(self, spool_id):
            raise StateUnavailable("state.sqlite: the disk gives errors")

    one.insert()
    heard = one.manager._parts.stages.hearing.watch
    one.manager._parts.stages.hearing.watch = Shut()
    one.pass_time(200)
    assert story(one) == [MAILED]
    one.manager._parts.stages.hearing.watch = heard
    one.pass_time(6)
    assert story(one)[-1] == TEXTED
    one.stop()


def test_a_policy_that_moves_the_message_has_the_last_word():
    """`requeue_message` sends it to another queue: there it begins anew, or ends in `null`."""
    one = house(answers={"mail": DEFERRED})
    one.policy.on_requeue = lambda message: message.set_meta("queue", "null")
    one.insert()
    one.turn()
    assert len(one.store) == 0
    one.pass_time(200)
    assert not one.recorder.of("Fallback")
    one.stop()


def test_a_rate_does_not_hold_a_message_beyond_its_deadline():
    """The queue lets one an hour through: the time of what has begun runs all the same."""
    one = house(answers={"mail": DEFERRED}, max_message_rate=Throttle(1, 3600))
    one.insert()
    one.pass_time(125)
    assert ("Fallback", "sms", "not_handed_over") in story(one)
    assert len(one.store) == 1
    one.pass_time(3700)
    assert story(one)[-1] == TEXTED
    one.stop()


def test_a_clock_that_jumps():
    """Ahead by a day: the next stage is due. Back by an hour: it waits longer; nothing is lost, nothing comes twice."""
    one = house()
    one.insert()
    one.clock.advance(86400.0)
    one.pass_time(3)
    assert story(one) == [MAILED, ("Fallback", "sms", "no_receipt"), TEXTED]
    one.insert()
    one.clock.rightNow -= 3600.0
    one.pass_time(60)
    assert len(one.store) == 1
    one.pass_time(3700)
    assert story(one)[3:] == [MAILED, ("Fallback", "sms", "no_receipt"), TEXTED]
    assert len(one.store) == 0
    one.stop()


def test_a_stop_while_it_waits_leaves_it_on_disk():
    """A message that has not been handed over keeps when it began."""
    one = house(answers={"mail": DEAD})
    one.insert()
    one.stop()
    (message,) = now(one.store.load(list(one.store._records)))
    assert message.course.table == "mail"
    assert message.course.deadline is not None
