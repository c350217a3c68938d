"""The SMTP way in over real sockets: policy, relay rules, durability, limits, the end."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest
import trustme
from pytest_twisted import ensureDeferred
from support.reports import BOUNCE, COMPLAINT
from support.smtp_intake import smtp_house, turns
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.listener import ListenerDomain, TraceHeaders
from kumotwist.config.option import Cidrs
from kumotwist.core.address import parse_address
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import (
    ConfigError,
    Overload,
    PolicyError,
    Rejection,
    ResolveError,
    SpoolFull,
    SpoolUnhealthy,
)
from kumotwist.core.records import RecordType

PLAIN = TraceHeaders(received_header=False, supplemental_header=False)
NOBODY = Cidrs()


def can_swaks_tls():
    """Whether swaks is there and finds Perl's TLS."""
    if shutil.which("swaks") is None:
        return False
    told = subprocess.run(["swaks", "--support"], capture_output=True, text=True, timeout=30, check=False).stdout
    return "=== TLS supported" in told


def rejecting(code, text, **how):
    def handler(*_):
        raise Rejection(code, text, **how)

    return handler


@ensureDeferred
async def test_greeting_and_extensions():
    """Banner, EHLO and HELO as KumoMTA says them, SIZE announced besides."""
    async with smtp_house() as house:
        client = await house.raw()
        assert await client.reply() == "220 mx.test KumoMTA"
        assert await client.ask("EHLO client.test") == (
            "250-mx.test Aloha client.test\n250-PIPELINING\n250-ENHANCEDSTATUSCODES\n250-8BITMIME\n"
            "250-SMTPUTF8\n250-SIZE 20971520\n250 STARTTLS"
        )
        assert await client.ask("HELO client.test") == "250 Hello client.test!"


@ensureDeferred
async def test_message_arrives_with_trace_headers_and_meta():
    """A message gets Received and X-KumoRef, the connection's meta, and ends up queued."""
    async with smtp_house(meta={"site": "x"}) as house:
        client = await house.client()
        reply = await client.transaction(b"Subject: x\r\n\r\n..dot\r\n")
        (message,) = house.messages
        assert reply == f"250 OK ids={message.id.hex()}"
        lines = message.body.split(b"\r\n")
        assert lines[0].startswith(b"X-KumoRef: eyJ")
        assert json.loads(base64.b64decode(lines[0][11:])) == {"_@_": "\\_/", "recipient": "c@d.example"}
        assert lines[1] == b"Received: from client.test (127.0.0.1)"
        assert lines[2] == b"  by mx.test (KumoMTA 127.0.0.1) "
        assert lines[3] == b"  with ESMTP id %b for <c@d.example>;" % message.id.hex().encode()
        assert lines[5:] == [b"Subject: x", b"", b".dot", b""]
        assert message.has_dots
        port = house.port.getHost().port
        assert message.meta["received_via"] == f"127.0.0.1:{port}"
        assert message.meta["received_from"].startswith("127.0.0.1:")
        assert message.meta["reception_protocol"] == "ESMTP"
        assert message.meta["hostname"] == "mx.test"
        assert message.meta["ehlo_domain"] == "client.test"
        assert message.meta["site"] == "x"
        (record,) = house.recorder.records
        assert (record.type, record.peer.name, record.peer.addr) == (RecordType.RECEPTION, "client.test", "127.0.0.1")
        assert record.reception_protocol == "ESMTP"


@ensureDeferred
async def test_a_message_without_dots_is_not_searched_for_them_again():
    """What the end of data showed is still known when the trace headers stand on top."""
    async with smtp_house() as house:
        client = await house.client()
        await client.transaction(b"Subject: x\r\n\r\nplain.\r\n")
        assert not house.messages[0].has_dots


@ensureDeferred
async def test_250_means_on_disk():
    """The client hears 250 only when the store has the message."""
    async with smtp_house() as house:
        house.store.hold = True
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        client.send(b"x\r\n.\r\n")
        await turns(10)
        assert client.received == b""
        house.store.release()
        assert (await client.reply()).startswith("250 OK ids=")


