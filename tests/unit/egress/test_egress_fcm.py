"""FCM: requests held against Google's own schema, and what its errors mean for message, source and token."""

import json
from contextlib import asynccontextmanager

import pytest
import pytest_twisted
from support.apicases.discovery import discovered
from support.apicases.fcm import account, error, fcm_error, violation
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.http2peer import ROOTS, http2_peer, needs_node
from support.webpeer import turn, web_peer
from twisted.internet import reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Duration
from kumotwist.config.translate import PushTextOptions
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.outcome import SOURCE_REST, Peer, Scope, Verdict
from kumotwist.egress.api.credentials import KeyCredentials
from kumotwist.egress.api.dialect import Call, Refused
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.push.fcm import RULES, Fcm, FcmCredentials, FcmOptions
from kumotwist.net.http import HttpResponse, HttpTransports

SCHEMA = discovered("google_fcm.v1.discovery.json", "SendMessageRequest")
BODY = b"From: shop@src.test\r\nSubject: Your parcel\r\n\r\nIt arrives tomorrow.\r\n"
NOW = 1_700_000_000.0


def dialect(**more):
    chosen = FcmOptions(**{"service_account": LiteralKey(account("k").encode()), "project": "demo-1", **more})
    return Fcm(chosen, Judge(Peer("fcm", "fcm", "HTTP"), RULES, chosen.rest, lambda: NOW))


def push(body=BODY, **meta):
    return make_message("ab@push", body=body, meta={"to": {"device_token": "t0ken", "platform": "fcm"}, **meta})


def planned(message, **more):
    (step,) = dialect(**more).plan([message], NOW)
    return step


def request_of(message, **more):
    step = planned(message, **more)
    assert isinstance(step, Call), step.outcome.response.content
    value = json.loads(step.request.body)
    SCHEMA.validate(value)
    return value["message"]


def judged(said):
    (outcome,) = dialect().classify(planned(push()), HttpResponse(said.code, tuple(said.headers.items()), said.octets))
    return outcome


def test_a_request_is_as_google_documents_it():
    """Token, title, text; data as texts, since FCM has no other."""
    message = request_of(push(data={"order": 4711, "is_new": True, "note": "x", "lines": [1, {"a": None}]}))
    assert message == {
        "token": "t0ken",
        "notification": {"title": "Your parcel", "body": "It arrives tomorrow."},
        "data": {"order": "4711", "is_new": "true", "note": "x", "lines": '[1,{"a":null}]'},
    }
    step = planned(push())
    assert step.request.url == "https://fcm.googleapis.com/v1/projects/demo-1/messages:send"


def test_each_platform_hears_the_options_in_its_own_words():
    """Priority, expiry, collapse key, sound, badge, channel, picture, label."""
    message = push()
    message.max_age = 1e9
    value = request_of(
        message, priority="high", ttl=Duration(60.0), collapse_key="parcel", channel_id="news", sound="ping", badge=3,
        image="https://img.example/1.png", analytics_label="parcels",
    )  # fmt: skip
    assert value["android"]["priority"] == "HIGH"
    assert value["android"]["collapseKey"] == "parcel"
    assert value["android"]["notification"] == {"channelId": "news", "sound": "ping"}
    assert value["apns"]["headers"]["apns-priority"] == "10"
    assert value["apns"]["headers"]["apns-collapse-id"] == "parcel"
    assert value["apns"]["headers"]["apns-expiration"] == str(int(message.created + 60))
    assert value["apns"]["payload"] == {"aps": {"sound": "ping", "badge": 3}}
    assert value["webpush"]["headers"]["Urgency"] == "high"
    assert value["notification"]["image"] == "https://img.example/1.png"
    assert value["fcmOptions"] == {"analyticsLabel": "parcels"}


@pytest.mark.parametrize(("left", "seconds"), [(60.0, 60), (-5.0, 0), (1e9, 2_419_200)])
def test_google_keeps_it_for_as_long_as_it_is_wanted(left, seconds):
    """Between nothing and four weeks, which is Google's most."""
    message = push()
    message.max_age = NOW + left - message.created
    value = request_of(message)
    assert value["android"]["ttl"] == f"{seconds}s"
    assert value["webpush"]["headers"]["TTL"] == str(seconds)


def test_a_message_may_choose_otherwise_and_speak_to_a_platform_itself():
    """Meta push stands above the options; what it says to a platform is merged, member by member."""
    wanted = {
        "sound": "bell",
        "priority": "normal",
        "android": {"notification": {"icon": "parcel"}, "directBootOk": True},
        "apns": {"payload": {"aps": {"thread-id": "t"}}},
    }
    value = request_of(push(push=wanted), sound="ping", badge=1)
    assert value["android"]["notification"] == {"sound": "bell", "icon": "parcel"}
    assert value["android"]["priority"] == "NORMAL"
    assert value["android"]["directBootOk"] is True
    assert value["apns"]["payload"]["aps"] == {"sound": "bell", "badge": 1, "thread-id": "t"}


