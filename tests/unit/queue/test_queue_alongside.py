"""Two channels at once, where a stage asks for it: what came before goes on trying."""

from attrs import evolve
from support.fakes_queue import DEFERRED, DELIVERED, FakeChannel, FakePolicy, House, started_clock
from twisted.internet.defer import Deferred

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.receipt import ReceiptState
from kumotwist.spool.memory import MemoryStore

MAIL, SMS = CustomLuaProtocol(constructor="mail"), CustomLuaProtocol(constructor="sms")


def house(mail, sms, alongside=True, store=None, until="delivered"):
    """A house whose messages go by `mail`, and after a minute by `sms`."""
    policy = FakePolicy(QueueConfig(route_table="mail", retry_interval=600.0))
    stage = FallbackStage(route_table="sms", wait=60.0, alongside=alongside, until_state=until)
    for name, protocol, stages in (("mail", MAIL, (stage,)), ("sms", SMS, ())):
        routes = (RouteEntry(name=name, weight=1, protocol=protocol),)
        policy.tables[name] = RouteTableConfig(name=name, routes=routes, fallback=stages)
    one = House(policy=policy, store=store)
    one.channels = {MAIL: FakeChannel(lambda _: mail), SMS: FakeChannel(lambda _: sms)}
    one.manager.start()
    return one


def delivered(one):
    return sorted(record.way.table for record in one.recorder.of("Delivery"))


def test_what_came_before_goes_on_trying():
    """Text after a minute, and the mail once its server is well: each once, as two messages that name each other."""
    one = house(DEFERRED, DELIVERED)
    message = one.insert()
    one.pass_time(70)
    assert delivered(one) == ["sms"]
    (record,) = one.recorder.of("Fallback")
    assert (record.fallback["to"], record.fallback["reason"]) == ("sms", "not_handed_over")
    one.channels[MAIL].answer = lambda _: DELIVERED
    one.pass_time(1300)
    assert delivered(one) == ["mail", "sms"]
    late = one.recorder.of("Delivery")[-1].message
    assert late.meta["fallback_of"] == message.id.hex()
    assert len(one.store) == 0
    one.stop()


def test_otherwise_the_mail_is_withdrawn():
    """Never two at once unless asked for."""
    one = house(DEFERRED, DELIVERED, alongside=False)
    one.insert()
    one.pass_time(70)
    one.channels[MAIL].answer = lambda _: DELIVERED
    one.pass_time(1300)
    assert delivered(one) == ["sms"]
    one.stop()


def test_what_was_handed_over_is_not_sent_again():
    """Mail that only lacks its receipt has nothing left to try."""
    one = house(DELIVERED, DELIVERED)
    one.insert()
    one.pass_time(130)
    assert delivered(one) == ["mail", "sms"]
    assert len(one.channels[MAIL].batches) == 1
    one.stop()


def test_a_late_success_of_the_mail_cancels_the_text():
    """A receipt of the one that goes on trying counts as one of the message."""
    one = house(DEFERRED, DEFERRED)
    one.insert()
    one.pass_time(70)
    one.channels[MAIL].answer = lambda _: DELIVERED
    one.pass_time(1300)
    assert delivered(one) == ["mail"]
    one.watch.tell(one.recorder.of("Delivery")[0].message.id, ReceiptState.DELIVERED, "mail")
    one.channels[SMS].answer = lambda _: DELIVERED
    one.pass_time(3000)
    assert delivered(one) == ["mail"]
    assert one.recorder.of("Fallback")[-1].fallback["reason"] == "cancelled"
    assert len(one.store) == 0
    one.stop()


def test_a_late_hand_over_of_the_mail_cancels_the_text_where_that_is_enough():
    """`until_state = 'handed_over'` asks for no receipt."""
    one = house(DEFERRED, DEFERRED, until="handed_over")
    one.insert()
    one.pass_time(70)
    one.channels[MAIL].answer = lambda _: DELIVERED
    one.pass_time(1300)
    one.channels[SMS].answer = lambda _: DELIVERED
    one.pass_time(3000)
    assert delivered(one) == ["mail"]
    assert one.recorder.of("Fallback")[-1].fallback["reason"] == "cancelled"
    assert len(one.store) == 0
    one.stop()


def test_what_stays_on_its_stage_stays_there_when_policy_has_that_no_more():
    """The mail is tried to its end by its own table, and not again by what comes after it."""
    one = house(DEFERRED, DELIVERED)
    one.insert()
    one.pass_time(70)
    one.policy.tables["mail"] = evolve(one.policy.tables["mail"], fallback=())
    one.policy.epoch += 1
    one.channels[MAIL].answer = lambda _: DELIVERED
    one.pass_time(1300)
    assert delivered(one) == ["mail", "sms"]
    assert len(one.store) == 0
    one.stop()


def test_a_crash_between_doubles_nothing():
    """A new process with the same spool finds both, and each goes out once."""
    one = house(DEFERRED, DEFERRED)
    one.insert()
    one.pass_time(70)
    assert len(one.store) == 2
    one.stop()
    again = House(policy=one.policy, store=one.store.restarted(), clock=one.clock)
    again.channels = {protocol: FakeChannel(lambda _: DELIVERED) for protocol in (MAIL, SMS)}
    again.manager.start()
    again.pass_time(2000)
    assert delivered(again) == ["mail", "sms"]
    assert len(again.store) == 0
    again.stop()


class TornStore(MemoryStore):
    """A store whose process dies over the next message that is new to it, once it is armed."""

    is_armed = False

    async def save(self, messages):
        if self.is_armed and any(message.id not in self for message in messages):
            await Deferred()  # for ever: the process is gone
        await super().save(messages)


def test_a_crash_while_they_part_doubles_nothing():
    """The text goes out, and the mail is not tried by two messages."""
    store = TornStore()
    one = house(DEFERRED, DELIVERED, store=store)
    one.insert()
    one.pass_time(50)
    store.is_armed = True
    one.pass_time(20)
    again = House(policy=one.policy, store=store.restarted(), clock=started_clock())
    again.clock.advance(100.0)
    again.channels = {protocol: FakeChannel(lambda _: DELIVERED) for protocol in (MAIL, SMS)}
    again.manager.start()
    again.pass_time(2000)
    assert delivered(one) + delivered(again) == ["sms"]
    assert len(again.store) == 0
    again.stop()


def test_a_store_that_fails_keeps_the_message():
    """It waits, goes on by the text when it can be saved again, and nothing is said twice to anybody."""
    one = house(DEFERRED, DELIVERED)
    one.insert()
    one.pass_time(50)
    one.store.break_down()
    one.pass_time(20)
    assert len(one.store) == 1
    again = House(policy=one.policy, store=one.store.restarted(), clock=started_clock())
    again.clock.advance(100.0)
    again.channels = {protocol: FakeChannel(lambda _: DELIVERED) for protocol in (MAIL, SMS)}
    again.manager.start()
    again.pass_time(2000)
    assert delivered(again) == ["mail", "sms"]
    again.stop()