@ensureDeferred
async def test_policy_events_come_in_order():
    """All events are dispatched, in KumoMTA's order, each with what it should see."""
    seen = []

    def noting(name):
        return lambda *args: seen.append((name, args))

    names = [
        "smtp_server_get_dynamic_parameters",
        "smtp_server_connection_accepted",
        "smtp_server_ehlo",
        "smtp_server_mail_from",
        "get_listener_domain",
        "smtp_server_rcpt_to",
        "smtp_server_data",
        "smtp_server_split_transaction",
        "smtp_server_message_received",
    ]
    async with smtp_house({name: noting(name) for name in names}, trace_headers=PLAIN) as house:
        client = await house.client()
        await client.transaction()
        assert [name for name, _ in seen] == [
            "smtp_server_get_dynamic_parameters",
            "smtp_server_connection_accepted",
            "smtp_server_ehlo",
            "smtp_server_mail_from",
            "smtp_server_rcpt_to",
            "smtp_server_data",
            "smtp_server_split_transaction",
            "smtp_server_message_received",
            "get_listener_domain",
        ]
        arguments = dict(seen)
        assert arguments["smtp_server_ehlo"][0] == "client.test"
        assert "PIPELINING" in arguments["smtp_server_ehlo"][2]
        assert arguments["smtp_server_mail_from"][0].email == "a@b.example"
        assert arguments["smtp_server_rcpt_to"][0].email == "c@d.example"
        assert arguments["smtp_server_data"][0].body == b"Subject: x\r\n\r\nhi\r\n"


@ensureDeferred
async def test_meta_set_on_the_connection_reaches_messages():
    """What policy notes about the connection, each of its messages starts with."""

    def accepted(conn):
        conn.meta["x_note"] = "hello"

    def received(message, conn):
        message.set_meta("queue", "q")
        message.set_body(b"changed\r\n")

    handlers = {"smtp_server_connection_accepted": accepted, "smtp_server_message_received": received}
    async with smtp_house(handlers, trace_headers=PLAIN) as house:
        client = await house.client()
        await client.transaction()
        await client.transaction()
        assert [(m.meta["x_note"], m.meta["queue"], m.body) for m in house.messages] == [
            ("hello", "q", b"changed\r\n")
        ] * 2
        assert "queue" not in house.sessions[0]._talk.client.conn.meta


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        ("smtp_server_ehlo", ["EHLO client.test"]),
        ("smtp_server_mail_from", ["MAIL FROM:<a@b.example>"]),
        ("smtp_server_rcpt_to", ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"]),
        ("smtp_server_data", ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "hi\r\n."]),
        ("smtp_server_split_transaction", ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "hi\r\n."]),
        ("smtp_server_message_received", ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "hi\r\n."]),
    ],
)
@ensureDeferred
async def test_policy_rejects(event, asked):
    """kumo.reject is what the client hears; the session goes on, a Rejection record is logged."""
    async with smtp_house({event: rejecting(550, "5.7.1 not today")}) as house:
        client = await house.client(hello="")
        replies = [await client.ask(command) for command in asked]
        assert replies[-1] == "550 5.7.1 not today"
        assert await client.ask("NOOP") == "250 the goggles do nothing"
        assert not house.messages
        assert not house.store.saved
        (record,) = house.recorder.records
        assert (record.type, record.response.code, str(record.response.enhanced)) == (
            RecordType.REJECTION,
            550,
            "5.7.1",
        )
        assert record.response.content == "not today"
        expected = "." if asked[-1].endswith(".") else asked[-1] + "\r\n"
        assert record.response.command == expected
        if "MAIL" in asked[0]:
            assert record.sender == "a@b.example"
        if len(asked) > 1:
            assert record.recipients == ("c@d.example",)


@ensureDeferred
async def test_a_refused_message_holds_no_body():
    """A policy's handle on it, which Lua keeps for long, does not keep megabytes in memory."""
    seen = []

    async def refuse(message, _):
        seen.append(message)
        raise Rejection(550, "5.7.1 no")

    async with smtp_house({"smtp_server_message_received": refuse}) as house:
        client = await house.client()
        assert await client.transaction(recipients=("a@x.example", "b@y.example")) == "550 5.7.1 no"
        assert [message.body for message in seen] == [None]


@pytest.mark.parametrize(
    ("handler", "heard"),
    [
        (rejecting(421, "4.7.0 go away"), b"421 4.7.0 go away\r\n"),
        (rejecting(550, "5.7.1 bye", disconnect=True), b"550 5.7.1 bye\r\n"),
        (
            rejecting(550, "5.7.1 bye", follow_with_421=True),
            b"550 5.7.1 bye\r\n421 mx.test disconnecting due to previous error\r\n",
        ),
        (rejecting(99, "4.7.0 odd code", disconnect=True), b"451 4.7.0 odd code\r\n"),
    ],
)
@ensureDeferred
async def test_policy_disconnects(handler, heard):
    """421 and kumo.disconnect end the connection; what was pipelined behind is not answered."""
    async with smtp_house({"smtp_server_mail_from": handler}) as house:
        client = await house.client()
        client.send(b"MAIL FROM:<a@b.example>\r\nNOOP\r\n")
        assert await client.closed() == heard


