"""Whose fault a report by mail says it was."""

import pytest
from support.reports import bounce_of, complaint_about

from kumotwist.core.receipt import ReceiptClass, ReceiptState
from kumotwist.intake.returned import event_of_bounce, event_of_complaint, origin_of_complaint
from kumotwist.proto import arf, dsn
from kumotwist.queue.routes.signals import Signal, signal_of_receipt

ORIGINAL = "Message-ID: <m1@shop.example>\r\nSubject: hi\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("status", "reply", "expected"),
    [
        ("5.7.1", "550 5.7.1 blocked", ReceiptClass.BLOCK),
        ("5.0.0", "554 5.7.1 your reputation", ReceiptClass.BLOCK),
        ("5.6.0", "550 5.6.0 not like this", ReceiptClass.CONTENT),
        ("4.4.7", "451 4.4.7 expired", ReceiptClass.UNDETERMINED),
        ("5.1.1", "550 5.1.1 unknown user", ReceiptClass.HARD),
        ("5.2.2", "552 5.2.2 mailbox full", ReceiptClass.HARD),
        ("5.0.0", "550 no", ReceiptClass.HARD),
        ("what", "550 no such user", ReceiptClass.HARD),
    ],
)
def test_a_bounce_that_is_the_recipients_fault_blames_no_route(status, reply, expected):
    """An unknown user, a full mailbox, and what does not say; a block, the content and the way itself do."""
    (failed,) = dsn.parse(bounce_of(ORIGINAL, "ann@far.test", status, reply).encode()).failed
    event = event_of_bounce(failed)
    assert (event.channel, event.state, event.class_) == ("mail", ReceiptState.FAILED, expected)
    assert event.recipient == "ann@far.test"
    signal = None if expected is ReceiptClass.HARD else Signal.LOST
    assert signal_of_receipt(event.state, event.class_) is signal


@pytest.mark.parametrize(
    ("kind", "signal"), [("abuse", Signal.LOST), ("Fraud", Signal.LOST), ("opt-out", None), ("not-spam", None)]
)
def test_a_complaint_counts_and_its_contrary_does_not(kind, signal):
    """Who calls it spam counts against the way it came; who says that it is none, or wants no more, does not."""
    feedback = arf.parse(complaint_about(ORIGINAL, kind).encode())
    event = event_of_complaint(feedback)
    assert signal_of_receipt(event.state, event.class_) is signal
    assert event.recipient == ""
    assert origin_of_complaint(feedback).message_id == "m1@shop.example"
