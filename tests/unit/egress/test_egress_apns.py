"""APNs: what Apple's documents ask of a request, what its reasons mean, and Node's HTTP/2 in Apple's place."""

import json
import uuid
from contextlib import asynccontextmanager

import attrs
import jwt as pyjwt
import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.http2peer import ROOTS, http2_peer, needs_node
from support.webpeer import turn
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from kumotwist.config.egress import SourceConfig
from kumotwist.config.keysource import FileKey, LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.translate import PushTextOptions
from kumotwist.core.errors import ConfigError, ConnectFailed, SecretUnavailable, SessionEnded
from kumotwist.core.outcome import SOURCE_REST, Peer, Scope, Verdict
from kumotwist.core.schedule import Schedule
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.api.streamkeep import IDLE
from kumotwist.egress.push.apns import RULES, SERVER_FAULT_WAIT, Apns, ApnsOptions, ProviderTokens
from kumotwist.net.http import HttpResponse

TOKEN = "ab" * 32
BODY = b"From: shop@src.test\r\nSubject: Your parcel\r\n\r\nIt arrives tomorrow.\r\n"


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def options(**more):
    return ApnsOptions(
        **{"key": LiteralKey(pem(KEY)), "key_id": "KEY1", "team_id": "TEAM1", "topic": "com.example.app", **more}
    )


def dialect(**more):
    chosen = options(**more)
    return Apns(chosen, Judge(Peer("apns", "apns", "HTTP/2"), RULES, chosen.rest, lambda: 1e9))


def push(token=TOKEN, body=BODY, recipients=("ab@push",), **meta):
    return make_message(*recipients, body=body, meta={"to": {"device_token": token, "platform": "apns"}, **meta})


def planned(message, **more):
    (step,) = dialect(**more).plan([message], 0.0)
    return step


def request_of(message, **more):
    step = planned(message, **more)
    assert isinstance(step, Call), step.outcome.response.content
    headers = {name.decode(): value.decode() for name, value in step.request.headers}
    return step.request.url, headers, json.loads(step.request.body)