@ensureDeferred
async def test_policy_refuses_the_connection():
    """A rejection before the banner is the banner, and the end."""
    async with smtp_house({"smtp_server_connection_accepted": rejecting(554, "5.7.1 listed")}) as house:
        client = await house.raw()
        assert await client.closed() == b"554 5.7.1 listed\r\n"
        assert house.recorder.records[0].response.code == 554


@ensureDeferred
async def test_failing_policy_ends_the_session():
    """An error in a handler: 421 technical difficulties."""

    def broken(*_):
        raise PolicyError("policy.lua:3: attempt to index a nil value")

    async with smtp_house({"smtp_server_rcpt_to": broken}) as house:
        client = await house.client()
        await client.ask("MAIL FROM:<>")
        client.send(b"RCPT TO:<c@d.example>\r\n")
        assert await client.closed() == b"421 4.3.0 mx.test technical difficulties\r\n"


@ensureDeferred
async def test_slow_policy_does_not_reorder_replies():
    """While a handler waits, pipelined commands wait too; other sessions do not."""
    wait = Deferred()

    def mail_from(address, conn):
        return wait if address.user == "slow" else None

    async with smtp_house({"smtp_server_mail_from": mail_from}) as house:
        slow, quick = await house.client(), await house.client()
        slow.send(b"MAIL FROM:<slow@b.example>\r\nRCPT TO:<c@d.example>\r\nNOOP\r\n")
        assert (await quick.transaction())[:3] == "250"
        assert slow.received == b""
        wait.callback(None)
        replies = [await slow.reply() for _ in range(3)]
        assert replies == ["250 OK <slow@b.example>", "250 OK <c@d.example>", "250 the goggles do nothing"]


@ensureDeferred
async def test_relaying_is_for_relay_hosts():
    """A stranger may send to nobody that policy does not name."""
    async with smtp_house(relay_hosts=NOBODY) as house:
        client = await house.client()
        await client.ask("MAIL FROM:<a@b.example>")
        host = client.transport.getHost()
        assert await client.ask("RCPT TO:<c@d.example>") == (
            f"550 5.7.1 relaying not permitted for 127.0.0.1:{host.port}"
        )


@pytest.mark.parametrize(
    ("domains", "recipient", "code"),
    [
        ({"d.example": ListenerDomain(relay_to=True)}, "c@D.Example", "250"),
        ({"d.example": ListenerDomain(relay_to=True)}, "c@other.example", "550"),
        ({"b.example": ListenerDomain(relay_from=Cidrs.parse("127.0.0.0/8"))}, "c@other.example", "250"),
        ({"b.example": ListenerDomain(relay_from=Cidrs.parse("10.0.0.0/8"))}, "c@other.example", "550"),
        ({"b.example": ListenerDomain(relay_to=True)}, "c@other.example", "550"),
        ({"d.example": ListenerDomain(log_oob=True)}, "c@d.example", "250"),
    ],
)
@ensureDeferred
async def test_listener_domains(domains, recipient, code):
    """relay_to is for the recipient's domain, relay_from for the sender's; reports may be taken, too."""
    asked = []

    def listener_domain(domain, listener, conn):
        asked.append(domain)
        return domains.get(domain)

    async with smtp_house({"get_listener_domain": listener_domain}, relay_hosts=NOBODY) as house:
        client = await house.client()
        await client.ask("MAIL FROM:<a@b.example>")
        assert (await client.ask(f"RCPT TO:<{recipient}>"))[:3] == code
        await client.ask(f"RCPT TO:<{recipient}>")
        assert len(asked) == len(set(asked)), "answers are kept per session"


@pytest.mark.parametrize(
    ("domain", "body", "code", "queued", "recorded"),
    [
        (ListenerDomain(log_oob=True), b"Subject: x\r\n\r\nno report\r\n", "550", 0, 0),
        (ListenerDomain(log_oob=True), b"Content-Type: multipart/report\r\n\r\nno report\r\n", "550", 0, 0),
        (ListenerDomain(log_oob=True), BOUNCE, "250", 0, 1),
        (ListenerDomain(log_oob=True, relay_to=True), BOUNCE, "250", 1, 1),
        (ListenerDomain(log_oob="LogThenDrop", relay_to=True), BOUNCE, "250", 0, 1),
        (ListenerDomain(log_arf="LogThenDrop", relay_to=True), BOUNCE, "250", 1, 1),
    ],
)
@ensureDeferred
async def test_reports(domain, body, code, queued, recorded):
    """Bounce reports for a domain that logs them are taken, and relayed only where relaying is permitted."""
    async with smtp_house({"get_listener_domain": lambda *_: domain}, relay_hosts=NOBODY) as house:
        client = await house.client()
        reply = await client.transaction(body)
        assert reply[:3] == code
        assert len(house.messages) == queued
        assert len(house.recorder.of(RecordType.RECEPTION)) == recorded


