"""Web Push: what a browser can read and a service wants to see, what strangers' endpoints cannot reach."""

import json
from contextlib import asynccontextmanager

import http_ece
import jwt as pyjwt
import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.http2peer import CA
from support.webpeer import turn, web_peer
from support.webpushpeer import needs_browser, webpush_peer
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate

from kumotwist.config.keysource import FileKey, LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.translate import PushTextOptions
from kumotwist.core.errors import ConnectFailed
from kumotwist.core.outcome import SOURCE_REST, Peer, Scope, Verdict
from kumotwist.egress.api.dialect import Call, Refused, Unreadable
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.push.webpush import MAX_ORIGINS, RULES, WebPush, WebPushOptions
from kumotwist.net.http import HttpResponse, HttpTransports
from kumotwist.proto.sign import base64url

BODY = b"From: shop@src.test\r\nSubject: Your parcel\r\n\r\nIt arrives tomorrow.\r\n"
NOW = 1_700_000_000.0
BROWSER = ec.generate_private_key(ec.SECP256R1())
AUTH = bytes(range(16))
#: Bare, as web-push tools print them.
KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
PUBLIC = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
ENDPOINT = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV"


def options(**more):
    return WebPushOptions(**{"vapid_key": LiteralKey(KEY.encode()), "subject": "mailto:ops@example.com", **more})


def dialect(**more):
    chosen = options(**more)
    return WebPush(chosen, Judge(Peer("push", "push", "HTTP"), RULES, chosen.rest, lambda: NOW))


def subscription(endpoint=ENDPOINT):
    point = BROWSER.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {"endpoint": endpoint, "keys": {"p256dh": base64url.encode(point), "auth": base64url.encode(AUTH)}}


def push(endpoint=ENDPOINT, body=BODY, **meta):
    return make_message("ab@webpush", body=body, meta={"to": {"web_push": subscription(endpoint)}, **meta})


def planned(message, **more):
    (step,) = dialect(**more).plan([message], NOW)
    return step


def headers_of(request):
    return {name.decode().lower(): value.decode() for name, value in request.headers}


def read(body):
    return json.loads(http_ece.decrypt(body, private_key=BROWSER, auth_secret=AUTH))


# -- requests -----------------------------------------------------------------------------------


def test_a_browser_can_read_it_and_nobody_else():
    """RFC 8291: title, text and data inside, nothing of them outside; the headers that services demand."""
    step = planned(push(data={"order": 4711}), icon="https://shop.example/i.png")
    assert read(step.request.body) == {
        "title": "Your parcel",
        "body": "It arrives tomorrow.",
        "icon": "https://shop.example/i.png",
        "data": {"order": 4711},
    }
    assert b"parcel" not in step.request.body
    assert step.request.url == ENDPOINT
    headers = headers_of(step.request)
    assert headers["content-encoding"] == "aes128gcm"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["ttl"] == "2419200"


def test_no_two_messages_share_a_key_or_salt():
    """RFC 8291 s3.4: either used twice gives the text away."""
    message = push()
    bodies = [step.request.body for step in dialect().plan([message, message], NOW)]
    assert bodies[0][:16] != bodies[1][:16]
    assert bodies[0][21:86] != bodies[1][21:86]


@pytest.mark.parametrize(("left", "ttl"), [(90.0, "90"), (-5.0, "0"), (1e9, "2419200")])
def test_the_service_keeps_it_for_as_long_as_it_is_wanted(left, ttl):
    """RFC 8030 s5.2: TTL, which is never left out."""
    message = push()
    message.max_age = NOW + left - message.created
    assert headers_of(planned(message).request)["ttl"] == ttl
    message.max_age = NOW - message.created + 50
    assert headers_of(planned(message, ttl=Duration(1e9)).request)["ttl"] == "50"


def test_urgency_and_topic():
    """RFC 8030 s5.3, s5.4: by the options or the message's own wish."""
    assert headers_of(planned(push(), urgency="low").request)["urgency"] == "low"
    headers = headers_of(planned(push(push={"urgency": "high", "topic": "parcel_1"}), urgency="low").request)
    assert (headers["urgency"], headers["topic"]) == ("high", "parcel_1")
    assert "urgency" not in headers_of(planned(push()).request)


