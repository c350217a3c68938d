"""The client's wire core: transactions with and without pipelining, LMTP, servers that lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import LocalProtocolError, RemoteProtocolError
from kumotwist.proto.smtp import client_commands
from kumotwist.proto.smtp.client import ClientSession
from kumotwist.proto.smtp.client_commands import Step
from kumotwist.proto.smtp.client_transaction import Transaction

BODY = b"Subject: x\r\n\r\n.dot\r\n"
MAIL = "MAIL FROM:<a@b.c>\r\n"


def rcpts(count):
    return [f"RCPT TO:<r{number}@x.y>\r\n" for number in range(count)]


def transaction(count=1, **options):
    return Transaction(MAIL, rcpts(count), BODY, **options)


def converse(exchange, *answers):
    """Everything we write, when the server says `answers` one write at a time."""
    session = ClientSession()
    written = [session.start(exchange)]
    written.extend(b"".join(session.receive_data(answer)) for answer in answers)
    return session, written


def codes(exchange):
    return [result.code for result in exchange.results]


def test_a_delivery_takes_two_round_trips():
    """With PIPELINING a message costs two round trips (RFC 2920)."""
    exchange = transaction(2)
    _, written = converse(exchange, b"250 a\r\n250 b\r\n250 c\r\n354 go\r\n", b"250 2.0.0 queued as 7\r\n")
    assert written == [(MAIL + "".join(rcpts(2)) + "DATA\r\n").encode(), b"Subject: x\r\n\r\n..dot\r\n.\r\n", b""]
    assert exchange.is_done
    assert exchange.is_clean
    assert [result.to_line() for result in exchange.results] == ["250 2.0.0 queued as 7"] * 2
    assert exchange.results[0].command == "."


def test_without_pipelining_each_command_waits_for_its_reply():
    """A server that does not offer PIPELINING gets one command at a time."""
    exchange = transaction(2, pipelines=False)
    _, written = converse(exchange, b"250 a\r\n", b"250 b\r\n", b"250 c\r\n", b"354 go\r\n", b"250 ok\r\n")
    assert written == [
        MAIL.encode(),
        *(line.encode() for line in rcpts(2)),
        b"DATA\r\n",
        b"Subject: x\r\n\r\n..dot\r\n.\r\n",
        b"",
    ]
    assert codes(exchange) == [250, 250]


def test_each_recipient_has_its_own_result():
    """One refused recipient does not keep the others from their mail."""
    exchange = transaction(3)
    converse(exchange, b"250 a\r\n550 5.1.1 no\r\n250 ok\r\n450 later\r\n354 go\r\n", b"250 queued\r\n")
    assert codes(exchange) == [550, 250, 450]
    assert exchange.results[0].command == "RCPT TO:<r0@x.y>\r\n"
    assert exchange.is_clean


@pytest.mark.parametrize("pipelines", [True, False])
def test_a_refused_sender_is_everybodys_result(pipelines):
    """A refused MAIL is the result for all recipients, not the 503 behind it."""
    exchange = transaction(2, pipelines=pipelines)
    answers = b"550 5.7.1 go away\r\n" + (b"503 mail first\r\n" * 3 if pipelines else b"")
    session, written = converse(exchange, answers)
    assert codes(exchange) == [550, 550]
    assert exchange.results[0].command == MAIL
    assert written[1] == b""
    assert not exchange.is_clean
    assert session.is_usable


def test_data_accepted_without_recipients_gets_a_lone_dot():
    """A server that takes DATA although it refused everybody gets an empty message (RFC 2920 s3.1)."""
    exchange = transaction(1)
    session, written = converse(exchange, b"250 a\r\n550 no\r\n354 go\r\n", b"554 no recipients\r\n")
    assert written[1] == b".\r\n"
    assert codes(exchange) == [550]
    assert session.is_usable
    assert not exchange.is_clean


def test_data_is_not_asked_for_without_recipients():
    """Without pipelining DATA is not even sent when nobody is left."""
    exchange = transaction(1, pipelines=False)
    converse(exchange, b"250 a\r\n", b"550 no\r\n")
    assert exchange.is_done
    assert codes(exchange) == [550]


def test_mail_refused_but_recipients_taken_disconnects():
    """A lone dot to a server that took recipients would deliver an empty message; we hang up instead."""
    exchange = transaction(1)
    session, written = converse(exchange, b"451 a\r\n250 ok\r\n354 go\r\n")
    assert written[1] == b""
    assert codes(exchange) == [451]
    assert not session.is_usable


def test_a_refused_rset_is_the_messages_result():
    """A server that refuses RSET has refused the message behind it."""
    exchange = transaction(1, resets=True)
    session, written = converse(exchange, b"450 rset\r\n250 a\r\n250 b\r\n451 data\r\n")
    assert written[0].startswith(b"RSET\r\nMAIL")
    assert exchange.results[0].to_line() == "450 rset"
    assert session.is_usable


@pytest.mark.parametrize("position", range(5))
def test_421_anywhere_is_the_result_and_the_end(position):
    """421 in place of any reply ends the connection; nobody undecided is taken for delivered (RFC 5321 s3.8)."""
    exchange = transaction(2)
    script = [b"250 a\r\n", b"250 b\r\n", b"250 c\r\n", b"354 go\r\n", b"250 done\r\n"][:position]
    session, _ = converse(exchange, *script, b"421 4.3.2 going down\r\n")
    assert codes(exchange) == [421, 421]
    assert exchange.is_done
    assert not session.is_usable


def test_decided_recipients_keep_their_result_when_421_comes():
    """A recipient refused for good before the 421 stays refused."""
    exchange = transaction(2)
    converse(exchange, b"250 a\r\n550 no\r\n421 bye\r\n")
    assert codes(exchange) == [550, 421]


@pytest.mark.parametrize(
    "answers", [[b"354 a\r\n250 b\r\n550 x\r\n"], [b"250 a\r\n250 b\r\n354 c\r\n", b"354 again\r\n"]]
)
def test_a_code_of_the_wrong_kind_breaks_the_session(answers):
    """A 3yz where a result is due means that we are out of step: retry later on a new connection."""
    exchange = transaction(1)
    session, _ = converse(exchange, *answers)
    assert codes(exchange) == [354]
    assert not session.is_usable


def test_data_answered_with_250_is_no_delivery():
    """A server that says 250 to DATA has not got the message, so it counts as a passing failure."""
    exchange = transaction(1)
    session, _ = converse(exchange, b"250 a\r\n250 b\r\n250 c\r\n")
    assert exchange.results[0].code == 400
    assert "unexpected response to DATA: 250 c" in exchange.results[0].content
    assert not session.is_usable


def test_lmtp_answers_for_each_accepted_recipient():
    """LMTP: one final reply for each recipient that was accepted (RFC 2033 s4.2)."""
    exchange = transaction(3, is_lmtp=True)
    session, _ = converse(
        exchange, b"250 a\r\n250 r0\r\n550 r1\r\n250 r2\r\n354 go\r\n", b"250 ok\r\n", b"452 full\r\n"
    )
    assert codes(exchange) == [250, 550, 452]
    assert session.is_usable
    assert not exchange.is_clean


def test_a_reply_before_the_body_is_sent_does_not_count():
    """A server cannot claim a message that it has not been sent."""
    session = ClientSession()
    session.start(transaction(1))
    with pytest.raises(RemoteProtocolError, match="before it is asked"):
        session.receive_data(b"250 a\r\n250 b\r\n354 go\r\n250 got it\r\n")
    assert not session.is_usable


def test_what_stands_behind_the_220_of_starttls_is_dropped():
    """Nothing that was injected in clear text survives into the encrypted session (CVE-2011-0411)."""
    session = ClientSession()
    session.start(client_commands.hello("me", False))
    session.receive_data(b"250-you\r\n250-PIPELINING\r\n250 STARTTLS\r\n")
    assert session.capabilities.has_starttls
    command = client_commands.starttls()
    session.start(command)
    session.receive_data(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n250 half")
    session.tls_started()
    assert not session.capabilities.keywords
    hello = client_commands.hello("me", False)
    session.start(hello)
    assert session.receive_data(b"250 you\r\n") == ()
    assert hello.reply.text == "you"


def test_421_while_idle_ends_the_session():
    """A server's goodbye on an idle connection is noticed before the next message."""
    session = ClientSession()
    session.receive_data(b"421 idle too long\r\n")
    assert session.farewell.code == 421
    with pytest.raises(LocalProtocolError):
        session.start(transaction())