@ensureDeferred
async def test_a_bounce_has_a_record_for_each_recipient_that_failed():
    """OOB records as KumoMTA has them, behind the Reception record of the report itself."""
    domain = ListenerDomain(log_oob=True)
    async with smtp_house({"get_listener_domain": lambda *_: domain}, relay_hosts=NOBODY) as house:
        assert (await (await house.client()).transaction(BOUNCE))[:3] == "250"
        received, unknown, full = house.recorder.records
        assert [one.type.value for one in house.recorder.records] == ["Reception", "OOB", "OOB"]
        assert (unknown.sender, unknown.recipients) == (received.recipients[0], ("alias@example.org",))
        assert unknown.response.code == 550
        assert str(unknown.response.enhanced) == "5.1.1"
        assert (unknown.event_time, unknown.size) == (1795462177.0, 0)
        assert (unknown.peer.name, unknown.peer.addr) == ("mx.example.net", received.peer.addr)
        assert unknown.message is received.message
        assert unknown.session_id == received.session_id
        assert (full.recipients, full.response.content) == (("full@example.net",), "")
        assert full.event_time == received.event_time


@ensureDeferred
async def test_a_complaint_stands_in_the_place_of_its_reception():
    """Feedback records as KumoMTA has them; an ignored complaint is a Reception like any other."""
    domain = ListenerDomain(log_arf="LogThenDrop")
    async with smtp_house({"get_listener_domain": lambda *_: domain}, relay_hosts=NOBODY) as house:
        assert (await (await house.client()).transaction(COMPLAINT))[:3] == "250"
        (record,) = house.recorder.records
        assert record.type is RecordType.FEEDBACK
        assert record.feedback_report["feedback_type"] == "abuse"
        assert record.feedback_report["supplemental_trace"] == {"recipient": "test@example.com"}
    domain = ListenerDomain(relay_to=True)
    async with smtp_house({"get_listener_domain": lambda *_: domain}, relay_hosts=NOBODY) as house:
        await (await house.client()).transaction(COMPLAINT)
        assert [one.type.value for one in house.recorder.records] == ["Reception"]


@ensureDeferred
async def test_batches():
    """One message per recipient by default, one per domain when told so, or as policy splits."""
    recipients = ("a@one.example", "b@two.example", "c@ONE.example")
    async with smtp_house() as house:
        reply = await (await house.client()).transaction(recipients=recipients)
        assert reply == "250 OK ids=" + " ".join(message.id.hex() for message in house.messages)
        assert [[str(r) for r in message.recipients] for message in house.messages] == [[r] for r in recipients]
        assert len({message.id for message in house.messages}) == 3
        house.messages[0].set_meta("x_own", 1)
        assert "x_own" not in house.messages[1].meta, "each message has meta of its own"
        for message in house.messages:
            assert b"id %b for <%b>" % (message.id.hex().encode(), str(message.recipients[0]).encode()) in message.body
    async with smtp_house(batch_handling="BatchByDomain") as house:
        await (await house.client()).transaction(recipients=recipients)
        groups = [[str(r) for r in message.recipients] for message in house.messages]
        assert groups == [["a@one.example", "c@ONE.example"], ["b@two.example"]]

    def split(message, conn):
        return [message.recipients[1:], message.recipients[:1]]

    async with smtp_house({"smtp_server_split_transaction": split}) as house:
        await (await house.client()).transaction(recipients=recipients)
        groups = [[str(r) for r in message.recipients] for message in house.messages]
        assert groups == [["b@two.example", "c@ONE.example"], ["a@one.example"]]


@ensureDeferred
async def test_one_rejected_batch_refuses_the_whole_transaction():
    """Nothing of a transaction is taken when policy rejects any of its messages."""

    def received(message, conn):
        if message.recipients[0].user == "bad":
            raise Rejection(550, "5.1.1 no such user")

    async with smtp_house({"smtp_server_message_received": received}) as house:
        client = await house.client()
        reply = await client.transaction(recipients=("good@d.example", "bad@d.example"))
        assert reply == "550 5.1.1 no such user"
        assert not house.store.saved