def test_what_does_not_fit_is_cut():
    """3,993 octets of plain text make the 4,096 that a service must take."""
    step = planned(push(body=b"Subject: x\r\n\r\n" + b"word " * 2000), text=PushTextOptions(max_body=4096))
    assert 4050 < len(step.request.body) <= 4096
    assert read(step.request.body)["body"].endswith("…")


def test_a_token_serves_a_service_for_hours():
    """RFC 8292: signed once for each origin, valid for less than a day, renewed in time."""
    ours = dialect()
    (step,) = ours.plan([push()], NOW)

    def token(now, request=step.request):
        return headers_of(ours.authorize(request, {"vapid_key": KEY}, now))["authorization"]

    first = token(NOW)
    assert first.startswith("vapid t=")
    assert first.endswith(f", k={PUBLIC}")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), base64url.decode(PUBLIC))
    claims = pyjwt.decode(first[8:].partition(",")[0], key, ["ES256"], {"verify_exp": False, "verify_aud": False})
    assert claims["aud"] == "https://push.example.net"
    assert claims["sub"] == "mailto:ops@example.com"
    assert 0 < claims["exp"] - NOW < 86400
    assert token(NOW + 3600) == first
    assert token(NOW + 6 * 3600 + 1) != first
    (other,) = ours.plan([push("https://other.example/x")], NOW)
    assert token(NOW, other.request) != first


def test_strangers_cannot_fill_the_memory_with_origins():
    """Whatever the endpoints, only so many tokens are kept."""
    ours = dialect()
    for number in range(MAX_ORIGINS + 50):
        (step,) = ours.plan([push(f"https://p{number}.example/x")], NOW)
        ours.authorize(step.request, {"vapid_key": KEY}, NOW)
    assert len(ours._tokens) == MAX_ORIGINS


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (make_message("ab@webpush", body=BODY), "there is no subscription"),
        (push("ftp://push.example/1"), "not an http or https URL"),
        (push("http://push.example/1"), "not an https URL"),
        (push("https://push.example/a\r\nX-Evil: 1"), "not an URL"),
        (push("https://user:pw@push.example/"), "not an http or https URL"),
        (push(push={"urgency": "now"}), "urgency must be one of very-low"),
        (push(push={"topic": "a b"}), "topic must have"),
        (push(push={"topic": "x" * 33}), "topic must have"),
        (push(data={"k": "v" * 4000}), "more than the 3993"),
    ],
)
def test_what_cannot_be_a_notification_is_bounced_with_the_reason(message, says):
    """The message's own fault; nothing is sent, and the endpoint is not quoted."""
    step = planned(message)
    assert isinstance(step, Refused)
    assert step.outcome.verdict is Verdict.PERMANENT
    assert says in step.outcome.response.content
    assert "push.example" not in step.outcome.response.content


def test_a_subject_that_services_refuse_is_refused_here():
    """RFC 8292 s2.1: a mailto: or https: URL; found out when the policy is read."""
    for subject in ("ops@example.com", "", "mailto:", "http://a", "mailto:a@b\r\nx"):
        with pytest.raises(ValueError, match="subject"):
            options(subject=subject)