def test_a_message_of_data_shows_nothing():
    """The app gets title and body among its data and decides."""
    value = request_of(push(data={"k": "v"}), data_only=True, sound="ping")
    assert "notification" not in value
    assert "notification" not in value["android"] if "android" in value else True
    assert value["data"] == {"title": "Your parcel", "body": "It arrives tomorrow.", "k": "v"}


def test_a_dry_run_is_one():
    """Google checks everything and sends nothing."""
    assert json.loads(planned(push(), dry_run=True).request.body)["validateOnly"] is True


def test_what_the_device_gets_never_passes_the_limit():
    """4,096 octets of notification and data; the text is cut, data stays whole, the address does not count."""
    message = push(b"Subject: x\r\n\r\n" + b"word " * 2000, data={"k": "v" * 3000})
    value = request_of(message, text=PushTextOptions(max_body=4096))
    shown = json.dumps({"notification": value["notification"], "data": value["data"]}, ensure_ascii=False).encode()
    assert 4000 < len(shown) <= 4096 + 10  # json.dumps writes blanks
    assert value["notification"]["body"].endswith("…")
    assert isinstance(planned(push(data={"k": "v" * 4100})), Refused)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (make_message("ab@push", body=BODY), "no device token"),
        (push(data=[1]), "must be an object"),
        (push(push={"priority": "urgent"}), "priority must be one of normal, high"),
        (push(push={"android": "x"}), "android has a value of the wrong type"),
    ],
)
def test_what_cannot_be_a_notification_is_bounced_with_the_reason(message, says):
    """The message's own fault; nothing is sent."""
    step = planned(message)
    assert isinstance(step, Refused)
    assert step.outcome.verdict is Verdict.PERMANENT
    assert says in step.outcome.response.content


def test_the_schema_refuses_what_google_would():
    """A misspelt member or a number among the data does not pass."""
    good = json.loads(planned(push(data={"a": "b"})).request.body)
    assert SCHEMA.is_valid(good)
    assert not SCHEMA.is_valid({**good, "validateonly": True})
    assert not SCHEMA.is_valid({"message": {**good["message"], "data": {"a": 1}}})
    assert not SCHEMA.is_valid({"message": {**good["message"], "android": {"priority": "URGENT"}}})


@pytest.mark.parametrize(
    ("said", "verdict", "scope", "is_dead", "wait"),
    [
        (error(404, "NOT_FOUND", fcm_error("UNREGISTERED")), Verdict.PERMANENT, Scope.MESSAGE, True, None),
        (error(403, "X", fcm_error("SENDER_ID_MISMATCH")), Verdict.PERMANENT, Scope.MESSAGE, True, None),
        (
            error(400, "INVALID_ARGUMENT", violation("message.token", "Invalid registration token")),
            Verdict.PERMANENT, Scope.MESSAGE, True, None,
        ),
        (
            error(400, "INVALID_ARGUMENT", violation("message.data[0].value", "Invalid value")),
            Verdict.PERMANENT, Scope.MESSAGE, False, None,
        ),
        (error(404, "NOT_FOUND"), Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (error(401, "X", fcm_error("THIRD_PARTY_AUTH_ERROR")), Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (error(403, "PERMISSION_DENIED"), Verdict.TRANSIENT, Scope.SOURCE, False, SOURCE_REST),
        (error(429, "X", fcm_error("QUOTA_EXCEEDED")), Verdict.TRANSIENT, Scope.SOURCE, False, 60.0),
        (error(500, "INTERNAL"), Verdict.TRANSIENT, Scope.MESSAGE, False, 10.0),
        (error(503, "UNAVAILABLE", fcm_error("UNAVAILABLE")), Verdict.TRANSIENT, Scope.MESSAGE, False, 10.0),
    ],
)  # fmt: skip
def test_what_an_error_means(said, verdict, scope, is_dead, wait):
    """FCM's codes: what is dead, what is the payload, what is the project, what passes."""
    outcome = judged(said)
    assert (outcome.verdict, outcome.scope, outcome.is_address_dead) == (verdict, scope, is_dead)
    assert outcome.retry_after == wait
    assert outcome.response.content.startswith(f"{said.code} ")


def test_too_many_to_one_device_concern_that_device():
    """QUOTA_EXCEEDED with the device as its subject holds up nobody else."""
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": "device:t0ken", "description": "Device message rate exceeded"}],
    }
    outcome = judged(error(429, "RESOURCE_EXHAUSTED", fcm_error("QUOTA_EXCEEDED"), quota))
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.MESSAGE)


def test_retry_after_is_obeyed():
    """What Google asks for goes before what it asks for in general."""
    said = error(503, "UNAVAILABLE", fcm_error("UNAVAILABLE"))
    (outcome,) = dialect().classify(planned(push()), HttpResponse(503, (("Retry-After", "77"),), said.octets))
    assert outcome.retry_after == 77