@ensureDeferred
async def test_partial_insert():
    """When the queue refuses some, the reply names those it took."""
    async with smtp_house() as house:
        house.queue.failures["bad.example"] = PolicyError("no")
        client = await house.client()
        reply = await client.transaction(recipients=("x@good.example", "x@bad.example"))
        assert reply == f"250 OK PARTIAL ids={house.messages[0].id.hex()}"


@pytest.mark.parametrize(
    ("failure", "reply", "closes"),
    [
        (SpoolUnhealthy("sync"), "421 4.3.2 mx.test the spool is not accepting writes. Try later", True),
        (SpoolFull("full"), "452 4.3.1 insufficient system storage", False),
        (
            Overload("too much mail is waiting for the disk"),
            "451 4.3.2 too much mail is waiting for the disk. Try later",
            False,
        ),
        (OSError("?"), "421 4.3.0 mx.test technical difficulties", True),
    ],
)
@ensureDeferred
async def test_what_cannot_be_stored_is_refused(failure, reply, closes):
    """Overload, a full disk and a failed sync say so; nothing is queued."""
    async with smtp_house() as house:
        house.store.failure = failure
        client = await house.client()
        assert await client.transaction() == reply
        assert not house.messages
        if closes:
            assert await client.closed() == b""


@ensureDeferred
async def test_unresolvable_queue():
    """A queue that cannot be made is a 421; nothing is stored."""
    async with smtp_house() as house:
        house.queue.unresolvable["d.example"] = ResolveError("no such domain")
        client = await house.client()
        assert await client.transaction() == "421 4.3.0 mx.test technical difficulties"
        assert not house.store.saved


@ensureDeferred
async def test_deadline_while_policy_waits():
    """data_processing_timeout: 451, the handler is cancelled, the session goes on."""
    wait = Deferred()
    async with smtp_house({"smtp_server_message_received": lambda *_: wait}, data_processing_timeout=30.0) as house:
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        client.send(b"x\r\n.\r\n")
        await turns()
        await house.pass_time(31)
        assert await client.reply() == "451 4.4.5 data_processing_timeout exceeded (policy)"
        assert await client.ask("NOOP") == "250 the goggles do nothing"
        assert wait.called, "the handler was cancelled"
        assert not house.store.saved


@ensureDeferred
async def test_deadline_while_the_disk_hangs():
    """In the spool stage the message is forgotten, so that the client's retry makes no second one."""
    async with smtp_house(data_processing_timeout=30.0) as house:
        house.store.hold = True
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        client.send(b"x\r\n.\r\n")
        await turns()
        await house.pass_time(31)
        assert await client.reply() == "451 4.4.5 data_processing_timeout exceeded (spool)"
        house.store.release()
        assert not house.store.saved


@ensureDeferred
async def test_deadline_while_the_queue_is_slow():
    """Once on disk it is ours: the client hears 250, the queue takes its time."""
    async with smtp_house(data_processing_timeout=30.0) as house:
        house.queue.hold = True
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        client.send(b"x\r\n.\r\n")
        await turns()
        await house.pass_time(31)
        assert (await client.reply()).startswith("250 OK ids=")
        house.queue.waiting[0].callback(None)
        assert len(house.messages) == 1
        assert await client.ask("NOOP") == "250 the goggles do nothing"


@ensureDeferred
async def test_client_that_leaves_once_it_is_on_disk():
    """A message on disk is delivered even when the client did not wait for the reply."""
    async with smtp_house() as house:
        house.queue.hold = True
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        client.send(b"x\r\n.\r\n")
        await turns()
        client.transport.abortConnection()
        await client.closed()
        await turns()
        house.queue.waiting[0].callback(None)
        assert len(house.messages) == 1


@ensureDeferred
async def test_too_many_connections():
    """Past max_connections: 421 before anything else; numbers are kept."""
    async with smtp_house(max_connections=2) as house:
        clients = [await house.client() for _ in range(2)]
        refused = await house.raw()
        assert await refused.closed() == b"421 4.3.2 mx.test too many concurrent sessions. Try later\r\n"
        samples = {sample.name: sample for sample in house.factory.samples()}
        assert samples["connection_count"].value == 2
        assert samples["total_connection_count"].value == 3
        assert samples["total_connections_denied"].value == 1
        assert samples["connection_count"].labels == (("service", "esmtp_listener"),)
        assert not house.recorder.records, "such a refusal is no Rejection record"
        assert await clients[0].ask("QUIT") == "221 So long, and thanks for all the fish!"
        await clients[0].closed()
        await turns()
        await house.client()