# -- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "body", "verdict", "is_dead", "wait"),
    [
        (201, b"", Verdict.DELIVERED, False, None),
        (202, b"", Verdict.DELIVERED, False, None),
        (204, b"", Verdict.DELIVERED, False, None),
        (200, b'{"id":"sPs71M8A2T","event":"message"}', Verdict.DELIVERED, False, None),
        (406, b"", Verdict.TRANSIENT, False, None),
        (407, b"", Verdict.TRANSIENT, False, None),
        (404, b"", Verdict.PERMANENT, True, None),
        (410, b"push subscription has unsubscribed", Verdict.PERMANENT, True, None),
        (413, b"", Verdict.PERMANENT, False, None),
        (400, b"bad request", Verdict.PERMANENT, False, None),
        (400, b'{"reason":"BadJwtToken"}', Verdict.TRANSIENT, False, None),
        (401, b"", Verdict.TRANSIENT, False, SOURCE_REST),
        (403, b"the VAPID credentials do not correspond", Verdict.TRANSIENT, False, SOURCE_REST),
        (429, b"", Verdict.TRANSIENT, False, None),
        (500, b"", Verdict.TRANSIENT, False, None),
        (503, b"", Verdict.TRANSIENT, False, None),
        (307, b"", Verdict.TRANSIENT, False, None),
    ],
)
def test_what_a_status_means(code, body, verdict, is_dead, wait):
    """For this one message: what a service that a stranger named says can never hold up the queue."""
    (outcome,) = dialect().classify(planned(push()), HttpResponse(code, (), body))
    assert (outcome.verdict, outcome.scope, outcome.is_address_dead) == (verdict, Scope.MESSAGE, is_dead)
    assert outcome.retry_after == wait


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((("Location", "https://push.example/m/x"),), b""),  # Mozilla's, now and then
        ((("TTL", "0"),), b"ok"),  # UnifiedPush's, by their specification
        ((), b""),  # UnifiedPush's gateways
        ((), b'{"id":"sPs71M8A2T"}'),  # ntfy's
    ],
)
@pytest.mark.parametrize("code", [200, 203, 204])
def test_a_200_of_a_push_service_is_a_yes(code, headers, body):
    """UnifiedPush SERV_1.2.0: an application server takes every 2xx for a 201."""
    (outcome,) = dialect().classify(planned(push()), HttpResponse(code, headers, body))
    assert outcome.verdict is Verdict.DELIVERED


@pytest.mark.parametrize("reply", [(200, b"Welcome!"), (200, b"{}"), (200, b"<html>"), (201, b"<html>")])
def test_a_page_is_no_push_services_yes(reply):
    """It is nobody's word: `on_unknown` decides."""
    code, body = reply
    with pytest.raises(Unreadable):
        dialect().classify(planned(push()), HttpResponse(code, (), body))


def test_microsofts_service_says_why_in_a_header():
    """Its body is empty: https://github.com/web-push-libs/pywebpush/issues/162."""
    said = (("X-WNS-ERROR-DESCRIPTION", "Ttl value conflicts with X-WNS-Cache-Policy."),)
    (outcome,) = dialect().classify(planned(push()), HttpResponse(400, said, b""))
    assert "Ttl value conflicts" in outcome.response.content


def test_retry_after_is_obeyed_for_that_message():
    """429 with a span."""
    (outcome,) = dialect().classify(planned(push()), HttpResponse(429, (("Retry-After", "120"),), b""))
    assert (outcome.scope, outcome.retry_after) == (Scope.MESSAGE, 120)


# -- over the network ---------------------------------------------------------------------------


@asynccontextmanager
async def channel(**more):
    transports = HttpTransports(reactor, Certificate.loadPEM(CA.cert_pem.bytes()))
    channels = make_channels(reactor, http=transports, keys=FakeKeys())
    yield channels.channel_for(options(**more))
    await transports.close()
    await turn()


async def deliver(around, *messages):
    session = around.open(make_request())
    await session.connect()
    outcomes = [(await session.deliver([one]))[0][0] for one in messages]
    await session.close()
    return outcomes


