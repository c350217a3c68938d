"""Bad input over a real socket: whatever a client sends, nothing is smuggled, lost or left hanging."""

from __future__ import annotations

import re
import socket

import pytest
from pytest_twisted import ensureDeferred
from support.smtp_intake import smtp_house, turns
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions

from kumotwist.config.listener import TraceHeaders

NOT_AN_END = (
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
)
SMUGGLED = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nsmuggled\r\n"
PLAIN = TraceHeaders(received_header=False, supplemental_header=False)
LAX_END = re.compile(rb"(?:\A|[\r\n])\.[\r\n]")


async def start_data(client):
    for command in ("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"):
        assert (await client.ask(command))[:3] == "250"
    assert (await client.ask("DATA"))[:3] == "354"


async def send_in(client, pieces):
    for piece in pieces:
        client.send(piece)
        await turns(3)


@pytest.mark.parametrize("form", NOT_AN_END)
@ensureDeferred
async def test_lookalike_does_not_end_a_message(form):
    """None of the nine forms ends a message, whole or cut at every byte; by default the message is refused."""
    async with smtp_house() as house:
        client = await house.client()
        attack = form + SMUGGLED
        for cut in range(len(form) + 1):
            await start_data(client)
            await send_in(client, [b"hello" + attack[:cut], attack[cut:]])
            assert house.sessions[0]._talk.core.is_receiving_body, "the message has not ended"
            assert (await client.ask(b"."))[:9] == "552 5.6.0"
        await start_data(client)
        await send_in(client, [bytes([octet]) for octet in b"hello" + form])
        client.send(SMUGGLED)
        assert (await client.ask(b"."))[:9] == "552 5.6.0"
        assert await client.ask("NOOP") == "250 the goggles do nothing"
        assert not house.messages


@pytest.mark.parametrize("endings", ["Allow", "Fix"])
@ensureDeferred
async def test_lookalikes_that_are_let_in_are_defused(endings):
    """With Allow and Fix the message is one message, and no form of an end is in what we keep."""
    async with smtp_house(invalid_line_endings=endings, trace_headers=PLAIN) as house:
        client = await house.client()
        for form in NOT_AN_END:
            reply = await client.transaction(b"hello" + form + SMUGGLED)
            assert reply.startswith("250 OK ids=")
        assert len(house.messages) == len(NOT_AN_END)
        for message in house.messages:
            assert message.body.endswith(b"smuggled\r\n")
            stuffed = message.body.replace(b"\r\n.", b"\r\n..")
            assert not LAX_END.search(stuffed.replace(b"\0", b""))


@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@example.com>\r\n", b"EHLO evil.example\r\nMAIL FR", b"\r\n"])
@ensureDeferred
async def test_commands_behind_starttls_in_one_packet_are_dropped(behind):
    """Commands that came in clear behind STARTTLS are never obeyed, and the session starts afresh."""
    async with smtp_house() as house:
        client = await house.client()
        await client.ask("MAIL FROM:<a@b.example>")
        client.send(b"STARTTLS\r\n" + behind)
        assert await client.reply() == "220 Ready to Start TLS"
        await turns()
        assert client.received == b""
        session = house.sessions[0]
        assert session._talk.core.sender is None
        # The handshake goes on as if nothing had been said.
        client.transport.startTLS(CertificateOptions())
        lines = (await client.ask("EHLO client.test")).split("\n")
        assert "250-AUTH PLAIN LOGIN" in lines or "250 AUTH PLAIN LOGIN" in lines
        assert "250-STARTTLS" not in lines
        assert (await client.ask("RCPT TO:<c@d.example>"))[:3] == "503"
        assert (await client.transaction())[:3] == "250"
        assert house.messages[0].sender.email == "a@b.example"
        assert house.messages[0].body.split(b"\r\n")[3].startswith(b"  with ESMTPS (TLSv1.3:")


