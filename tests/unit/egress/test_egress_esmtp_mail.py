"""The SMTP channel at work: recipients, batches, plans, names, sources, LMTP, and Postfix's sink as a real peer."""

import os
import shutil

import pytest
import pytest_twisted
from support.fakes_egress import make_channels, make_message, make_request
from support.ports import unused_port
from support.scripted_smtp import CLOSE, RESET, ScriptedSmtp
from twisted.internet import defer, protocol, reactor, task

from kumotwist.config.egress import PathConfig, SourceConfig
from kumotwist.config.option import Cidrs
from kumotwist.config.queue import MxHost, SmtpProtocol
from kumotwist.core.errors import ConnectFailed, SessionEnded
from kumotwist.core.outcome import Scope, Verdict

SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")


def channel_to(*servers, zone=""):
    entries = tuple(MxHost(f"host{number}", f"127.0.0.1:{one.port}") for number, one in enumerate(servers))
    return make_channels(reactor, zone).channel_for(SmtpProtocol(mx_list=entries))


async def opened(*servers, **path):
    session = channel_to(*servers).open(make_request(**path))
    await session.connect()
    return session


def rcpts(server):
    return [[line.removeprefix("RCPT TO:") for line in one.rcpts] for one in server.messages]


# -- recipients and transactions ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_what_arrives_is_what_was_sent():
    """Envelope and content reach the peer, with dots stuffed and 8-bit content declared (RFC 6152)."""
    async with ScriptedSmtp().start(reactor) as server:
        session = await opened(server)
        body = "Subject: x\r\n\r\n.dot\r\nümlaut".encode()
        ((outcome,),) = await session.deliver([make_message("to@dest.test", sender="", body=body)])
        (received,) = server.messages
        assert received.mail == "MAIL FROM:<> BODY=8BITMIME"
        assert received.rcpts == ("RCPT TO:<to@dest.test>",)
        assert received.data == "Subject: x\r\n\r\n..dot\r\nümlaut\r\n".encode()
        assert outcome.response.to_line() == "250 2.0.0 queued"
        assert outcome.response.command == "."
        assert (outcome.peer.name, outcome.peer.addr, outcome.peer.delivery_protocol) == ("host0", "127.0.0.1", "ESMTP")
        assert outcome.peer.source_address.startswith("127.0.0.1:")
        assert outcome.peer.session_id
        await session.close()
        assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert server.commands[0][1] == "EHLO me.test"


@pytest_twisted.ensureDeferred
async def test_rset_stands_between_messages_but_not_before_the_first():
    """RSET before the first message makes some servers drop us; later it is sent if `enable_rset`."""
    async with ScriptedSmtp().start(reactor) as server:
        for enable_rset in (True, False):
            session = await opened(server, enable_rset=enable_rset)
            for _ in range(3):
                await session.deliver([make_message()])
            await session.close()
        assert server.verbs().count("RSET") == 2
        assert server.verbs()[:6] == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL"]


@pytest_twisted.ensureDeferred
async def test_each_recipient_has_its_own_fate():
    """One bad address does not hold up the others; each outcome has the reply to its own command."""
    script = {"rcpt": ["250 ok\r\n", "550 5.1.1 no such user\r\n", "450 4.2.1 greylisted\r\n"]}
    async with ScriptedSmtp(script).start(reactor) as server:
        session = await opened(server)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test", "c@d.test")])
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.PERMANENT, Verdict.TRANSIENT]
        assert outcomes[1].response.command == "RCPT TO:<b@d.test>\r\n"
        assert outcomes[1].response.to_line() == "550 5.1.1 no such user"
        assert {one.scope for one in outcomes} == {Scope.RECIPIENT}
        assert session.is_connected
        await session.close()


@pytest_twisted.ensureDeferred
async def test_more_recipients_than_one_transaction_takes():
    """`max_recipients_per_batch` splits a message over transactions on the same connection."""
    async with ScriptedSmtp().start(reactor) as server:
        session = await opened(server, max_recipients_per_batch=2)
        (outcomes,) = await session.deliver([make_message(*(f"r{n}@d.test" for n in range(5)))])
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED] * 5
        assert rcpts(server) == [["<r0@d.test>", "<r1@d.test>"], ["<r2@d.test>", "<r3@d.test>"], ["<r4@d.test>"]]
        assert server.connections == 1
        await session.close()