@needs_browser
@pytest_twisted.ensureDeferred
async def test_a_browser_by_another_hand_reads_it():
    """web-push-testing: VAPID judged, the text decrypted; another key is refused, an expired subscription is dead."""
    with webpush_peer() as peer:
        given, name = peer.subscribe(PUBLIC)
        foreign, _ = peer.subscribe(
            base64url.encode(BROWSER.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        )
        gone, gone_name = peer.subscribe(PUBLIC)
        peer.expire(gone_name)
        messages = [
            make_message("ab@webpush", body=BODY, meta={"to": {"web_push": one}}) for one in (given, foreign, gone)
        ]
        async with channel(allow_private_addresses=True) as around:
            taken, refused, dead = await deliver(around, *messages)
        assert taken.verdict is Verdict.DELIVERED
        assert [json.loads(one)["body"] for one in peer.shown(name)] == ["It arrives tomorrow."]
        assert refused.verdict is Verdict.PERMANENT
        assert dead.is_address_dead


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("127.0.0.1:{port}", Verdict.PERMANENT),
        ("[::1]:{port}", Verdict.PERMANENT),
        ("[::ffff:127.0.0.1]:{port}", Verdict.PERMANENT),
        ("169.254.169.254", Verdict.PERMANENT),
        ("10.0.0.1", Verdict.PERMANENT),
        ("[fd00::1]", Verdict.PERMANENT),
        ("0.0.0.0:{port}", Verdict.PERMANENT),
        ("localhost:{port}", Verdict.PERMANENT),
        ("2130706433:{port}", Verdict.PERMANENT),
        ("0x7f.1:{port}", Verdict.PERMANENT),
    ],
)
@pytest_twisted.ensureDeferred
async def test_endpoints_cannot_reach_our_own_network(host, verdict):
    """By address, by name, in every spelling: nobody is connected to, and the message does not go."""
    met = []

    class Met(Protocol):
        def connectionMade(self):
            met.append(self.transport.getPeer())

    listening = reactor.listenTCP(0, Factory.forProtocol(Met), interface="127.0.0.1")
    async with channel() as around:
        (outcome,) = await deliver(around, push(f"https://{host.format(port=listening.getHost().port)}/x"))
    await listening.stopListening()
    assert outcome.verdict is verdict
    assert not outcome.is_ambiguous
    assert not met


@pytest_twisted.ensureDeferred
async def test_a_policy_may_allow_private_networks():
    """For a push service of one's own."""
    async with web_peer() as peer, channel(allow_private_addresses=True) as around:
        peer.answer("/x", 201)
        (outcome,) = await deliver(around, push(f"{peer.url}/x"))
        assert outcome.verdict is Verdict.DELIVERED
        assert read(peer.seen[0].body)["title"] == "Your parcel"


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed():
    """Wherever it leads: RFC 8030 knows none, and the body is for nobody else."""
    async with web_peer() as inner, web_peer() as outer, channel(allow_private_addresses=True) as around:
        outer.answer("/x", 307, b"", Location=f"{inner.url}/y")
        (outcome,) = await deliver(around, push(f"{outer.url}/x"))
        assert outcome.verdict is Verdict.TRANSIENT
        assert not inner.seen


@pytest_twisted.ensureDeferred
async def test_the_endpoint_stays_out_of_logs():
    """Refused, silent, or with a reply too large: the record names the host, never the path."""
    async with web_peer() as peer, channel(allow_private_addresses=True, timeout=Duration(0.2)) as around:
        peer.answers["/s3cret"] = lambda request: None
        peer.answer("/s3cret/large", 200, bytes(100_000))
        urls = ("http://127.0.0.1:9/s3cret", f"{peer.url}/s3cret", f"{peer.url}/s3cret/large")
        for outcome in await deliver(around, *map(push, urls)):
            assert outcome.verdict is Verdict.TRANSIENT
            assert "127.0.0.1" in outcome.response.content
            assert "s3cret" not in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_key_that_is_none_rests_the_source():
    """A wrong or missing file: messages wait, and the reason does not quote it."""
    for key, says in ((LiteralKey(b"sekrit"), "neither PEM nor"), (FileKey("/nowhere"), "/nowhere")):
        async with channel(vapid_key=key) as around:
            with pytest.raises(ConnectFailed, match=says) as caught:
                await deliver(around, push())
            assert caught.value.outcome.scope is Scope.SOURCE
            assert "sekrit" not in str(caught.value)


def test_plan_gives_calls_that_hide_their_path():
    """So that whatever goes wrong on the way, the endpoint is not told."""
    step = planned(push())
    assert isinstance(step, Call)
    assert step.request.has_secret_path
