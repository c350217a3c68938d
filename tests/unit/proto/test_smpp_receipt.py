"""Receipts as SMSCs write them, each in its own way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.proto.smpp.commands import Tag
from kumotwist.proto.smpp.fields import Tlv
from kumotwist.proto.smpp.messages import Address, ShortMessage
from kumotwist.proto.smpp.receipt import MessageState, read_receipt

STANDARD = (
    b"id:0123456789 sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 "
    b"stat:DELIVRD err:000 text:stat:REJECTD id:other"
)


def deliver(text=b"", esm_class=0x04, *tlvs):
    return ShortMessage(
        source=Address("15551234567", 1, 1),
        short_message=text,
        esm_class=esm_class,
        tlvs=tuple(Tlv(*one) for one in tlvs),
    )


def test_the_customary_text():
    """SMPP 3.4 appendix B; what the message itself says behind `text:` is not taken for the receipt's."""
    receipt = read_receipt(deliver(STANDARD))
    assert receipt.message_id == "0123456789"
    assert receipt.state is MessageState.DELIVERED
    assert receipt.error == ""
    assert receipt.done_at == 1795590780.0
    assert receipt.recipient == "15551234567"
    assert not receipt.is_intermediate


@pytest.mark.parametrize(
    ("text", "message_id", "state", "error"),
    [
        (b"id:7F00AA sub:1 submitdate:261125071200 donedate:261125071300 stat:UNDELIV err:69", "7F00AA", 5, "69"),
        (b"ID: 55 STAT: EXPIRED ERR: 0D0", "55", 3, "0D0"),
        (b"id:a-b-c sub:001 submit date:20261125071200 done date:20261125071300 stat:DELIVERED err:0", "a-b-c", 2, ""),
        (b"id:1 stat:FAILED err:12", "1", 5, "12"),
        (b"id:1 stat:DELETED", "1", 4, ""),
        (b"id:1 stat:ACCEPTD", "1", 6, ""),
        (b"id:1 stat:SOMETHING", "1", 7, ""),
        (b"nothing to read", "", 7, ""),
    ],
)  # fmt: skip
def test_texts_of_other_vendors(text, message_id, state, error):
    """Case, blanks, lengths of dates and cut words differ; the id and the state are found."""
    receipt = read_receipt(deliver(text))
    assert (receipt.message_id, receipt.state, receipt.error) == (message_id, state, error)


def test_parameters_rule_over_the_text():
    """receipted_message_id, message_state and network_error_code are exact; the text is for people."""
    receipt = read_receipt(
        deliver(
            b"id:999 stat:DELIVRD err:000",
            0x04,
            (Tag.RECEIPTED_MESSAGE_ID, b"abc\0"),
            (Tag.MESSAGE_STATE, b"\x08"),
            (Tag.NETWORK_ERROR_CODE, b"\x03\x00\x15"),
        )
    )
    assert (receipt.message_id, receipt.state, receipt.error) == ("abc", MessageState.REJECTED, "3:21")


@pytest.mark.parametrize(
    "message",
    [deliver(STANDARD, 0), deliver(b"", 0, (Tag.RECEIPTED_MESSAGE_ID, b"0123456789\0"), (Tag.MESSAGE_STATE, b"\x02"))],
)
def test_a_receipt_without_the_mark_is_one(message):
    """SMSCs that forget esm_class are understood."""
    assert read_receipt(message).message_id == "0123456789"


def test_a_payload_holds_the_text_too():
    """message_payload in place of short_message."""
    assert read_receipt(deliver(b"", 0x04, (Tag.MESSAGE_PAYLOAD, STANDARD))).message_id == "0123456789"


def test_what_a_subscriber_writes_is_no_receipt():
    """STOP, and a text that merely has the word id in it."""
    assert read_receipt(deliver(b"STOP", 0)) is None
    assert read_receipt(deliver(b"my id: 5", 0)) is None
    assert read_receipt(deliver(b"\x05\x00\x03\x01\x02\x01hi", 0x40)) is None


def test_an_intermediate_notification_is_no_end():
    """esm_class 0x20: the delivery goes on."""
    assert read_receipt(deliver(b"id:1 stat:ENROUTE", 0x20)).is_intermediate


@given(st.binary(max_size=254), st.integers(0, 255), st.binary(max_size=6))
def test_any_octets_are_read_or_passed_over(text, esm_class, value):
    """Nothing that an SMSC sends breaks us."""
    receipt = read_receipt(deliver(text, esm_class, (Tag.MESSAGE_STATE, value), (Tag.NETWORK_ERROR_CODE, value)))
    assert receipt is None or isinstance(receipt.state, MessageState)