@ensureDeferred
async def test_gate():
    """A full disk or memory refuses new connections, and new mail on old ones."""
    async with smtp_house() as house:
        old, other = await house.client(), await house.client()
        house.gate.text = "disk is too full"
        client = await house.raw()
        assert await client.closed() == b"421 4.3.2 mx.test disk is too full. Try later\r\n"
        assert await old.ask("MAIL FROM:<>") == "421 4.3.2 mx.test disk is too full. Try later"
        assert await old.closed() == b""
        house.gate.text = None
        assert (await other.transaction())[:3] == "250"
        house.gate.text = "shutting down"
        assert await other.ask("MAIL FROM:<>") == "421 4.3.2 mx.test shutting down"


@ensureDeferred
async def test_overlays():
    """`peer` and `via` overlay options per client and local network; meta of all layers comes along."""
    options = {
        "meta": {"layer": "base", "kept": 1},
        "peer": {
            "0.0.0.0/0": {"banner": "everybody"},
            "127.0.0.0/8": {
                "banner": "local",
                "meta": {"layer": "peer"},
                "via": {"127.0.0.1": {"hostname": "inner.test", "max_message_size": 10}},
            },
        },
        "via": {"10.0.0.0/8": {"banner": "never"}},
    }
    async with smtp_house(trace_headers=PLAIN, **options) as house:
        client = await house.raw()
        assert await client.reply() == "220 inner.test local"
        assert await client.ask("MAIL FROM:<> SIZE=11") == "552 5.3.4 message too big"
        assert (await client.transaction(b"x\r\n"))[:3] == "250"
        assert house.messages[0].meta["layer"] == "peer"
        assert house.messages[0].meta["kept"] == 1


@ensureDeferred
async def test_wrong_overlay_is_found_at_start():
    """An unknown option in an overlay, or in one within it, is an error when the listener is made, with its path."""
    wrong = "unknown option 'peer.127.0.0.1.bannner'; did you mean 'banner'"
    for overlay, said in (
        ({"127.0.0.1": {"bannner": "x"}}, f"^kumo.start_esmtp_listener: {wrong}"),
        (
            {"::1": {"via": {"10.0.0.1": {"banner": 5}}}},
            r"option 'peer\.::1\.via\.10\.0\.0\.1\.banner' must be a string",
        ),
        ({"::1": {"via": {"10.0.0.1/8": {}}}}, "'10.0.0.1/8' is not a network"),
        ({"127.0.0.1/8": {}}, "is not a network"),
        ({"nonsense": {}}, "'nonsense' is not a network"),
    ):
        with pytest.raises(ConfigError, match=said):
            async with smtp_house(peer=overlay):
                pass


@ensureDeferred
async def test_dynamic_parameters():
    """Policy may set listener options per connection."""

    def parameters(listener, conn):
        return {"banner": f"for {listener}", "relay_hosts": [], "meta": {"dynamic": True}}

    async with smtp_house({"smtp_server_get_dynamic_parameters": parameters}) as house:
        client = await house.raw()
        assert await client.reply() == f"220 mx.test for 127.0.0.1:{house.port.getHost().port}"
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<c@d.example>"))[:3] == "550"
    async with smtp_house({"smtp_server_get_dynamic_parameters": lambda *_: {"nonsense": 1}}) as house:
        client = await house.raw()
        assert await client.closed() == b"421 4.3.0 mx.test technical difficulties\r\n"


@ensureDeferred
async def test_proxy_protocol():
    """Behind a balancer the client's own address counts, for policy, relay rules and Received."""
    async with smtp_house(require_proxy_protocol=True, relay_hosts=Cidrs.parse("192.0.2.1")) as house:
        client = await house.raw()
        client.send(b"PROXY TCP4 192.0.2.1 198.51.100.2 12")
        await turns()
        assert client.received == b""
        client.send(b"34 25\r\nEHLO early.test\r\n")
        assert (await client.reply())[:3] == "220"
        assert (await client.reply())[:3] == "250"
        assert (await client.transaction())[:3] == "250"
        meta = house.messages[0].meta
        assert (meta["received_from"], meta["received_via"]) == ("192.0.2.1:1234", "198.51.100.2:25")
        assert b"(192.0.2.1)" in house.messages[0].body
        other = await house.raw()
        other.send(b"PROXY TCP4 192.0.2.9 198.51.100.2 1234 25\r\n")
        await other.reply()
        await other.ask("MAIL FROM:<>")
        assert await other.ask("RCPT TO:<c@d.example>") == "550 5.7.1 relaying not permitted for 192.0.2.9:1234"
        bad = await house.raw()
        bad.send(b"EHLO without.header\r\n")
        assert await bad.closed() == b""
        silent = await house.raw()
        await turns()
        await house.pass_time(62)
        assert (await silent.closed()) == b""


