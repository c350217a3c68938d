"""STARTTLS on the way out: who is believed, what falls back to clear text, what is remembered, AUTH on top."""

import pytest
import pytest_twisted
import trustme
from OpenSSL import SSL
from support.fakes_egress import make_channels, make_message, make_request
from support.scripted_smtp import CLOSE, GARBAGE, RESET, ScriptedSmtp
from twisted.internet import reactor, task

from kumotwist.config.egress import PathConfig, SourceConfig
from kumotwist.config.keysource import EventKey, LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.queue import MxHost, SmtpProtocol
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.outcome import Verdict
from kumotwist.egress.esmtp.brokentls import IMPLIED, BrokenTls
from kumotwist.egress.esmtp.tlsmode import Course, course, falls_back

CA = trustme.CA()
ROOTS = (CA.cert_pem.bytes(),)
AUTH = {"smtp_auth_plain_username": "user", "smtp_auth_plain_password": LiteralKey(b"s3cret")}


def server_context(*names, ca=CA, wants_client=False):
    cert = ca.issue_cert(*names)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    cert.configure_cert(context)
    if wants_client:
        CA.configure_trust(context)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: bool(args[-1]))
    return context


def open_session(server, channel=None, **path):
    channel = channel or make_channel(server)
    return channel.open(make_request(**{"enable_tls": "Opportunistic", **path}))


def make_channel(server, clock=None):
    protocol = SmtpProtocol(mx_list=(MxHost("mx.dest.test", f"127.0.0.1:{server.port}"),))
    return make_channels(reactor, roots=ROOTS, clock=clock).channel_for(protocol)


async def deliver(session):
    await session.connect()
    ((outcome,),) = await session.deliver([make_message()])
    await session.close()
    return outcome


async def refusal(session):
    with pytest.raises(ConnectFailed) as caught:
        await session.connect()
    await session.close()
    return caught.value.outcome.response.content


@pytest.mark.parametrize("mode", ["Opportunistic", "Required", "OpportunisticInsecure", "RequiredInsecure"])
@pytest_twisted.ensureDeferred
async def test_a_good_certificate_is_used_and_recorded(mode):
    """With a certificate that fits, mail goes out encrypted and the record says how."""
    async with ScriptedSmtp(context=server_context("mx.dest.test")).start(reactor) as server:
        outcome = await deliver(open_session(server, enable_tls=mode))
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.peer.tls_protocol_version == "TLSv1.3"
        assert outcome.peer.tls_cipher
        assert any("trustme" in part for part in outcome.peer.tls_peer_subject_name)
        assert server.verbs()[:3] == ["EHLO", "STARTTLS", "EHLO"]


BAD = {
    "other name": lambda: server_context("other.test"),
    "unknown issuer": lambda: server_context("mx.dest.test", ca=trustme.CA()),
}
REASONS = {"other name": "certificate is not for mx.dest.test", "unknown issuer": "unable to get issuer cert locally"}


@pytest.mark.parametrize("kind", list(BAD))
@pytest.mark.parametrize("mode", ["Opportunistic", "Required"])
@pytest_twisted.ensureDeferred
async def test_a_wrong_certificate_fails_the_host(kind, mode):
    """Where names are verified, an impostor gets no mail, and the error says what was wrong."""
    async with ScriptedSmtp(context=BAD[kind]()).start(reactor) as server:
        text = await refusal(open_session(server, enable_tls=mode))
        assert f"TLS handshake with mx.dest.test/127.0.0.1:{server.port} failed: {REASONS[kind]}" in text
        assert server.messages == []


@pytest.mark.parametrize("kind", list(BAD))
@pytest.mark.parametrize("mode", ["OpportunisticInsecure", "RequiredInsecure"])
@pytest_twisted.ensureDeferred
async def test_insecure_modes_encrypt_to_whomever(kind, mode):
    """The insecure modes take any certificate rather than none."""
    async with ScriptedSmtp(context=BAD[kind]()).start(reactor) as server:
        outcome = await deliver(open_session(server, enable_tls=mode))
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.peer.tls_cipher


@pytest.mark.parametrize(
    ("mode", "is_refused"), [("Opportunistic", False), ("Required", True), ("RequiredInsecure", True)]
)
@pytest_twisted.ensureDeferred
async def test_a_server_without_starttls(mode, is_refused):
    """Required TLS that is not offered keeps the mail here; opportunistic TLS does without."""
    async with ScriptedSmtp().start(reactor) as server:
        session = open_session(server, enable_tls=mode)
        if is_refused:
            assert f"tls policy is {mode} but STARTTLS is not advertised" in await refusal(session)
        else:
            assert (await deliver(session)).peer.tls_cipher is None


