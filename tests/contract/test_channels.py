"""What every channel promises, run on each: SMTP and LMTP over a socket, APNs, SMPP, custom_lua, maildir, null."""

from contextlib import asynccontextmanager

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.fakes_egress import FakeLua, make_channels, make_message, make_request
from support.http2peer import ROOTS, http2_peer, needs_node
from support.scripted_smsc import SILENCE, ScriptedSmsc
from support.scripted_smtp import STALL, ScriptedSmtp
from twisted.internet import defer, reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.queue import CustomLuaProtocol, MaildirProtocol, NullProtocol, SmtpProtocol
from kumotwist.core.errors import ConnectFailed, PolicyError, SessionEnded
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.push.apns import ApnsOptions
from kumotwist.egress.sms.smpp.options import SmppProtocol


class World:
    """One channel with what it needs around it, and a way to take its peer away."""

    def __init__(self, channel, request, vanish=None, received=None, tokens=()):
        self.channel = channel
        self.request = request
        self.vanish = vanish
        self.received = received
        #: Recipients for channels whose addresses are no mailboxes.
        self.tokens = tokens

    def message(self, *recipients):
        return make_message(*(self.tokens[: len(recipients) or 1] or recipients))

    async def session(self):
        session = self.channel.open(self.request)
        await session.connect()
        return session


@asynccontextmanager
async def smtp(_, script=None, is_lmtp=False):
    async with ScriptedSmtp(script or {}, is_lmtp=is_lmtp).start(reactor) as server:
        channels = make_channels(reactor)
        protocol = SmtpProtocol(mx_list=(f"[127.0.0.1:{server.port}]",))
        request = make_request(use_lmtp=is_lmtp)
        yield World(channels.channel_for(protocol), request, server.drop_all, lambda: len(server.messages))


def lmtp(tmp_path, script=None):
    return smtp(tmp_path, script, is_lmtp=True)


@asynccontextmanager
async def apns(_, script=None):
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = "ab" * 32
    with http2_peer() as peer:
        if script:
            peer.script(**{token: {"stall": True}})
        protocol = ApnsOptions(
            key=LiteralKey(key), key_id="K", team_id="T", topic="t", base_url=f"https://localhost:{peer.port}"
        )
        channels, tokens = make_channels(reactor, roots=ROOTS), [f"{token}@phones.test"] * 2
        channel = channels.channel_for(protocol)
        yield World(channel, make_request(), peer.close, lambda: len(peer.requests()), tokens)
        await channels.close()


@asynccontextmanager
async def smpp(_, script=None):
    channels = make_channels(reactor)
    async with ScriptedSmsc((lambda _: SILENCE) if script else None).start(reactor) as smsc:
        protocol = SmppProtocol(host="127.0.0.1", port=smsc.port, system_id="me", password=LiteralKey(b"secret"))
        channel, tokens = channels.channel_for(protocol), [f"+1555000000{number}@sms" for number in range(2)]
        yield World(channel, make_request(), smsc.drop_all, lambda: len(smsc.submitted), tokens)
        await channels.close()


@asynccontextmanager
async def lua(_, script=None):
    stalled = defer.Deferred()
    connector = FakeLua(*([stalled] if script else []))
    protocol = CustomLuaProtocol(constructor="make.test", batch_size=10)
    channel = make_channels(reactor, lua=connector).channel_for(protocol)

    def vanish():
        connector.connection.results.insert(0, PolicyError("policy.lua:3: connection reset"))

    yield World(channel, make_request(), vanish, lambda: len(connector.connection.sent))


@asynccontextmanager
async def maildir(tmp_path, script=None):
    channel = make_channels(reactor).channel_for(MaildirProtocol(maildir_path=f"{tmp_path}/{{{{ domain_part }}}}"))
    yield World(channel, make_request(), received=lambda: len(list(tmp_path.glob("*/new/*"))))