@ensureDeferred
async def test_xclient():
    """A trusted client states whom it speaks for; rules and meta are worked out anew."""
    async with smtp_house(allow_xclient=True, peer={"192.0.2.0/24": {"banner": "net", "relay_hosts": []}}) as house:
        client = await house.client()
        before = client.transport.getHost()
        assert await client.ask("XCLIENT ADDR=192.0.2.7 PORT=99") == "220 mx.test net"
        conn = house.sessions[0]._talk.client.conn
        assert conn.meta["received_from"] == "192.0.2.7:99"
        assert conn.meta["orig_received_from"] == f"127.0.0.1:{before.port}"
        assert conn.auth.peer_address == "192.0.2.7"
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<c@d.example>"))[:3] == "550"


@ensureDeferred
async def test_auth():
    """AUTH under TLS by policy's word: meta, identities and the Received header show it."""

    def auth(authz, authc, password, conn):
        if password == "other":
            return AuthInfo(identities=(Identity(authc, "Custom"),), groups=("staff",))
        return password == "secret"

    async with smtp_house({"smtp_server_auth_plain": auth}) as house:
        client = await house.client()
        plain = base64.b64encode(b"\0user\0secret").decode()
        assert await client.ask(f"AUTH PLAIN {plain}") == "524 5.7.11 AUTH PLAIN requires an encrypted channel"
        await client.start_tls()
        await client.ask("EHLO client.test")
        wrong = base64.b64encode(b"\0user\0wrong").decode()
        assert await client.ask(f"AUTH PLAIN {wrong}") == "535 5.7.8 AUTH invalid"
        assert await client.ask(f"AUTH PLAIN {plain}") == "235 2.7.0 AUTH OK!"
        conn = house.sessions[0]._talk.client.conn
        assert (conn.meta["authn_id"], conn.meta["authz_id"]) == ("user", "user")
        assert {one.context for one in conn.auth.identities} == {
            "SmtpAuthPlainAuthentication",
            "SmtpAuthPlainAuthorization",
        }
        assert (await client.transaction())[:3] == "250"
        (message,) = house.messages
        assert b"  with ESMTPSA (TLSv1.3:" in message.body
        assert message.meta["tls_protocol_version"] == "TLSv1.3"
        (record,) = house.recorder.of(RecordType.RECEPTION)
        assert record.peer.tls_protocol_version == "TLSv1.3"
        for one in house.recorder.of(RecordType.REJECTION):
            assert one.response.command == "AUTH PLAIN\r\n"
        second = await house.client()
        await second.start_tls()
        other = base64.b64encode(b"\0user\0other").decode()
        assert (await second.ask(f"AUTH PLAIN {other}"))[:3] == "235"
        session = next(one for one in house.sessions if one._talk.client.conn.auth.groups)
        assert session._talk.client.conn.auth.groups == ("staff",)


@ensureDeferred
async def test_auth_without_a_handler():
    """Without smtp_server_auth_plain nobody is let in."""
    async with smtp_house() as house:
        client = await house.client()
        await client.start_tls()
        plain = base64.b64encode(b"\0user\0secret").decode()
        assert await client.ask(f"AUTH PLAIN {plain}") == "535 5.7.8 AUTH invalid"
        assert [success for _, success, _ in house.auditor.authentications] == [False]


@ensureDeferred
async def test_the_auditor_hears_of_every_auth():
    """Each attempt is noted with who it claimed to be, how it ended and who the session is then."""

    def auth(authz, authc, password, conn):
        if password == "broken":
            raise PolicyError("no database")
        return password == "secret"

    async with smtp_house({"smtp_server_auth_plain": auth}) as house:
        for password in ("wrong", "broken", "secret"):
            client = await house.client()
            await client.start_tls()
            await client.ask("AUTH PLAIN " + base64.b64encode(f"boss\0user\0{password}".encode()).decode())
        noted = house.auditor.authentications
    assert [(attempted.identity, attempted.context, success) for attempted, success, _ in noted] == [
        ("user", "SmtpAuthPlainAuthentication", success) for success in (False, False, True)
    ]
    assert [one.is_authenticated for _, _, one in noted] == [False, False, True]
    assert {one.identity for one in noted[2][2].identities} == {"boss", "user"}
    assert "secret" not in repr(noted)


