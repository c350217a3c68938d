"""Two channels at once, where a stage asks for it: what came before goes on trying."""

from support.fakes_queue import DEFERRED, DELIVERED, FakeChannel, FakePolicy, House

from kumotwist.config.queue import CustomLuaProtocol, QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.receipt import ReceiptState

MAIL, SMS = CustomLuaProtocol(constructor="mail"), CustomLuaProtocol(constructor="sms")


def house(mail, sms, alongside=True):
    """A house whose messages go by `mail`, and after a minute by `sms`."""
    policy = FakePolicy(QueueConfig(route_table="mail", retry_interval=600.0))
    stage = FallbackStage(route_table="sms", wait=60.0, alongside=alongside)
    for name, protocol, stages in (("mail", MAIL, (stage,)), ("sms", SMS, ())):
        routes = (RouteEntry(name=name, weight=1, protocol=protocol),)
        policy.tables[name] = RouteTableConfig(name=name, routes=routes, fallback=stages)
    one = House(policy=policy)
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