@asynccontextmanager
async def null(_, script=None):
    yield World(make_channels(reactor).channel_for(NullProtocol()), make_request())


APNS = pytest.param(apns, marks=needs_node)
ALL = pytest.mark.parametrize("world", [smtp, lmtp, APNS, smpp, lua, maildir, null])
CONNECTED = pytest.mark.parametrize("world", [smtp, lmtp, APNS, smpp, lua])


@ALL
@pytest_twisted.ensureDeferred
async def test_every_recipient_gets_an_outcome_by_position(world, tmp_path):
    """Whatever the channel, each recipient of each message is accounted for."""
    async with world(tmp_path) as around:
        session = await around.session()
        batch = [around.message("a@dest.test", "b@dest.test"), around.message("c@dest.test")][: session.max_batch]
        outcomes = await session.deliver(batch)
        assert [len(one) for one in outcomes] == [len(message.recipients) for message in batch]
        for outcome in (outcome for one in outcomes for outcome in one):
            assert outcome.verdict is Verdict.DELIVERED
            assert 200 <= outcome.response.code < 300
            assert outcome.peer.delivery_protocol
        assert around.received is None or around.received() > 0
        await session.close()


@ALL
@pytest_twisted.ensureDeferred
async def test_a_session_says_how_it_wants_its_batches(world, tmp_path):
    """The queue can rely on sane batch sizes, a stable name and the site of a domain."""
    async with world(tmp_path) as around:
        session = around.channel.open(around.request)
        assert 1 <= session.min_batch <= session.max_batch
        assert session.batch_latency >= 0
        assert around.channel.protocol_name
        assert await around.channel.site_name("dest.test")
        assert isinstance(around.channel.delivers_at_once, bool)
        await session.close()


@ALL
@pytest_twisted.ensureDeferred
async def test_close_never_raises_and_may_come_at_any_time(world, tmp_path):
    """A session can be closed before it connects, twice, and after its peer has gone."""
    async with world(tmp_path) as around:
        await around.channel.open(around.request).close()
        session = await around.session()
        await session.close()
        await session.close()
        if around.vanish is not None:
            session = await around.session()
            around.vanish()
            await session.close()


@CONNECTED
@pytest_twisted.ensureDeferred
async def test_delivering_after_the_peer_went_away_is_a_passing_failure(world, tmp_path):
    """A peer that vanishes costs the message a retry, never the message, and the session says that it is over."""
    async with world(tmp_path) as around:
        session = await around.session()
        assert session.is_connected
        around.vanish()
        (outcomes,) = await session.deliver([around.message()])
        assert [(one.verdict, one.scope) for one in outcomes] == [(Verdict.TRANSIENT, Scope.SESSION)]
        assert outcomes[0].response.content.startswith("KumoMTA internal: ")
        assert not session.is_connected
        with pytest.raises((SessionEnded, ConnectFailed)):
            await session.connect()
        await session.close()


@CONNECTED
@pytest_twisted.ensureDeferred
async def test_cancelling_a_delivery_ends_the_session(world, tmp_path):
    """A shutdown or watchdog can take a session away in the middle of a message; nothing stays behind."""
    async with world(tmp_path, {"mail": STALL}) as around:
        session = await around.session()
        delivery = defer.Deferred.fromCoroutine(session.deliver([around.message()]))
        delivery.cancel()
        with pytest.raises(defer.CancelledError):
            await delivery
        assert not session.is_connected
        await session.close()


@ALL
@pytest_twisted.ensureDeferred
async def test_sessions_are_independent(world, tmp_path):
    """Closing one session leaves the others at work."""
    async with world(tmp_path) as around:
        first, second = await around.session(), await around.session()
        await first.deliver([around.message()])
        await first.close()
        if world is not lua:  # its double has one connection for all
            (outcomes,) = await second.deliver([around.message()])
            assert outcomes[0].verdict is Verdict.DELIVERED
        await second.close()