@ensureDeferred
async def test_pipelined_starttls_behind_slow_policy_drops_what_follows():
    """Also when policy took its time over an earlier command."""
    wait = Deferred()
    async with smtp_house({"smtp_server_mail_from": lambda *_: wait}) as house:
        client = await house.client()
        client.send(b"MAIL FROM:<a@b.example>\r\nSTARTTLS\r\nRCPT TO:<evil@example.com>\r\n")
        await turns()
        client.send(b"NOOP\r\n")
        await turns()
        wait.callback(None)
        assert await client.reply() == "250 OK <a@b.example>"
        assert await client.reply() == "220 Ready to Start TLS"
        await turns()
        assert client.received == b""


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"NOOP " + b"x" * 3000, "500 5.2.3 line too long"),
        (b"MAIL FROM:<" + b"x" * 3000 + b"@example.com>", "500 5.2.3 line too long"),
        (b"NOOP " + b"x" * 300_000, "500 5.2.3 line too long"),
        (
            b"MAIL FROM:<a\0b@example.com>",
            "501 Syntax error in command or arguments: control characters are not allowed",
        ),
        (
            b"MAIL FROM:<a@b>\rRCPT TO:<c@d>",
            "501 Syntax error in command or arguments: control characters are not allowed",
        ),
        (b"MAIL FROM:<\xfc@example.com>", "501 5.5.2 Invalid UTF-8 in command"),
        (b"\xff\xfe\xfd", "501 5.5.2 Invalid UTF-8 in command"),
        (b"\0", "501 Syntax error in command or arguments: control characters are not allowed"),
    ],
)
@ensureDeferred
async def test_bad_commands(command, reply):
    """Over-long lines, NUL, bare CR and octets that are no UTF-8 are refused, and the session goes on."""
    async with smtp_house() as house:
        client = await house.client()
        assert await client.ask(command) == reply
        assert (await client.transaction())[:3] == "250"


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"Subject: " + b"x" * 990 + b"\r\n\r\nhi\r\n", "500 5.2.3 line too long"),
        (b"Subject: x\r\n\r\n" + b"y" * 999 + b"\r\n", "500 5.2.3 line too long"),
        (b"Subject: x\r\n\r\n" + b"y" * 200_000 + b"\r\n", "552 5.3.4 message too big"),
        ((b"z" * 998 + b"\r\n") * 300, "552 5.3.4 message too big"),
        (b"a\0b\r\n", "552 5.6.0 message data must not contain NUL"),
        (b"a\rb\r\n", "552 5.6.0 message data must use CRLF for line endings"),
        (b"a\nb\r\n", "552 5.6.0 message data must use CRLF for line endings"),
    ],
)
@ensureDeferred
async def test_bad_bodies(body, reply):
    """Over-long headers and lines, too big messages, NUL, bare CR and LF: refused after the dot."""
    async with smtp_house(max_message_size=100_000) as house:
        client = await house.client()
        assert await client.transaction(body) == reply
        assert not house.messages
        assert (await client.transaction())[:3] == "250"


@ensureDeferred
async def test_too_many_recipients():
    """Past max_recipients_per_message the others are refused for now; those taken are delivered to."""
    async with smtp_house(max_recipients_per_message=3, batch_handling="BatchByDomain") as house:
        client = await house.client()
        await client.ask("MAIL FROM:<>")
        replies = [await client.ask("RCPT TO:<c@d.example>") for _ in range(5)]
        assert replies == ["250 OK <c@d.example>"] * 3 + ["452 4.5.3 too many recipients"] * 2
        await client.ask("DATA")
        assert (await client.ask("x\r\n."))[:3] == "250"
        assert len(house.messages[0].recipients) == 3


@ensureDeferred
async def test_size_that_cannot_fit_is_refused_at_mail():
    """A declared SIZE over the limit is refused before the body is sent (RFC 1870)."""
    async with smtp_house(max_message_size=1000) as house:
        client = await house.client()
        assert await client.ask("MAIL FROM:<a@b.example> SIZE=1001") == "552 5.3.4 message too big"


@ensureDeferred
async def test_client_that_stalls_between_commands():
    """Idle for client_timeout: 421 and the end."""
    async with smtp_house() as house:
        client = await house.client()
        await house.pass_time(58)
        assert not client.is_closed
        assert await client.ask("NOOP") == "250 the goggles do nothing"
        await house.pass_time(62)
        assert await client.closed() == b"421 4.3.2 mx.test idle too long\r\n"


@ensureDeferred
async def test_client_that_stalls_within_a_body():
    """The same in the middle of a message, which is forgotten."""
    async with smtp_house() as house:
        client = await house.client()
        await start_data(client)
        client.send(b"half a message\r\n")
        await house.pass_time(62)
        assert await client.closed() == b"421 4.3.2 mx.test idle too long\r\n"
        assert not house.store.saved


