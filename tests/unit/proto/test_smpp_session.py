"""The ESME session: binds, keeps its window, is never left waiting and never crashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import LocalProtocolError
from kumotwist.proto.smpp.bind import BindMode, Credentials
from kumotwist.proto.smpp.commands import GENERIC_NACK, RESPONSE, Command, Status
from kumotwist.proto.smpp.events import Answer, Bound, Ended, Incoming, Refused, Unanswered, Unbound
from kumotwist.proto.smpp.messages import Address, ShortMessage, encode_short_message
from kumotwist.proto.smpp.pdu import Pdu, PduReader
from kumotwist.proto.smpp.session import MAX_INCOMING, MAX_SEQUENCE, EsmeSession, Rules, State

RULES = Rules(window=3, response_timeout=10.0, enquire_interval=30.0)
WHO = Credentials("me", "secret")
TEXT = encode_short_message(ShortMessage(destination=Address("15551234567", 1, 1), short_message=b"hi"))


def sent(session):
    return PduReader().feed(session.data_to_send())


def receive(session, *pdus, now=0.0):
    return list(session.receive_data(b"".join(pdu.encode() for pdu in pdus), now))


def bound(mode=BindMode.TRANSCEIVER, rules=RULES):
    session = EsmeSession(rules)
    session.bind(mode, WHO, 0.0)
    (pdu,) = sent(session)
    assert receive(session, Pdu(pdu.command | RESPONSE, 0, pdu.sequence, b"smsc\0")) == [Bound("smsc")]
    return session


def answer(sequence, message_id=b"id", status=0):
    return Pdu(Command.SUBMIT_SM | RESPONSE, status, sequence, message_id + b"\0")


@pytest.mark.parametrize("mode", list(BindMode))
def test_binding(mode):
    """Each of the three binds; the password goes out and the SMSC's name comes back."""
    session = EsmeSession(RULES)
    session.bind(mode, WHO, 0.0)
    (pdu,) = sent(session)
    assert pdu.command == mode.value
    assert pdu.body.startswith(b"me\0secret\0\0\x34")
    assert not session.can_submit
    assert receive(session, Pdu(mode.value | RESPONSE, 0, pdu.sequence, b"smsc\0")) == [Bound("smsc")]
    assert session.can_submit is (mode is not BindMode.RECEIVER)


def test_a_bind_that_is_refused():
    """The status is handed on; with or without a body."""
    session = EsmeSession(RULES)
    session.bind(BindMode.TRANSCEIVER, WHO, 0.0)
    (pdu,) = sent(session)
    assert receive(session, Pdu(pdu.command | RESPONSE, Status.ESME_RINVPASWD, pdu.sequence)) == [Refused(0x0E)]
    assert session.state is State.ENDED


def test_a_bind_that_the_smsc_does_not_know():
    """generic_nack instead of a response."""
    session = EsmeSession(RULES)
    session.bind(BindMode.TRANSCEIVER, WHO, 0.0)
    assert receive(session, Pdu(GENERIC_NACK, Status.ESME_RINVCMDID, 1)) == [Refused(0x03)]


def test_a_bind_without_answer_ends():
    """Nobody waits for ever."""
    session = EsmeSession(RULES)
    session.bind(BindMode.TRANSCEIVER, WHO, 5.0)
    assert session.next_timeout() == 15.0
    assert session.tick(14.9) == []
    assert isinstance(session.tick(15.0)[0], Ended)
    assert session.next_timeout() == float("inf")


def test_answers_may_come_in_any_order():
    """Matched by sequence number; a second answer, or one to nothing, is passed over."""
    session = bound()
    first, second = session.submit(TEXT, 0.0), session.submit(TEXT, 0.0)
    events = receive(session, answer(second, b"b"), answer(first, b"a"), answer(first, b"x"), answer(999))
    assert events == [Answer(second, 0, "b"), Answer(first, 0, "a")]
    assert session.outstanding == 0


def test_the_window_is_kept():
    """Never more requests without answer than agreed."""
    session = bound()
    sequences = [session.submit(TEXT, 0.0) for _ in range(3)]
    assert not session.can_submit
    with pytest.raises(LocalProtocolError):
        session.submit(TEXT, 0.0)
    receive(session, answer(sequences[1]))
    assert session.can_submit