def reply(code, reason=None, **headers):
    body = b"" if reason is None else json.dumps({"reason": reason}).encode()
    return HttpResponse(code, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


# -- requests -----------------------------------------------------------------------------------


def test_a_request_is_as_apple_documents_it():
    """Path, topic, type, priority, our id as a UUID; title, text and data in the payload."""
    message = push(data={"order": 4711})
    url, headers, payload = request_of(message)
    assert url == f"https://api.push.apple.com/3/device/{TOKEN}"
    assert headers == {
        "apns-topic": "com.example.app",
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-id": str(uuid.UUID(bytes=bytes(message.id))),
    }
    alert = {"title": "Your parcel", "body": "It arrives tomorrow."}
    assert payload == {"aps": {"alert": alert}, "order": 4711}


def test_what_the_options_say_is_in_every_notification():
    """Sound, badge, category, thread, interruption level, flags, expiry."""
    message = push()
    _, headers, payload = request_of(
        message, sound="ping.aiff", badge=0, category="PARCEL", thread_id="t1", interruption_level="time-sensitive",
        mutable_content=True, content_available=True, priority=5, ttl=Duration(60.0),
    )  # fmt: skip
    assert headers["apns-priority"] == "5"
    assert headers["apns-expiration"] == str(int(message.created + 60))
    aps = payload["aps"]
    aps.pop("alert")
    assert aps == {
        "sound": "ping.aiff", "badge": 0, "category": "PARCEL", "thread-id": "t1",
        "interruption-level": "time-sensitive", "mutable-content": 1, "content-available": 1,
    }  # fmt: skip


def test_a_message_may_choose_otherwise():
    """Meta push stands above the options: a badge is different for everybody."""
    wanted = {"badge": 3, "subtitle": "Today", "collapse_id": "parcel-1", "topic": "com.example.b", "priority": 5}
    _, headers, payload = request_of(push(push=wanted), badge=1)
    assert payload["aps"]["badge"] == 3
    assert payload["aps"]["alert"]["subtitle"] == "Today"
    assert headers["apns-collapse-id"] == "parcel-1"
    assert (headers["apns-topic"], headers["apns-priority"]) == ("com.example.b", "5")


def test_a_background_push_shows_nothing():
    """Apple: content-available alone, priority 5."""
    _, headers, payload = request_of(push(push={"push_type": "background"}, data={"sync": 1}), sound="ping")
    assert payload == {"aps": {"content-available": 1}, "sync": 1}
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("background", "5")


def test_the_messages_expiry_is_apples_too():
    """Nobody wants it later, so Apple must not keep it longer."""
    message = push()
    message.schedule = Schedule(expires=1_800_000_000.5)
    assert request_of(message)[1]["apns-expiration"] == "1800000000"


def test_the_payload_never_passes_its_limit():
    """4,096 octets, 5,120 for voip: the text is cut with a mark, data stays whole."""
    text = "Ünïcödé wörds, ".encode() * 1000
    message = push(body=b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text, data={"k": "v" * 2000})
    for kind, limit in (("alert", 4096), ("voip", 5120)):
        message.meta["push"] = {"push_type": kind}
        step = planned(message, text=PushTextOptions(max_body=4096))
        assert limit - 60 < len(step.request.body) <= limit
        payload = json.loads(step.request.body)
        assert payload["aps"]["alert"]["body"].endswith("…")
        assert payload["k"] == "v" * 2000


def test_each_recipient_has_an_id_of_its_own():
    """Apple's ids name one notification."""
    message = push(recipients=(f"{TOKEN}@phones.example", f"{'CD' * 32}@phones.example", "nobody@phones.example"))
    *steps, nobody = dialect().plan([message], 0.0)
    assert isinstance(nobody, Refused)
    assert [step.request.url.rpartition("/")[2] for step in steps] == [TOKEN, "cd" * 32]
    ids = [dict(step.request.headers)[b"apns-id"] for step in steps]
    assert len(set(ids)) == 2
    assert [step.targets for step in steps] == [((0, 0),), ((0, 1),)]
    again = dialect().plan([message], 0.0)[:2]
    assert ids == [dict(step.request.headers)[b"apns-id"] for step in again]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (push(token="zz" * 32), "not one of APNs"),
        (push(token="ab"), "not one of APNs"),
        (push(token=TOKEN + "\r\nx: y"), "not one of APNs"),
        (push(data={"k": "v" * 5000}), "more than the 4096"),
        (push(push={"collapse_id": "x" * 65}), "collapse_id has more than 64 octets"),
        (push(push={"priority": 7}), "priority must be one of 1, 5, 10"),
        (push(push={"push_type": "shout"}), "push_type must be one of alert"),
        (push(push={"loud": True}), "cannot be chosen"),
        (make_message("ab@push", body=BODY), "no device token"),
        (push(body=b"Content-Type: application/pkcs7-mime\r\n\r\nx"), "no readable text"),
    ],
)
def test_what_cannot_be_a_notification_is_bounced_with_the_reason(message, says):
    """The message's own fault; nothing is sent."""
    step = planned(message)
    assert isinstance(step, Refused)
    assert step.outcome.verdict is Verdict.PERMANENT
    assert says in step.outcome.response.content