@pytest.mark.skipif(not can_swaks_tls(), reason="swaks with TLS is missing (apt-get install swaks libnet-ssleay-perl)")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@ensureDeferred
async def test_swaks_with_starttls_and_auth(mechanism):
    """swaks, a client of another house, gets through STARTTLS, AUTH and a message."""

    def auth(authz, authc, password, conn):
        return (authc, password) == ("user", "secret")

    async with smtp_house({"smtp_server_auth_plain": auth}) as house:
        arguments = f"--server 127.0.0.1:{house.port.getHost().port} --tls --auth {mechanism} --auth-user user"
        arguments += " --auth-password secret --from a@b.example --to c@d.example --pipeline"
        out, _, code = await getProcessOutputAndValue("swaks", arguments.split(), reactor=reactor)
        assert code == 0, out.decode()
        assert b"250 OK ids=" in out
        assert len(house.messages) == 1


@ensureDeferred
async def test_rewritten_responses():
    """smtp_server_rewrite_response sees every response; the state follows what was sent."""
    seen = []

    def rewrite(code, text, command, conn):
        seen.append((code, command))
        if command is not None and command.startswith("MAIL FROM:<bad"):
            return 550, "rewritten"
        return None, text.replace("KumoMTA", "Rewritten")

    handlers = {"smtp_server_rewrite_response": rewrite, "smtp_server_rcpt_to": rejecting(550, "no")}
    async with smtp_house(handlers) as house:
        client = await house.raw()
        assert await client.reply() == "220 mx.test Rewritten"
        assert await client.ask("MAIL FROM:<bad@b.example>") == "550 rewritten"
        assert await client.ask("RCPT TO:<c@d.example>") == "503 5.5.0 MAIL FROM must be issued first"
        await client.ask("MAIL FROM:<good@b.example>")
        assert await client.ask("RCPT TO:<c@d.example>") == "550 no"
        assert seen[0] == (220, None)
        assert seen[1] == (250, "MAIL FROM:<bad@b.example>\r\n")


@ensureDeferred
async def test_drain():
    """At shutdown idle sessions hear 421 at once, busy ones when their message is taken."""
    async with smtp_house() as house:
        idle, busy = await house.client(), await house.client()
        house.store.hold = True
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await busy.ask(command)
        busy.send(b"half")
        await turns()
        stopped = house.factory.stop()
        assert await idle.closed() == b"421 4.3.2 mx.test shutting down\r\n"
        late = await house.raw()
        assert await late.closed() == b"421 4.3.2 mx.test shutting down\r\n"
        busy.send(b" and half\r\n.\r\n")
        await turns()
        assert not stopped.called
        house.store.release()
        said = await busy.closed()
        assert said.startswith(b"250 OK ids=")
        assert said.endswith(b"421 4.3.2 mx.test shutting down\r\n")
        await stopped
        assert not house.sessions
        await house.factory.stop()


@ensureDeferred
async def test_drain_has_a_bound():
    """A session that never comes to an end is cut after the bound."""
    async with smtp_house() as house:
        client = await house.client()
        for command in ("MAIL FROM:<>", "RCPT TO:<c@d.example>", "DATA"):
            await client.ask(command)
        stopped = house.factory.stop(5)
        client.send(b"never ends")
        await house.pass_time(6)
        assert await client.closed() == b""
        await stopped


@ensureDeferred
async def test_wrong_certificate_is_no_tls():
    """With a certificate that cannot be read STARTTLS says 454, and the session goes on in clear."""
    async with smtp_house(tls_certificate=LiteralKey(b"nonsense")) as house:
        client = await house.client()
        assert await client.ask("STARTTLS") == "454 4.7.0 TLS not available"
        assert (await client.transaction())[:3] == "250"


@ensureDeferred
async def test_client_certificate_is_required():
    """With tls_required_client_ca a client without a certificate of that CA is not served."""
    authority = trustme.CA()
    async with smtp_house(tls_required_client_ca=LiteralKey(authority.cert_pem.bytes())) as house:
        client = await house.client()
        await client.start_tls()
        client.send(b"EHLO client.test\r\n")
        assert b"250" not in await client.closed()


@ensureDeferred
async def test_recipients_changed_by_policy():
    """Policy may rewrite the envelope of a whole transaction before it is split."""

    def data(message, conn):
        message.set_recipients((parse_address("x@y.example"), parse_address("z@y.example")))

    async with smtp_house({"smtp_server_data": data}) as house:
        await (await house.client()).transaction()
        assert [str(message.recipients[0]) for message in house.messages] == ["x@y.example", "z@y.example"]