@pytest_twisted.ensureDeferred
async def test_opportunistic_insecure_goes_on_in_clear_text_when_tls_fails():
    """A server whose TLS is broken still gets the mail in OpportunisticInsecure mode, over a new connection."""
    async with ScriptedSmtp({"starttls": "220 go\r\n250 what?\r\n"}, extensions=("STARTTLS",)).start(reactor) as server:
        outcome = await deliver(open_session(server, enable_tls="OpportunisticInsecure", starttls_timeout=1.0))
        assert outcome.verdict is Verdict.DELIVERED
        assert outcome.peer.tls_cipher is None
        assert server.connections == 2


@pytest.mark.parametrize("action", [RESET, CLOSE, GARBAGE, "454 4.7.0 no TLS now\r\n", "421 bye\r\n"])
@pytest_twisted.ensureDeferred
async def test_starttls_that_comes_to_nothing(action):
    """In the verifying modes nothing that happens at STARTTLS leads to mail in clear text."""
    async with ScriptedSmtp({"starttls": action}, context=server_context("mx.dest.test")).start(reactor) as server:
        assert "STARTTLS" in await refusal(open_session(server))
        assert "MAIL" not in server.verbs()


@pytest_twisted.ensureDeferred
async def test_a_refused_starttls_is_no_obstacle_in_insecure_mode():
    """OpportunisticInsecure goes on in clear text on the same connection when STARTTLS is politely refused."""
    script = {"starttls": "454 4.7.0 no TLS now\r\n"}
    async with ScriptedSmtp(script, context=server_context("mx.dest.test")).start(reactor) as server:
        assert (await deliver(open_session(server, enable_tls="OpportunisticInsecure"))).verdict is Verdict.DELIVERED
        assert server.connections == 1


@pytest_twisted.ensureDeferred
async def test_all_hosts_failing_in_insecure_mode_says_what_to_do():
    """Operators' shaping rules look for the advice to set enable_tls=Disabled."""
    script = {"starttls": "220 go\r\n", "ehlo": ["250-x\r\n250 STARTTLS\r\n", RESET]}
    async with ScriptedSmtp(script).start(reactor) as server:
        text = await refusal(open_session(server, enable_tls="OpportunisticInsecure", starttls_timeout=1.0))
        assert (
            "All failures are related to OpportunisticInsecure STARTTLS. Consider setting enable_tls=Disabled" in text
        )
        assert "EHLO after OpportunisticInsecure STARTTLS handshake status: failed" in text


@pytest_twisted.ensureDeferred
async def test_reconnect_in_clear_text_and_remember():
    """`opportunistic_tls_reconnect_on_failed_handshake`: a failure leads to clear text, remembered for 15 minutes."""
    async with ScriptedSmtp(context=server_context("other.test")).start(reactor) as server:
        clock = task.Clock()
        channel = make_channel(server, clock)
        path = {"opportunistic_tls_reconnect_on_failed_handshake": True}
        assert (await deliver(open_session(server, channel, **path))).verdict is Verdict.DELIVERED
        assert server.connections == 2
        assert (await deliver(open_session(server, channel, **path))).verdict is Verdict.DELIVERED
        assert server.connections == 3
        assert server.verbs().count("STARTTLS") == 1
        clock.advance(IMPLIED + 1)
        await deliver(open_session(server, channel, **path))
        assert server.verbs().count("STARTTLS") == 2
        assert "STARTTLS" in server.verbs()
        assert "failed" in await refusal(open_session(server, channel, enable_tls="Required", **path))


@pytest_twisted.ensureDeferred
async def test_a_client_certificate_is_shown():
    """`tls_certificate` and `tls_private_key` prove who we are to a server that asks."""
    mine = CA.issue_cert("me.test")
    path = {
        "tls_certificate": LiteralKey(b"".join(blob.bytes() for blob in mine.cert_chain_pems)),
        "tls_private_key": LiteralKey(mine.private_key_pem.bytes()),
    }
    async with ScriptedSmtp(context=server_context("mx.dest.test", wants_client=True)).start(reactor) as server:
        assert (await deliver(open_session(server, **path))).verdict is Verdict.DELIVERED
        await refusal(open_session(server))
        bad = {**path, "tls_private_key": LiteralKey(b"nonsense")}
        assert "tls_certificate and tls_private_key are not" in await refusal(open_session(server, **bad))