def test_unasked_words_end_the_session():
    """A server that talks out of turn is not trusted with the next message."""
    session = ClientSession()
    with pytest.raises(RemoteProtocolError):
        session.receive_data(b"250 what?\r\n")
    assert not session.is_usable


def test_half_a_reply_before_we_ask_ends_the_session():
    """Half a reply in the buffer would be taken for the answer to the next command."""
    session = ClientSession()
    session.receive_data(b"250 de")
    with pytest.raises(RemoteProtocolError):
        session.start(transaction())


def test_commands_cannot_carry_line_ends():
    """Nothing in a host name can start another command."""
    with pytest.raises(LocalProtocolError):
        client_commands.hello("a\r\nMAIL FROM:<>", False)


def test_a_password_is_not_shown():
    """The password is in no text about the exchange."""
    command = client_commands.auth_plain("u", b"secret")
    assert command.waiting_for == "AUTH PLAIN"
    assert command.step is Step.AUTH
    assert command.opening() == b"AUTH PLAIN AHUAc2VjcmV0\r\n"


REPLY = st.sampled_from(
    [b"250 ok\r\n", b"354 go\r\n", b"421 bye\r\n", b"450 x\r\n", b"503 x\r\n", b"550 x\r\n", b"251 x\r\n"]
)


@given(
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(REPLY, max_size=16),
    st.lists(st.integers(0, 200)),
)
def test_a_lying_server_never_makes_a_delivery_of_less(count, resets, pipelines, is_lmtp, replies, cuts):
    """Whatever a server answers, nobody counts as delivered whose RCPT and end of data were not both accepted."""
    exchange = transaction(count, resets=resets, pipelines=pipelines, is_lmtp=is_lmtp)
    session = ClientSession()
    sent = session.start(exchange)
    taken = 0
    try:
        for reply in replies:
            if exchange.is_done:
                break
            taken += 1
            for start, end in ((0, cuts[0] % len(reply)), (cuts[0] % len(reply), None)) if cuts else ((0, None),):
                sent += b"".join(session.receive_data(reply[start:end]))
    except RemoteProtocolError:
        assert not session.is_usable
    delivered = [number for number, result in enumerate(exchange.results) if result and result.code < 300]
    if not exchange.is_done:
        return
    assert all(result is not None for result in exchange.results)
    if delivered:
        answered = [reply[:1] for reply in replies[:taken]]
        first_rcpt = 1 + resets
        assert b"..dot\r\n.\r\n" in sent
        assert all(answered[first_rcpt + number] == b"2" for number in delivered)
        assert b"2" in answered[first_rcpt + count + 1 :]