@pytest_twisted.ensureDeferred
async def test_the_project_is_the_accounts_unless_told():
    """One line of policy is enough; an account without a project says what is missing."""

    class Tokens:
        keys = KeyCredentials(FakeKeys(), {"service_account": LiteralKey(account("k").encode())})

        async def get(self):
            return {"access_token": "at"}

    secrets = await FcmCredentials(Tokens()).get()
    assert secrets == {"access_token": "at", "project": "demo-1"}
    step = planned(push(), project=None)
    request = dialect(project=None).authorize(step.request, secrets, NOW)
    assert request.url == "https://fcm.googleapis.com/v1/projects/demo-1/messages:send"
    assert (b"Authorization", b"Bearer at") in request.headers
    nameless = json.dumps({**json.loads(account("k")), "project_id": None})
    Tokens.keys = KeyCredentials(FakeKeys(), {"service_account": LiteralKey(nameless.encode())})
    with pytest.raises(SecretUnavailable, match="names no project"):
        await FcmCredentials(Tokens()).get()
    assert make_channels(reactor).channel_for(dialect().options).protocol_name == "fcm"


# -- over HTTP/2, with Node in Google's place ---------------------------------------------------

NAMED = {"status": 200, "raw": '{"name":"projects/demo-1/messages/1"}'}
BY_PATH = "messages:send"


@asynccontextmanager
async def world(**script):
    """A session's maker, the peer, and the authority, whose tokens are numbered."""
    with http2_peer() as peer:
        peer.script(**{BY_PATH: NAMED, **script})
        async with web_peer() as authority:
            authority.answers["/token"] = lambda request: json.dumps(
                {"access_token": f"at-{len(authority.seen)}", "expires_in": 3600}
            ).encode()
            transports = HttpTransports(reactor)
            chosen = FcmOptions(
                service_account=LiteralKey(account("k").encode()),
                base_url=f"https://localhost:{peer.port}",
                token_url=f"{authority.url}/token",
            )
            channels = make_channels(reactor, roots=ROOTS, http=transports)
            yield channels.channel_for(chosen).open(make_request()), peer, authority
            await channels.close()
            await turn()


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_batch_goes_out_at_once_over_http_2():
    """One connection, one access token, a hundred messages on streams of their own."""
    async with world() as (session, peer, authority):
        await session.connect()
        outcomes = await session.deliver([push() for _ in range(100)])
        await session.close()
        assert {row[0].verdict for row in outcomes} == {Verdict.DELIVERED}
        assert outcomes[0][0].remote_id == "projects/demo-1/messages/1"
        assert outcomes[0][0].peer.delivery_protocol == "HTTP/2"
        requests = peer.requests()
        assert {one["headers"][":path"] for one in requests} == {"/v1/projects/demo-1/messages:send"}
        assert {one["headers"]["authorization"] for one in requests} == {"Bearer at-1"}
        assert len(authority.seen) == 1
        SCHEMA.validate(json.loads(requests[0]["body"]))


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_refused_token_is_had_anew_once_for_all():
    """401 for a whole batch costs one request to the authority, and no message an attempt."""
    refusal = {"status": 401, "raw": "{}", "times": 3, "then": NAMED}
    async with world(**{BY_PATH: refusal}) as (session, peer, authority):
        await session.connect()
        outcomes = await session.deliver([push() for _ in range(3)])
        await session.close()
        assert {row[0].verdict for row in outcomes} == {Verdict.DELIVERED}
        assert [one["headers"]["authorization"] for one in peer.requests()] == ["Bearer at-1"] * 3 + ["Bearer at-2"] * 3
        assert len(authority.seen) == 2


@needs_node
@pytest_twisted.ensureDeferred
async def test_the_projects_own_trouble_asks_for_no_new_token():
    """THIRD_PARTY_AUTH_ERROR is about a key at Google: the source rests, the authority is left alone."""
    refusal = {"status": 401, "raw": json.dumps(error(401, "X", fcm_error("THIRD_PARTY_AUTH_ERROR")).body)}
    async with world(**{BY_PATH: refusal}) as (session, _, authority):
        await session.connect()
        ((outcome,),) = await session.deliver([push()])
        await session.close()
        assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
        assert len(authority.seen) == 1


@needs_node
@pytest_twisted.ensureDeferred
async def test_a_token_that_cannot_stand_in_a_request_rests_the_source():
    """An authority that answers junk costs no message an attempt, and its junk is in no record."""
    async with world() as (session, peer, authority):
        authority.answers["/token"] = lambda request: json.dumps({"access_token": "at\r\nx-smuggled: 1"}).encode()
        await session.connect()
        outcomes = await session.deliver([push() for _ in range(2)])
        await session.close()
        for (outcome,) in outcomes:
            assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
            assert "smuggled" not in outcome.response.content
        assert not peer.requests()