@pytest.mark.parametrize(
    ("context", "mode", "allowed", "reason"),
    [
        (None, "Opportunistic", {}, "TLS is not enabled and AUTH PLAIN is required"),
        (None, "Opportunistic", {"allow_smtp_auth_plain_without_tls": True}, None),
        ("mx.dest.test", "Opportunistic", {}, None),
        ("other.test", "OpportunisticInsecure", {}, "the certificate does not verify"),
        ("other.test", "OpportunisticInsecure", {"allow_smtp_auth_plain_without_valid_certificate": True}, None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_password_goes_only_to_whom_it_may(context, mode, allowed, reason):
    """The password is sent in clear text or to an unproven peer only where that is allowed by name."""
    made = server_context(context) if context else None
    async with ScriptedSmtp(context=made).start(reactor) as server:
        session = open_session(server, enable_tls=mode, **AUTH, **allowed)
        if reason is None:
            assert (await deliver(session)).verdict is Verdict.DELIVERED
            assert "AUTH PLAIN AHVzZXIAczNjcmV0" in [line for _, line in server.commands]
        else:
            assert reason in await refusal(session)
            assert "AUTH" not in server.verbs()


@pytest_twisted.ensureDeferred
async def test_a_password_file_may_end_in_a_line_break():
    """An editor puts one there; it is no part of the password."""
    async with ScriptedSmtp().start(reactor) as server:
        path = {**AUTH, "smtp_auth_plain_password": LiteralKey(b"s3cret\n"), "allow_smtp_auth_plain_without_tls": True}
        assert (await deliver(open_session(server, **path))).verdict is Verdict.DELIVERED
        assert "AUTH PLAIN AHVzZXIAczNjcmV0" in [line for _, line in server.commands]


@pytest_twisted.ensureDeferred
async def test_a_missing_password_names_the_option():
    """A secret that cannot be had is a failure of the connection, not of the message."""
    async with ScriptedSmtp().start(reactor) as server:
        path = {**AUTH, "smtp_auth_plain_password": EventKey("nothing"), "allow_smtp_auth_plain_without_tls": True}
        assert "fetching smtp_auth_plain_password" in await refusal(open_session(server, **path))


@pytest_twisted.ensureDeferred
async def test_commands_injected_behind_starttls_do_not_reach_the_session():
    """Replies sent in clear behind the 220 are dropped, not taken for those inside TLS (CVE-2011-0411)."""
    script = {"starttls": "220 go\r\n250-evil\r\n250 PIPELINING\r\n"}
    async with ScriptedSmtp(script, (), server_context("mx.dest.test")).start(reactor) as server:
        session = open_session(server)
        assert (await deliver(session)).verdict is Verdict.DELIVERED
        assert server.verbs() == ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_the_table_of_modes():
    """`enable_tls` against what is offered and what is known to be broken."""
    assert course("Disabled", True, False) is Course.CLEAR
    for mode, verified in (("Opportunistic", Course.VERIFIED), ("OpportunisticInsecure", Course.UNVERIFIED)):
        assert course(mode, True, False) is verified
        assert course(mode, True, True) is Course.CLEAR
        assert course(mode, False, False) is Course.CLEAR
    for mode, verified in (("Required", Course.VERIFIED), ("RequiredInsecure", Course.UNVERIFIED)):
        assert course(mode, True, True) is verified
        assert course(mode, False, True) is Course.REFUSE
    reconnecting = {"opportunistic_tls_reconnect_on_failed_handshake": True}
    assert not falls_back(PathConfig(enable_tls="Required", **reconnecting))
    assert falls_back(PathConfig(enable_tls="Opportunistic", **reconnecting))
    assert not falls_back(PathConfig(enable_tls="Opportunistic"))


def test_broken_tls_is_forgotten_in_time():
    """`remember_broken_tls` holds for its period and only where it is set."""
    clock = task.Clock()
    memory = BrokenTls(clock)
    path = PathConfig(remember_broken_tls=Duration(60.0))
    memory.remember("site", PathConfig())
    assert not memory.has("site", path)
    memory.remember("site", path)
    assert memory.has("site", path)
    assert not memory.has("site", PathConfig())
    clock.advance(61)
    assert not memory.has("site", path)
    assert SourceConfig(name="x").source_address is None