def test_a_submit_without_answer_is_told_and_frees_its_place():
    """An answer that comes later is passed over."""
    session = bound()
    sequence = session.submit(TEXT, 1.0)
    session.submit(TEXT, 2.0)
    assert session.next_timeout() == 11.0
    assert session.tick(11.0) == [Unanswered(sequence)]
    assert session.outstanding == 1
    assert receive(session, answer(sequence), now=11.5) == []


def test_a_nack_answers_its_request():
    """An SMSC that cannot read a submit_sm refuses just that."""
    session = bound()
    sequence = session.submit(TEXT, 0.0)
    assert receive(session, Pdu(GENERIC_NACK, Status.ESME_RINVCMDLEN, sequence)) == [Answer(sequence, 2, "")]
    assert session.state is State.BOUND


def test_a_nack_of_nothing_ends_the_session():
    """The SMSC lost the thread of the stream."""
    assert isinstance(receive(bound(), Pdu(GENERIC_NACK, Status.ESME_RINVCMDLEN, 0))[0], Ended)


def test_silence_is_asked_about_and_more_silence_ends_the_session():
    """enquire_link after the interval; an answer, or anything else, is a sign of life."""
    session = bound()
    assert session.next_timeout() == 30.0
    assert session.tick(30.0) == []
    (enquiry,) = sent(session)
    assert enquiry.command == Command.ENQUIRE_LINK
    assert session.next_timeout() == 40.0
    assert session.tick(35.0) == []
    assert sent(session) == []
    receive(session, Pdu(Command.ENQUIRE_LINK | RESPONSE, 0, enquiry.sequence), now=36.0)
    assert session.next_timeout() == 66.0
    session.tick(66.0)
    assert isinstance(session.tick(76.0)[0], Ended)


def test_being_asked_is_answered():
    """The SMSC's own enquire_link."""
    session = bound()
    receive(session, Pdu(Command.ENQUIRE_LINK, 0, 77))
    assert sent(session) == [Pdu(Command.ENQUIRE_LINK | RESPONSE, 0, 77)]


@pytest.mark.parametrize("command", [Command.DELIVER_SM, Command.DATA_SM])
def test_a_message_is_handed_on_and_answered(command):
    """The owner says what; each message gets one answer."""
    session = bound()
    body = TEXT if command is Command.DELIVER_SM else b"\0\0\0\0\0\0\0\0\0\0"
    (event,) = receive(session, Pdu(command, 0, 5, body))
    assert isinstance(event, Incoming)
    assert sent(session) == []
    session.acknowledge(event, Status.ESME_RX_T_APPN)
    assert sent(session) == [Pdu(command | RESPONSE, 0x64, 5, b"\0")]


def test_a_message_that_cannot_be_read_is_answered_too():
    """An SMSC that gets no answer stalls."""
    session = bound()
    assert receive(session, Pdu(Command.DELIVER_SM, 0, 5, b"\0\0")) == []
    (pdu,) = sent(session)
    assert (pdu.command, pdu.sequence) == (Command.DELIVER_SM | RESPONSE, 5)
    assert pdu.status != 0


def test_a_flood_of_messages_is_held_off():
    """Beyond a bound the SMSC is told to try later."""
    session = bound()
    pdus = [Pdu(Command.DELIVER_SM, 0, number, TEXT) for number in range(1, MAX_INCOMING + 2)]
    events = receive(session, *pdus)
    assert len(events) == MAX_INCOMING
    assert sent(session) == [Pdu(Command.DELIVER_SM | RESPONSE, Status.ESME_RX_T_APPN, MAX_INCOMING + 1, b"\0")]
    session.acknowledge(events[0])
    assert len(receive(session, pdus[-1])) == 1


def test_messages_before_the_bind_are_refused():
    """Nobody knows yet whom they would be for."""
    session = EsmeSession(RULES)
    session.bind(BindMode.TRANSCEIVER, WHO, 0.0)
    session.data_to_send()
    assert receive(session, Pdu(Command.DELIVER_SM, 0, 5, TEXT)) == []
    assert sent(session)[0].status == Status.ESME_RINVBNDSTS