@ensureDeferred
async def test_client_that_drips():
    """A body that comes octet by octet for ever meets data_processing_timeout."""
    async with smtp_house(data_processing_timeout=120.0) as house:
        client = await house.client()
        await start_data(client)
        for _ in range(121):
            client.send(b"x")
            await turns(2)
            await house.pass_time(1)
        assert await client.closed() == b"451 4.4.5 data_processing_timeout exceeded (rx)\r\n"


@ensureDeferred
async def test_client_that_never_speaks():
    """A connection that says nothing at all is closed."""
    async with smtp_house() as house:
        client = await house.client(hello="")
        await house.pass_time(62)
        assert await client.closed() == b"421 4.3.2 mx.test idle too long\r\n"


@pytest.mark.parametrize("stage", ["greeted", "mail", "data", "body", "dot", "starttls"])
@ensureDeferred
async def test_client_that_resets(stage):
    """A reset at any step leaves no session, no message and no error behind."""
    async with smtp_house() as house:
        house.store.hold = True
        client = await house.client()
        if stage == "starttls":
            await client.ask("STARTTLS")
        elif stage != "greeted":
            await client.ask("MAIL FROM:<a@b.example>")
        if stage in ("data", "body", "dot"):
            await client.ask("RCPT TO:<c@d.example>")
            await client.ask("DATA")
        if stage in ("body", "dot"):
            client.send(b"text\r\n" + (b".\r\n" if stage == "dot" else b""))
        await turns()
        client.transport.abortConnection()
        await client.closed()
        await turns(8)
        assert not house.sessions
        house.store.release()
        assert not house.store.saved
        assert not house.messages


@ensureDeferred
async def test_garbage_in_place_of_a_handshake():
    """What is no TLS behind STARTTLS ends the connection, not the daemon."""
    async with smtp_house() as house:
        client = await house.client()
        await client.ask("STARTTLS")
        client.send(b"EHLO still in clear\r\n" * 100)
        await client.closed()
        await turns()
        assert not house.sessions


@ensureDeferred
async def test_flood_of_commands_while_policy_thinks():
    """Pipelined commands wait in the client's kernel, not in our memory."""
    wait = Deferred()
    async with smtp_house({"smtp_server_mail_from": lambda *_: wait}) as house:
        client = await house.client()
        client.send(b"MAIL FROM:<a@b.example>\r\n")
        count = 400_000
        client.send(b"NOOP\r\n" * count)
        await turns(200)
        assert house.sessions[0]._talk.core.buffered < 300_000
        wait.callback(None)
        assert await client.reply() == "250 OK <a@b.example>"
        await turns(50)
        client.transport.abortConnection()


@ensureDeferred
async def test_client_that_does_not_read_its_replies():
    """A client that only sends is not read from any more once its replies pile up."""
    async with smtp_house() as house:
        client = await house.client()
        client.transport.pauseProducing()
        client.send(b"NOOP\r\n" * 2_000_000)
        await turns(300)
        session = house.sessions[0]
        assert not session._is_reading
        backlog = len(session.transport.dataBuffer) + session.transport._tempDataLen
        assert backlog < 4_000_000
        client.transport.abortConnection()


@ensureDeferred
async def test_replies_stay_in_order_for_a_client_that_reads_late():
    """However the kernel takes our replies, they arrive whole and in order."""
    count = 30_000
    async with smtp_house(max_recipients_per_message=count, max_messages_per_connection=count) as house:
        client = await house.client()
        await client.ask("MAIL FROM:<>")
        client.transport.pauseProducing()
        client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        house.sessions[0].transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.send(b"".join(b"RCPT TO:<user%d@d.example>\r\n" % number for number in range(count)))
        await turns(50)
        assert not house.sessions[0]._out.writes_at_once, "the kernel has had enough at least once"
        client.transport.resumeProducing()
        while client.received.count(b"\r\n") < count:
            await turns(1)
        assert client.received == b"".join(b"250 OK <user%d@d.example>\r\n" % number for number in range(count))


@ensureDeferred
async def test_client_that_closes_its_side_after_the_last_command():
    """A client that half-closes behind a pipelined session still gets its message taken and its replies."""
    async with smtp_house() as house:
        house.store.hold = True
        client = await house.raw()
        client.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n")
        client.transport.loseWriteConnection()
        await turns(10)
        assert not house.messages
        house.store.release()
        received = await client.closed()
        assert [line[:3] for line in received.split(b"\r\n")[:-1]] == [b"220", b"250", b"250", b"354", b"250", b"221"]
        assert len(house.messages) == 1