# -- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "verdict", "scope", "is_dead", "wait"),
    [
        (400, "BadDeviceToken", Verdict.PERMANENT, Scope.MESSAGE, True, None),
        (410, "Unregistered", Verdict.PERMANENT, Scope.MESSAGE, True, None),
        (410, "ExpiredToken", Verdict.PERMANENT, Scope.MESSAGE, True, None),
        (400, "DeviceTokenNotForTopic", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (400, "BadCollapseId", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (400, "BadPriority", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (400, "PayloadEmpty", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (413, "PayloadTooLarge", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (404, "BadPath", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (405, "MethodNotAllowed", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "Forbidden", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (400, "BadTopic", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (400, "TopicDisallowed", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "InvalidProviderToken", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "ExpiredProviderToken", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "MissingProviderToken", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "BadCertificate", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (403, "BadEnvironmentKeyIdInToken", Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (429, "TooManyProviderTokenUpdates", Verdict.TRANSIENT, Scope.SOURCE, False, 10.0),
        (429, "TooManyRequests", Verdict.TRANSIENT, Scope.MESSAGE, False, None),
        (500, "InternalServerError", Verdict.TRANSIENT, Scope.MESSAGE, False, SERVER_FAULT_WAIT),
        (503, "ServiceUnavailable", Verdict.TRANSIENT, Scope.MESSAGE, False, SERVER_FAULT_WAIT),
        (503, "Shutdown", Verdict.TRANSIENT, Scope.SESSION, False, None),
        (400, "IdleTimeout", Verdict.TRANSIENT, Scope.SESSION, False, None),
        (418, "Teapot", Verdict.PERMANENT, Scope.MESSAGE, False, None),
        (599, None, Verdict.TRANSIENT, Scope.MESSAGE, False, SERVER_FAULT_WAIT),
    ],
)
def test_what_a_reason_means(code, reason, verdict, scope, is_dead, wait):
    """Apple's list of reasons, each with what follows from it for message, source and token."""
    call = planned(push())
    (outcome,) = dialect().classify(call, reply(code, reason))
    assert (outcome.verdict, outcome.scope, outcome.is_address_dead) == (verdict, scope, is_dead)
    assert outcome.retry_after == wait
    assert outcome.response.content.startswith(str(code))
    assert (reason or "") in outcome.response.content


def test_a_wrong_topic_that_the_message_chose_costs_the_message():
    """Otherwise one message could hold up all."""
    call = planned(push(push={"topic": "com.example.other"}))
    (outcome,) = dialect().classify(call, reply(400, "TopicDisallowed"))
    assert (outcome.verdict, outcome.scope) == (Verdict.PERMANENT, Scope.MESSAGE)


@pytest.mark.parametrize("answer", [reply(200), HttpResponse(200, [("apns-id", "1")], b"<html>Sign in")])
def test_a_yes_that_is_not_apples_is_none(answer):
    """Apple names the notification in `apns-id` and says nothing else; a proxy on the way does neither."""
    with pytest.raises(Unreadable):
        dialect().classify(planned(push()), answer)


def test_since_when_a_token_is_gone_is_in_the_record():
    """Apple: only drop it if it was not registered anew since."""
    body = b'{"reason":"Unregistered","timestamp":1700000000123}'
    (outcome,) = dialect().classify(planned(push()), HttpResponse(410, (), body))
    assert outcome.response.content == "410 Gone: Unregistered since 1700000000"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"reason":7}', b"\xff", b'{"reason":"a\\r\\nb"}', b"[" * 5000])
def test_a_reply_that_is_not_apples_breaks_nothing(body):
    """A proxy's page, junk, line breaks: judged by the status, on one line."""
    for code in (400, 403, 410, 500):
        (outcome,) = dialect().classify(planned(push()), HttpResponse(code, (), body))
        assert "\n" not in outcome.response.content
        assert not outcome.is_address_dead or code == 410


# -- the provider token -------------------------------------------------------------------------


def tokens(clock, keys=None, **more):
    return ProviderTokens(keys or FakeKeys(), clock, options(**more))


@pytest_twisted.ensureDeferred
async def test_a_token_is_what_apple_wants():
    """ES256, the key's id, the team's id, the time; believed by another implementation."""
    clock = Clock()
    clock.advance(1_700_000_000)
    value = (await tokens(clock).get())["authorization"].removeprefix("bearer ")
    claims = pyjwt.decode(value, KEY.public_key(), ["ES256"], {"verify_iat": False})
    assert claims["iss"] == "TEAM1"
    assert 300 <= 1_700_000_000 - claims["iat"] <= 2100
    assert pyjwt.get_unverified_header(value)["kid"] == "KEY1"


@pytest_twisted.ensureDeferred
async def test_all_who_hold_the_key_show_one_token_and_change_it_at_once():
    """Workers, connections and restarts: never two tokens at a time, and a new one each half hour."""
    clock = Clock()
    clock.advance(1_700_000_000)
    one, other = tokens(clock), tokens(clock)
    seen = {}
    for _ in range(4 * 60):
        clock.advance(60)
        token = (await one.get())["authorization"]
        assert token == (await other.get())["authorization"]
        seen.setdefault(token, clock.seconds())
        assert clock.seconds() - seen[token] < 1800
    gaps = [later - sooner for sooner, later in zip(list(seen.values())[1:], list(seen.values())[2:], strict=False)]
    assert set(gaps) == {1800.0}


@pytest.mark.parametrize("key", [b"sekrit", pem(rsa.generate_private_key(65537, 2048))])
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_none_of_apples_rests_the_source(key):
    """A wrong file: mail waits, and the reason does not quote it."""
    with pytest.raises(SecretUnavailable) as caught:
        await tokens(Clock(), key=LiteralKey(key)).get()
    assert caught.value.permanent
    assert "sekrit" not in str(caught.value)


def test_a_base_url_that_is_none_is_refused():
    """At the time the policy is read, not at the first message."""
    for url in ("http://api.push.apple.com", "https://", "https://u:p@api.push.apple.com", "https://a/?b"):
        with pytest.raises(ConfigError, match="base_url"):
            make_channels(reactor).channel_for(options(base_url=url))


# -- with Node in Apple's place -----------------------------------------------------------------


class World:
    """A channel and its peer."""

    def __init__(self, peer, channels, chosen, keys):
        self.peer = peer
        self.channels = channels
        self.options = chosen
        self.keys = keys

    async def session(self, **path):
        session = self.channels.channel_for(self.options).open(make_request(**path))
        await session.connect()
        return session

    async def deliver(self, *messages):
        session = await self.session()
        outcomes = await session.deliver(messages or [push()])
        await session.close()
        return [row[0] for row in outcomes]


@asynccontextmanager
async def world(settings=None, key=None, **more):
    with http2_peer(publicKey=PUBLIC, keyId="KEY1", teamId="TEAM1", topic="com.example.app", settings=settings) as peer:
        keys = FakeKeys()
        chosen = options(base_url=f"https://localhost:{peer.port}", **({"key": key} if key else {}), **more)
        channels = make_channels(reactor, roots=ROOTS, keys=keys)
        yield World(peer, channels, chosen, keys)
        await channels.close()


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_batch_goes_out_at_once_and_each_message_hears_its_own():
    """Delivered, dead, too many, refused: by position, with Apple's id and the facts of the connection."""
    async with world() as around:
        dead, busy = "cd" * 32, "ef" * 32
        around.peer.script(
            **{
                dead: {"status": 410, "reason": "Unregistered", "timestamp": 1700000000000},
                busy: {"status": 429, "reason": "TooManyRequests"},
            }
        )
        messages = [push(), push(dead), push(busy), push("zz"), push()]
        outcomes = await around.deliver(*messages)
        assert [one.verdict.value for one in outcomes] == [
            "delivered", "permanent", "transient", "permanent", "delivered",
        ]  # fmt: skip
        assert outcomes[0].remote_id == str(uuid.UUID(bytes=bytes(messages[0].id)))
        assert outcomes[1].is_address_dead
        peer = outcomes[0].peer
        assert (peer.channel, peer.account, peer.delivery_protocol) == ("apns", "main", "HTTP/2")
        assert peer.addr == f"127.0.0.1:{around.peer.port}"
        assert peer.tls_protocol_version == "TLSv1.3"
        assert peer.source_address.startswith("127.0.0.1:")
        assert len(around.peer.requests()) == 4


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_peer_that_allows_one_stream_at_first_gets_the_rest_later():
    """As Apple does until the token is proven."""
    async with world({"maxConcurrentStreams": 1}) as around:
        session = await around.session()
        assert session.max_batch == 1
        outcomes = await session.deliver([push() for _ in range(20)])
        assert {row[0].verdict for row in outcomes} == {Verdict.DELIVERED}
        around.peer.tell(settings={"maxConcurrentStreams": 1000})
        await session.deliver([push()])
        assert session.max_batch == 500
        await session.close()


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_goaway_in_the_middle_costs_nothing_that_was_not_taken():
    """What Apple did not take goes out over a new connection, at once, without an attempt charged."""
    async with world() as around:
        last = "cd" * 32
        around.peer.script(**{last: {"goaway": {"last": 3}, "times": 1}})
        outcomes = await around.deliver(push(), push(last), push(), push())
        assert [one.verdict.value for one in outcomes] == ["delivered"] * 4
        ids = [one["headers"]["apns-id"] for one in around.peer.requests()]
        assert len(set(ids)) == 4


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_refused_stream_is_sent_once_more():
    """REFUSED_STREAM promises that nothing was done; a second refusal is a passing failure."""
    async with world() as around:
        once, always = "cd" * 32, "ef" * 32
        around.peer.script(**{once: {"reset": 7, "times": 1}, always: {"reset": 7}})
        outcomes = await around.deliver(push(once), push(always))
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.TRANSIENT]
        assert not outcomes[1].is_ambiguous


@needs_node
@pytest.mark.parametrize(
    ("choice", "verdict"),
    [("Retry", Verdict.TRANSIENT), ("Bounce", Verdict.PERMANENT), ("AssumeDelivered", Verdict.DELIVERED)],
)
@pytest_twisted.ensureDeferred
async def test_what_may_have_been_taken_is_judged_by_policy(choice, verdict):
    """Reset, stalled, cut off, bombed: the others of the batch are not touched, and the record says what is unknown."""
    for action in ({"reset": 2}, {"stall": True}, {"bomb": True}, {"destroy": True}, {"large": 100_000}):
        async with world(timeout=Duration(1.0), on_unknown=choice) as around:
            around.peer.script(**{"cd" * 32: action})
            session = await around.session()
            ((doubtful,),) = await session.deliver([push("cd" * 32)])
            assert doubtful.verdict is verdict
            assert doubtful.is_ambiguous
            assert "unknown whether it was taken" in doubtful.response.content
            await session.close()


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_key_that_was_rotated_is_picked_up():
    """Apple refuses the old one, Vault has the new one: the same messages go out with it, at once."""
    old = ec.generate_private_key(ec.SECP256R1())
    async with world(key=LiteralKey(pem(old))) as around:
        session = await around.session()
        around.keys.current[pem(old)] = pem(KEY)
        outcomes = await session.deliver([push(), push()])
        assert [row[0].verdict for row in outcomes] == [Verdict.DELIVERED] * 2
        await session.close()
    async with world(key=LiteralKey(pem(old))) as around:
        outcomes = await around.deliver(push(), push())
        assert {(one.verdict, one.scope) for one in outcomes} == {(Verdict.TRANSIENT, Scope.SOURCE)}
        assert "InvalidProviderToken" in outcomes[0].response.content


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_goodbye_costs_nothing():
    """503 Shutdown and 400 IdleTimeout: the same message goes out over a new connection at once."""
    for status, reason in ((503, "Shutdown"), (400, "IdleTimeout")):
        async with world() as around:
            around.peer.script(**{TOKEN: {"status": status, "reason": reason, "times": 1}})
            first, second = await around.deliver(push(), push("cd" * 32))
            assert (first.verdict, second.verdict) == (Verdict.DELIVERED, Verdict.DELIVERED)
            assert first.peer.source_address != second.peer.source_address


@needs_node
@pytest_twisted.ensureDeferred
async def test_goodbyes_without_end_end_the_session():
    """503 Shutdown and 400 IdleTimeout on the new connection, too: later, by the queue's schedule."""
    for status, reason in ((503, "Shutdown"), (400, "IdleTimeout")):
        async with world() as around:
            around.peer.script(**{TOKEN: {"status": status, "reason": reason}})
            session = await around.session()
            ((outcome,),) = await session.deliver([push()])
            assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SESSION)
            assert not session.is_connected
            with pytest.raises(SessionEnded):
                await session.connect()
            await session.close()


@needs_node
@pytest_twisted.ensureDeferred
async def test_connecting_fails_with_a_reason():
    """Nobody there, no proof of the name, no secret: each is said, and none of it charges more than a retry."""
    async with world() as around:
        untrusted = make_channels(reactor).channel_for(around.options).open(make_request())
        with pytest.raises(ConnectFailed) as caught:
            await untrusted.connect()
        assert caught.value.outcome.scope is Scope.SESSION
        assert "TLS failed" in caught.value.outcome.response.content
        nowhere = attrs.evolve(around.options, base_url="https://localhost:9")
        with pytest.raises(ConnectFailed, match="cannot connect"):
            await around.channels.channel_for(nowhere).open(make_request()).connect()
        keyless = attrs.evolve(around.options, key=FileKey("/nowhere"))
        with pytest.raises(ConnectFailed) as caught:
            await around.channels.channel_for(keyless).open(make_request()).connect()
        assert caught.value.outcome.scope is Scope.SOURCE
        assert "/nowhere" in caught.value.outcome.response.content
        assert around.peer.tell(count=True)["count"] == 0


@needs_node
@pytest_twisted.ensureDeferred
async def test_cancelling_a_delivery_ends_the_session():
    """A shutdown or watchdog takes the batch away; nothing stays behind."""
    async with world() as around:
        around.peer.script(**{TOKEN: {"stall": True}})
        session = await around.session()
        delivery = Deferred.fromCoroutine(session.deliver([push(), push()]))
        reactor.callLater(0.05, delivery.cancel)
        with pytest.raises(CancelledError):
            await delivery
        assert not session.is_connected
        await session.close()


@needs_node
@pytest_twisted.ensureDeferred
async def test_connections_outlive_sessions():
    """The queue opens and closes sessions as it likes; Apple sees one connection, until it is closed or not wanted."""
    async with world() as around:
        first, second = await around.deliver(push()), await around.deliver(push())
        assert first[0].peer.source_address == second[0].peer.source_address
        sessions = [await around.session() for _ in range(6)]
        for session in sessions:
            await session.close()
        assert around.peer.tell(count=True)["sessions"] == 4
        around.peer.tell(destroy=True)
        (third,) = await around.deliver(push())
        assert third.verdict is Verdict.DELIVERED
        assert third.peer.source_address != first[0].peer.source_address
        await around.channels.close()
        assert around.peer.tell(count=True)["sessions"] == 0


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_connection_that_nobody_takes_is_closed():
    """After ten minutes; the clock tells."""
    with http2_peer() as peer:
        clock = Clock()
        channels = make_channels(reactor, roots=ROOTS, clock=clock)
        session = channels.channel_for(options(base_url=f"https://localhost:{peer.port}")).open(make_request())
        await session.connect()
        await session.close()
        assert peer.tell(count=True)["sessions"] == 1
        clock.advance(IDLE)
        await turn(0.2)
        assert peer.tell(count=True)["sessions"] == 0
        assert not clock.getDelayedCalls()


@needs_node
@pytest_twisted.ensureDeferred
async def test_an_egress_source_is_where_it_comes_from():
    """As with mail: `source_address` binds the connection; one that is not ours fails with a reason."""
    async with world() as around:
        channel = around.channels.channel_for(around.options)
        session = channel.open(make_request(source=SourceConfig(name="s", source_address="127.0.0.2")))
        await session.connect()
        ((outcome,),) = await session.deliver([push()])
        await session.close()
        assert outcome.peer.source_address.startswith("127.0.0.2:")
        foreign = channel.open(make_request(source=SourceConfig(name="s", source_address="192.0.2.1")))
        with pytest.raises(ConnectFailed, match=r"source address 192\.0\.2\.1: Cannot assign"):
            await foreign.connect()
