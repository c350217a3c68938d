"""What subscribers write: policy sees it, and every text leaves a record."""

import pytest
from support.fakes_intake import FakeGate, FakeRecorder
from support.lua import Bench, now

from kumotwist.core.errors import Overload, PolicyError, Rejection
from kumotwist.core.records import RecordType
from kumotwist.core.sms import IncomingSms
from kumotwist.intake.sms import SmsIntake

SMS = IncomingSms(
    channel="smpp", account="me", sender="+15551234567", recipient="12345", text="STOP, please €", octets=b"STOP"
)


def received(tmp_path, source, sms=SMS, gate=None):
    """The bench that the policy's handler ran on, the record that was made, and what was raised."""
    bench, recorder, problem = Bench(tmp_path), FakeRecorder(), None
    intake = SmsIntake(bench.policy(source), recorder, lambda: gate or FakeGate(), bench.ids, bench.clock)
    try:
        now(intake.receive(sms))
    except (Rejection, PolicyError, Overload) as error:
        problem = error
    return bench, recorder.records, problem


def test_a_handler_can_make_a_mail_of_it(tmp_path):
    """Numbers as addresses, the text as the body, the rest as metadata; the handler says where it goes."""
    bench, (record,), problem = received(
        tmp_path,
        """
        kumo.on('sms_received', function(message)
          assert(message:get_meta('sms').from == '+15551234567')
          assert(message:get_meta('sms').to == '12345')
          message:set_recipient 'support@example.com'
          kumo.inject_message(message)
        end)
        """,
    )
    assert problem is None
    (message,) = bench.injected.messages
    assert (message.sender.email, message.recipients[0].email) == ("+15551234567@sms", "support@example.com")
    assert b"STOP, please =E2=82=AC" in message.body or "STOP, please €".encode() in message.body
    assert (record.type, record.reception_protocol) == (RecordType.RECEPTION, "SMPP")


def test_a_handler_that_does_not_inject_has_the_last_word(tmp_path):
    """The text is taken and recorded, and goes nowhere."""
    bench, (record,), problem = received(tmp_path, "kumo.on('sms_received', function(message) end)")
    assert (problem, bench.injected.messages) == (None, [])
    assert (record.type, record.queue) == (RecordType.RECEPTION, "null")


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("kumo.on('sms_received', function() kumo.reject(550, 'not here') end)", 550, "not here"),
        ("kumo.on('sms_received', function() error('oops') end)", 451, "oops"),
        ("", 550, "no handler for sms_received"),
    ],
)
def test_what_is_not_taken_is_recorded(tmp_path, source, code, words):
    """Refused, failed, or nobody there: never silently dropped."""
    bench, (record,), problem = received(tmp_path, source)
    assert problem is not None
    assert not bench.injected.messages
    assert (record.type, record.response.code) == (RecordType.REJECTION, code)
    assert words in record.response.content
    assert record.sender == "+15551234567@sms"


def test_a_house_that_is_full_takes_no_texts(tmp_path):
    """The provider is to send it again."""
    gate = FakeGate()
    gate.text = "disk is too full"
    _, records, problem = received(tmp_path, "kumo.on('sms_received', function() end)", gate=gate)
    assert isinstance(problem, Overload)
    assert not records


def test_a_name_that_is_no_local_part_is_made_one(tmp_path):
    """Alphanumeric senders may hold anything; CR and LF never reach a header."""
    odd = IncomingSms(channel="smpp", account="me", sender="My\r\nShop <x>", recipient="", text="hi")
    bench, _, _ = received(tmp_path, "kumo.on('sms_received', function(m) kumo.inject_message(m) end)", odd)
    (message,) = bench.injected.messages
    assert (message.sender.email, message.recipients[0].email) == ("My_Shop_x_@sms", "unknown@sms")
    assert b"From: <My_Shop_x_@sms>\r\n" in message.body