def test_goodbye_from_our_side():
    """Answers still come in until the SMSC agrees."""
    session = bound()
    sequence = session.submit(TEXT, 0.0)
    session.data_to_send()
    session.unbind(1.0)
    (pdu,) = sent(session)
    assert not session.can_submit
    assert receive(session, answer(sequence), Pdu(Command.UNBIND | RESPONSE, 0, pdu.sequence)) == [
        Answer(sequence, 0, "id"),
        Unbound(),
    ]


def test_goodbye_without_answer_is_bounded():
    """A peer that does not say goodbye does not keep us."""
    session = bound()
    session.unbind(1.0)
    assert isinstance(session.tick(11.0)[0], Ended)


def test_goodbye_from_the_smsc():
    """Answered; nothing of what follows counts."""
    session = bound()
    assert receive(session, Pdu(Command.UNBIND, 0, 9), Pdu(Command.ENQUIRE_LINK, 0, 10)) == [Unbound()]
    assert sent(session) == [Pdu(Command.UNBIND | RESPONSE, 0, 9)]


@pytest.mark.parametrize("command", [Command.SUBMIT_SM, Command.BIND_RECEIVER, 0x0F00, Command.QUERY_SM])
def test_requests_that_are_not_for_us(command):
    """generic_nack, and the session goes on."""
    session = bound()
    assert receive(session, Pdu(command, 0, 8)) == []
    assert sent(session) == [Pdu(GENERIC_NACK, Status.ESME_RINVCMDID, 8)]
    assert session.state is State.BOUND


@pytest.mark.parametrize("command", [Command.ALERT_NOTIFICATION, Command.OUTBIND])
def test_requests_that_have_no_response(command):
    """Passed over (SMPP 3.4 s4.12.1)."""
    session = bound()
    receive(session, Pdu(command, 0, 8, b"\0\0\0\0\0\0"))
    assert sent(session) == []


def test_a_length_that_lies_ends_the_session():
    """The SMSC hears why; the events before it count."""
    session = bound()
    sequence = session.submit(TEXT, 0.0)
    session.data_to_send()
    events = list(session.receive_data(answer(sequence).encode() + b"\xff\xff\xff\xff" + bytes(12), 0.0))
    assert events[0] == Answer(sequence, 0, "id")
    assert isinstance(events[1], Ended)
    assert sent(session) == [Pdu(GENERIC_NACK, Status.ESME_RINVCMDLEN, 0)]


def test_sequence_numbers_start_anew_and_pass_over_those_in_use():
    """After 2^31 - 1 comes 1 (SMPP 3.4 s3.2)."""
    session = bound()
    session._sequence = MAX_SEQUENCE - 1
    assert [session.submit(TEXT, 0.0) for _ in range(3)] == [MAX_SEQUENCE, 1, 2]
    session._sequence = MAX_SEQUENCE
    receive(session, answer(1))
    session._waiting[1] = 5.0
    session._waiting.pop(2)
    assert session.submit(TEXT, 0.0) == 2


PEER = st.lists(
    st.builds(
        Pdu,
        st.sampled_from([command | bit for command in Command for bit in (0, RESPONSE)] + [GENERIC_NACK, 0x777]),
        st.sampled_from([0, 1, 0x58, 0x500]),
        st.integers(0, 4),
        st.one_of(st.binary(max_size=30), st.just(b"id\0"), st.just(TEXT)),
    ),
    max_size=8,
)


@given(PEER, st.binary(max_size=20), st.data())
def test_any_split_gives_the_same_events_and_nothing_crashes(pdus, tail, data):
    """Whatever a peer sends and however the network cuts it."""
    stream = b"".join(pdu.encode() for pdu in pdus) + tail
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))

    def play(pieces):
        session = EsmeSession(RULES)
        session.bind(BindMode.TRANSCEIVER, WHO, 0.0)
        if data_is_bound:
            session.receive_data(Pdu(Command.BIND_TRANSCEIVER | RESPONSE, 0, 1, b"smsc\0").encode(), 0.0)
            session.submit(TEXT, 0.0)
        events = [event for piece in pieces for event in session.receive_data(piece, 1.0)]
        events.extend(session.tick(100.0))
        events.extend(session.tick(200.0))
        return events, session.data_to_send(), session.state

    data_is_bound = data.draw(st.booleans())
    whole = play([stream])
    assert play([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]) == whole
    assert whole[2] is State.ENDED