@pytest.mark.parametrize("refusal", ["452 4.5.3 too many\r\n", "552 5.5.3 too many\r\n", "452 too many\r\n"])
@pytest_twisted.ensureDeferred
async def test_too_many_recipients_go_on_at_once(refusal):
    """RFC 5321 s4.5.3.1.10: what a server calls too many is sent in the next transaction, not in an hour."""
    async with ScriptedSmtp({"rcpt": ["250 ok\r\n", refusal]}).start(reactor) as server:
        session = await opened(server)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test")])
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED] * 2
        assert rcpts(server) == [["<a@d.test>"], ["<b@d.test>"]]
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_doubtful_too_many_is_tried_once_more_only():
    """452 without an enhanced code may be the mailbox's quota; it does not go round for ever, nor for the first."""
    async with ScriptedSmtp({"rcpt": ["250 a\r\n", "452 b\r\n", "250 c\r\n", "452 b\r\n"]}).start(reactor) as server:
        session = await opened(server, max_recipients_per_batch=2)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test")])
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.DELIVERED]
        await session.close()
    async with ScriptedSmtp({"rcpt": "452 full\r\n"}).start(reactor) as server:
        session = await opened(server)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test")])
        assert [one.response.code for one in outcomes] == [452, 452]
        assert server.verbs().count("RCPT") == 3
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_breaks_leaves_the_rest_for_later():
    """When the peer goes away between two transactions, those delivered stay delivered, the rest is retried."""
    async with ScriptedSmtp({"rset": CLOSE}).start(reactor) as server:
        session = await opened(server, max_recipients_per_batch=1)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test", "c@d.test")])
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.TRANSIENT, Verdict.TRANSIENT]
        assert [one.scope for one in outcomes] == [Scope.RECIPIENT, Scope.SESSION, Scope.SESSION]
        assert len(server.messages) == 1
        await session.close()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            make_message(body="ü".encode()),
            "554 5.6.3 KumoMTA internal: DATA is 8bit, destination does not support 8BITMIME.",
        ),
        (make_message("ü@d.test"), "554 5.6.7 KumoMTA internal: envelope is 8bit"),
        (make_message(sender="ü@d.test"), "554 5.6.7 KumoMTA internal: envelope is 8bit"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_8bit_mail_to_a_7bit_server(message, line):
    """What a server cannot take is bounced with the reason, unless `ignore_8bit_checks`."""
    async with ScriptedSmtp(extensions=("PIPELINING",)).start(reactor) as server:
        session = await opened(server)
        ((outcome,),) = await session.deliver([message])
        assert outcome.verdict is Verdict.PERMANENT
        assert outcome.response.to_line().startswith(line)
        assert session.is_connected
        await session.close()
        assert server.messages == []
        session = await opened(server, ignore_8bit_checks=True)
        ((outcome,),) = await session.deliver([message])
        assert outcome.verdict is Verdict.DELIVERED
        await session.close()


@pytest_twisted.ensureDeferred
async def test_international_addresses_use_smtputf8():
    """RFC 6531: SMTPUTF8 is asked for when an address needs it, and addresses go out as UTF-8."""
    async with ScriptedSmtp().start(reactor) as server:
        session = await opened(server)
        await session.deliver([make_message("ü@d.test", "a@d.test")])
        assert server.messages[0].mail.endswith("> SMTPUTF8")
        assert server.messages[0].rcpts == ("RCPT TO:<ü@d.test>", "RCPT TO:<a@d.test>")
        await session.close()


@pytest_twisted.ensureDeferred
async def test_a_large_body_arrives_whole():
    """Several megabytes arrive octet by octet, dots stuffed, without PIPELINING too."""
    body = b"".join(b"." * (number % 3) + b"x" * (number % 70) + b"\r\n" for number in range(60_000))
    async with ScriptedSmtp(extensions=("8BITMIME",)).start(reactor) as server:
        session = await opened(server)
        ((outcome,),) = await session.deliver([make_message(body=body)])
        assert outcome.verdict is Verdict.DELIVERED
        assert server.messages[0].data.replace(b"\r\n.", b"\r\n") == body
        ((outcome,),) = await session.deliver([make_message()])
        assert outcome.verdict is Verdict.DELIVERED
        await session.close()


@pytest_twisted.ensureDeferred
async def test_lmtp_has_a_result_for_each_recipient(tmp_path):
    """RFC 2033, over TCP and over a Unix socket."""
    script = {"dot": ["250 2.1.5 stored\r\n", "452 4.2.2 quota\r\n"]}
    for address in ("127.0.0.1", str(tmp_path / "lmtp")):
        async with ScriptedSmtp(script, is_lmtp=True).start(reactor, address) as server:
            addr = address if address.startswith("/") else f"127.0.0.1:{server.port}"
            protocol_ = SmtpProtocol(mx_list=(MxHost("store", addr),))
            session = make_channels(reactor).channel_for(protocol_).open(make_request(use_lmtp=True))
            await session.connect()
            (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test")])
            assert [one.response.to_line() for one in outcomes] == ["250 2.1.5 stored", "452 4.2.2 quota"]
            assert outcomes[0].peer.delivery_protocol == "LMTP"
            assert server.commands[0][1] == "LHLO me.test"
            await session.close()


# -- names, sources, plans ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_ehlo_name_and_the_source_address():
    """The path's EHLO name comes before the source's; the source's address is where we come from."""
    async with ScriptedSmtp().start(reactor) as server:
        source = SourceConfig(name="ip-2", source_address="127.0.0.2", ehlo_domain="source.test")
        for path, name in (({}, "source.test"), ({"ehlo_domain": "path.test"}, "path.test")):
            session = channel_to(server).open(make_request(source=source, **path))
            await session.connect()
            ((outcome,),) = await session.deliver([make_message()])
            assert outcome.peer.source_address.startswith("127.0.0.2:")
            assert (server.connections, f"EHLO {name}") in server.commands
            await session.close()


@pytest.mark.parametrize("address", ["192.0.2.55", "::1"])
@pytest_twisted.ensureDeferred
async def test_a_source_address_that_cannot_be_used(address):
    """A source that is not plumbed here, or of another family, is a connect failure that says so."""
    async with ScriptedSmtp().start(reactor) as server:
        session = channel_to(server).open(make_request(source=SourceConfig(name="s", source_address=address)))
        with pytest.raises(ConnectFailed) as caught:
            await session.connect()
        assert caught.value.outcome.scope is Scope.SESSION
        assert "and read initial banner: " in caught.value.outcome.response.content


@pytest_twisted.ensureDeferred
async def test_hosts_are_tried_in_order_until_one_works():
    """A dead host costs a moment, not the message; when all are dead the error lists what each said."""
    dead = ScriptedSmtp(port=unused_port())
    async with ScriptedSmtp({"banner": "554 closed\r\n"}).start(reactor) as rude, ScriptedSmtp().start(reactor) as good:
        session = await opened(dead, rude, good)
        ((outcome,),) = await session.deliver([make_message()])
        assert outcome.peer.name == "host2"
        await session.close()
        with pytest.raises(ConnectFailed) as caught:
            await opened(dead, rude)
        text = caught.value.outcome.response.content
        assert "refused" in text
        assert "Command rejected 554 closed" in text


MX = """
$ORIGIN dest.test.
@     MX 10 mx
mx    A 127.0.0.1
null  MX 0 .
empty MX 10 gone
lost  MX 10 broken
"""


@pytest.mark.parametrize(
    ("domain", "path", "verdict", "line", "reason"),
    [
        ("null.dest.test", {}, Verdict.PERMANENT, "556 5.1.10 Recipient address has a null MX", None),
        (
            "empty.dest.test",
            {},
            Verdict.TRANSIENT,
            "451 4.4.4 MX didn't resolve to any hosts",
            "MxResolvedToZeroHosts",
        ),
        (
            "dest.test",
            {"prohibited_hosts": PathConfig().prohibited_hosts},
            Verdict.PERMANENT,
            "550 5.4.4 mx.dest.test./127.0.0.1 is on the list of prohibited_hosts 127.0.0.0/8, ",
            None,
        ),
        (
            "dest.test",
            {"skip_hosts": Cidrs.parse("127.0.0.1")},
            Verdict.TRANSIENT,
            "451 4.4.4 KumoMTA internal: MX consisted solely of hosts on the skip_hosts list",
            "MxWasSkipped",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_sites_that_share_one_fate(domain, path, verdict, line, reason):
    """Null MX, no addresses, prohibited and skipped hosts decide for the whole ready queue in KumoMTA's words."""
    channel = make_channels(reactor, MX).channel_for(SmtpProtocol())
    with pytest.raises(ConnectFailed) as caught:
        await channel.open(make_request(domain, **path)).connect()
    outcome = caught.value.outcome
    assert (outcome.verdict, outcome.scope, outcome.reason) == (verdict, Scope.SITE, reason)
    assert outcome.response.to_line().startswith(line)


@pytest_twisted.ensureDeferred
async def test_mail_goes_by_mx_and_the_port_has_an_order():
    """The source's port comes before the candidate's, that before the path's."""
    channel = make_channels(reactor, MX).channel_for(SmtpProtocol())
    async with ScriptedSmtp().start(reactor) as server:
        source = SourceConfig(name="s", remote_port=server.port)
        for domain, settings in (
            ("dest.test", {"smtp_port": server.port}),
            (f"dest.test:{server.port}", {"smtp_port": 1}),
            ("dest.test:1", {"source": source, "smtp_port": 1}),
        ):
            session = channel.open(make_request(domain, **settings))
            await session.connect()
            ((outcome,),) = await session.deliver([make_message()])
            assert outcome.peer.name == "mx.dest.test."
            await session.close()
    assert await channel.site_name("dest.test") == "mx.dest.test"


# -- after trouble --------------------------------------------------------------------------------


async def broken_session(*servers, **path):
    session = await opened(*servers, **path)
    ((outcome,),) = await session.deliver([make_message()])
    assert outcome.scope is Scope.SESSION
    return session


@pytest.mark.parametrize(("strategy", "next_host"), [("ConnectNextHost", 2), ("ReconnectSameHost", 1)])
@pytest_twisted.ensureDeferred
async def test_the_reconnect_strategy_chooses_the_next_host(strategy, next_host):
    """After a broken session the strategy says which host is next."""
    async with ScriptedSmtp({"mail": [RESET]}).start(reactor) as one, ScriptedSmtp().start(reactor) as two:
        session = await broken_session(one, two, reconnect_strategy=strategy)
        await session.connect()
        await session.deliver([make_message()])
        await session.close()
        assert (len(one.messages), len(two.messages)) == ((0, 1) if next_host == 2 else (1, 0))


@pytest.mark.parametrize("strategy", ["TerminateSession", "ConnectNextHost"])
@pytest_twisted.ensureDeferred
async def test_a_session_with_no_host_left_ends_quietly(strategy):
    """A plan that is used up after mail was sent ends the session; the message in hand is charged nothing."""
    async with ScriptedSmtp({"mail": [RESET]}).start(reactor) as server:
        session = await broken_session(server, reconnect_strategy=strategy)
        with pytest.raises(SessionEnded):
            await session.connect()
        await session.close()


@pytest_twisted.ensureDeferred
async def test_the_next_host_may_get_the_message_at_once():
    """`try_next_host_on_transport_error` offers a message to the next host when the connection broke under it."""
    async with (
        ScriptedSmtp({"rcpt": ["550 5.1.1 no\r\n", "nonsense\r\n"]}).start(reactor) as one,
        ScriptedSmtp({"data": RESET}).start(reactor) as two,
        ScriptedSmtp().start(reactor) as three,
    ):
        session = await opened(one, two, three, try_next_host_on_transport_error=True)
        (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test", "c@d.test")])
        assert [one.verdict for one in outcomes] == [Verdict.PERMANENT, Verdict.DELIVERED, Verdict.DELIVERED]
        assert rcpts(three) == [["<b@d.test>", "<c@d.test>"]]
        assert session.is_connected
        await session.close()


# -- Postfix --------------------------------------------------------------------------------------


class _Sink(protocol.ProcessProtocol):
    def processEnded(self, reason):
        self.ended.callback(None)


@pytest.mark.skipif(SINK is None, reason="smtp-sink (Debian: postfix) is not installed")
@pytest.mark.parametrize("flags", [[], ["-p"], ["-L"]], ids=["pipelining", "plain", "lmtp"])
@pytest_twisted.ensureDeferred
async def test_postfix_takes_our_mail(flags):
    """A real peer, with and without PIPELINING and as LMTP, takes message after message on one connection."""
    port = unused_port()
    sink = _Sink()
    sink.ended = defer.Deferred()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    running = reactor.spawnProcess(sink, SINK, [SINK, *user, *flags, f"127.0.0.1:{port}", "100"])
    try:
        protocol_ = SmtpProtocol(mx_list=(f"[127.0.0.1:{port}]",))
        channel = make_channels(reactor).channel_for(protocol_)
        deadline = reactor.seconds() + 30  # a process starts, maybe on a busy machine
        while reactor.seconds() < deadline:
            session = channel.open(make_request(use_lmtp="-L" in flags))
            try:
                await session.connect()
            except ConnectFailed:
                await task.deferLater(reactor, 0.02)
            else:
                break
        for number in range(20):
            (outcomes,) = await session.deliver([make_message("a@d.test", "b@d.test", body=b".\r\n" * number)])
            assert [one.verdict for one in outcomes] == [Verdict.DELIVERED] * 2
        await session.close()
    finally:
        running.signalProcess("TERM")
        await sink.ended
