"""SMPP on the wire: what we write others read, what others write does us no harm."""

import pytest
import smpp34
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smpp import addressing
from kumotwist.proto.smpp.bind import Credentials, encode_bind
from kumotwist.proto.smpp.commands import Command, Status, Tag, status_name
from kumotwist.proto.smpp.fields import Fields, Malformed, Tlv
from kumotwist.proto.smpp.messages import (
    Address,
    ShortMessage,
    decode_answer,
    decode_short_message,
    encode_short_message,
)
from kumotwist.proto.smpp.pdu import MAX_PDU, Pdu, PduReader
from kumotwist.proto.smpp.words import status_text

OCTET = st.integers(0, 255)
ASCII = st.characters(min_codepoint=1, max_codepoint=127)


def text(limit):
    return st.text(ASCII, max_size=limit)


ADDRESSES = st.builds(Address, text(20), OCTET, OCTET)
TLVS = st.lists(st.builds(Tlv, st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=5).map(tuple)
MESSAGES = st.builds(
    ShortMessage,
    source=ADDRESSES,
    destination=ADDRESSES,
    short_message=st.binary(max_size=254),
    data_coding=OCTET,
    esm_class=OCTET,
    protocol_id=OCTET,
    priority=OCTET,
    registered_delivery=OCTET,
    replace_if_present=OCTET,
    sm_default_msg_id=OCTET,
    service_type=text(5),
    schedule_delivery_time=text(16),
    validity_period=text(16),
    tlvs=TLVS,
)
PDUS = st.lists(st.builds(Pdu, st.integers(0, 0xFFFFFFFF), OCTET, st.integers(0, 0xFFFFFFFF), st.binary(max_size=60)))


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message):
    """Every field and every optional parameter, unknown ones too."""
    assert decode_short_message(Command.SUBMIT_SM, encode_short_message(message)) == message


@given(MESSAGES, st.integers(1, 0x7FFFFFFF))
def test_another_implementation_writes_the_same_octets(message, sequence):
    """smpp34, written by others from the same specification, agrees octet by octet."""
    theirs = smpp34.SubmitSm(
        message.source.digits,
        message.destination.digits,
        message.short_message,
        service_type=message.service_type,
        source_addr_ton=message.source.ton,
        source_addr_npi=message.source.npi,
        dest_addr_ton=message.destination.ton,
        dest_addr_npi=message.destination.npi,
        esm_class=message.esm_class,
        protocol_id=message.protocol_id,
        priority_flag=message.priority,
        schedule_delivery_time=message.schedule_delivery_time,
        validity_period=message.validity_period,
        registered_delivery=message.registered_delivery,
        replace_if_present_flag=message.replace_if_present,
        data_coding=message.data_coding,
        sm_default_msg_id=message.sm_default_msg_id,
        tlvs=[smpp34.Tlv(one.tag, one.value) for one in message.tlvs],
        sequence_number=sequence,
    )
    ours = Pdu(Command.SUBMIT_SM, 0, sequence, encode_short_message(message)).encode()
    assert theirs.encode() == ours
    assert smpp34.decode(ours).destination_addr == message.destination.digits


@given(PDUS, st.data())
def test_any_split_gives_the_same_pdus(pdus, data):
    """How TCP cuts the stream does not matter."""
    stream = b"".join(pdu.encode() for pdu in pdus)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = PduReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found.extend(reader.feed(stream[start:end]))
    assert found == pdus
    assert reader.problem is None


@pytest.mark.parametrize("length", [0, 15, MAX_PDU + 1, 0xFFFFFFFF])
def test_a_length_that_lies_is_not_believed(length):
    """Nothing is waited for or set aside for four gigabytes; what came before counts."""
    good = Pdu(Command.ENQUIRE_LINK, 0, 1)
    reader = PduReader()
    assert reader.feed(good.encode() + length.to_bytes(4, "big") + bytes(12)) == [good]
    assert str(length) in str(reader.problem)
    assert not reader.feed(good.encode())


@given(st.binary(max_size=120), st.sampled_from([Command.DELIVER_SM, Command.DATA_SM]))
def test_random_bodies_are_refused_or_read(body, command):
    """A body of any octets is a message or a reason to refuse it, never a crash."""
    try:
        read = decode_short_message(command, body)
    except Malformed as problem:
        read = problem
    assert isinstance(read, ShortMessage) or read.status is not Status.ESME_ROK


@given(MESSAGES, st.data())
def test_a_body_cut_short_is_refused(message, data):
    """Every prefix of a message is a length that lies, unless it ends before a parameter."""
    whole = encode_short_message(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        read = decode_short_message(Command.SUBMIT_SM, whole[:cut])
    except Malformed:
        return
    assert read.tlvs == message.tlvs[: len(read.tlvs)]
    assert len(read.tlvs) < len(message.tlvs)


def test_a_parameter_past_the_end_is_refused():
    """A TLV that claims more than there is."""
    with pytest.raises(Malformed) as caught:
        Fields(b"\x04\x24\x00\x05abc").tlvs()
    assert caught.value.status is Status.ESME_RINVPARLEN


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"destination": Address("4477\x00001")}, "NUL"),
        ({"destination": Address("1" * 21)}, "longer than 20"),
        ({"source": Address("日本")}, "Latin-1"),
        ({"service_type": "toolong"}, "longer than 5"),
        ({"short_message": bytes(255)}, "254"),
        ({"tlvs": (Tlv(Tag.MESSAGE_PAYLOAD, bytes(65536)),)}, "65535"),
    ],
)
def test_what_cannot_be_written_is_refused_before_it_leaves(changed, name):
    """A NUL in a number does not end the field early and shift all that follows."""
    with pytest.raises(LocalProtocolError, match=name):
        encode_short_message(ShortMessage(**changed))


def test_a_password_is_not_shown():
    """Neither in a repr nor in what goes wrong."""
    who = Credentials("me", "s3cr3t" * 20)
    assert "s3cr3t" not in repr(who)
    with pytest.raises(LocalProtocolError) as caught:
        encode_bind(who)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(("body", "message_id"), [(b"", ""), (b"abc\0", "abc"), (b"abc", "abc"), (b"\0", "")])
def test_ids_are_read_as_smscs_write_them(body, message_id):
    """With and without the NUL, and no body at all."""
    assert decode_answer(body).message_id == message_id


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("+15551234567", Address("15551234567", 1, 1)),
        ("15551234567", Address("15551234567", 0, 1)),
        ("12345", Address("12345", 6, 0)),
        ("Shop", Address("Shop", 5, 0)),
        ("", Address("", 0, 0)),
    ],
)
def test_numbers_get_their_type(given, written):
    """International, short code or a name: what the sender looks like decides."""
    assert addressing.guess(given) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "000000000100000R"), (3661, "000000010101000R"), (86400 * 7, "000007000000000R"), (1e12, "000030000000000R")],
)
def test_how_long_a_message_is_good(seconds, written):
    """At least a minute, at most thirty days, in the relative form (SMPP 3.4 s7.1.1.2)."""
    assert addressing.validity(seconds) == written


def test_statuses_have_names():
    """Logs say what the number means; a vendor's own stays a number."""
    assert status_name(0x58) == "ESME_RTHROTTLED (0x58)"
    assert status_name(0x412) == "0x412"
    assert status_text(0x58) == "ESME_RTHROTTLED (0x58), too many messages at once"
    assert status_text(0x412) == "0x412, a status of the SMSC's vendor"
    assert status_text(0xABC) == "0xABC"
    assert not [one for one in Status if one and ", " not in status_text(one)]
