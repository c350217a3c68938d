"""POST /api/send/v1 over real sockets: one neutral message for any kind of address."""

import base64
import email
import hashlib
import json
import re
from email import policy as email_policy
from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_http import HOSTNAME, House, listen
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from kumotwist.config.option import Cidrs
from kumotwist.core.address import parse_address
from kumotwist.core.errors import Overload, PolicyError, Rejection, ResolveError, SpoolFull, SpoolUnhealthy
from kumotwist.core.records import RecordType
from kumotwist.core.schedule import format_rfc3339
from kumotwist.intake.http.refusals import RequestProblem
from kumotwist.intake.send import address as send_address
from kumotwist.intake.send import request as send_request
from kumotwist.intake.send import sending as send

NOW = 1_790_000_000.0
P256DH = base64.urlsafe_b64encode(b"\x04" + bytes(range(64))).rstrip(b"=").decode()
AUTH = base64.urlsafe_b64encode(bytes(range(16))).rstrip(b"=").decode()
SUBSCRIPTION = {
    "endpoint": "https://push.example.net/w/abc",
    "expirationTime": None,
    "keys": {"p256dh": P256DH, "auth": AUTH},
}


@pytest.fixture
def house():
    return House()


@pytest.fixture
def peer(house):
    listening = listen(house, default_region="US")
    yield listening
    pytest_twisted.blockon(ensureDeferred(listening.close()))


def request(to, **more):
    """A request that is right as it stands."""
    return {"to": to, "from": {"email": "shop@example.com"}, "subject": "Hi", "text": "Hello"} | more


def parsed(message):
    return email.message_from_bytes(message.body, policy=email_policy.default)


def hashed(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest_twisted.ensureDeferred
async def test_one_message_to_a_mailbox(house, peer):
    """The message is on disk, recorded and queued before the client hears 200; the reply names its id."""
    answer = await peer.send(
        request(
            {"email": "ann@example.org", "name": "Ann Ö"},
            **{"from": {"email": "shop@example.com", "name": "Shop"}, "html": "<p>Hello</p>"},
            reply_to={"email": "help@example.com"},
            headers={"List-Unsubscribe": "<https://example.com/u>"},
        )
    )
    assert answer.code == 200
    (message,) = house.queue.messages
    assert answer.json() == {
        "accepted": 1,
        "failed": 0,
        "recipients": [{"to": "ann@example.org", "id": message.id.hex(), "error": None}],
    }
    assert message.id in house.store.saved
    assert message.sender.email == "shop@example.com"
    mail = parsed(message)
    assert (mail["From"], mail["Subject"], mail["Reply-To"]) == ("Shop <shop@example.com>", "Hi", "help@example.com")
    assert mail["To"] == "Ann Ö <ann@example.org>"
    assert mail["List-Unsubscribe"] == "<https://example.com/u>"
    assert mail["Message-ID"] == f"<{message.id.hex()}@{HOSTNAME}>"
    assert mail["X-KumoRef"]
    assert mail["Date"]
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in mail.iter_parts()] == ["Hello", "<p>Hello</p>"]
    (record,) = house.recorder.of(RecordType.RECEPTION)
    assert record.reception_protocol == "HTTP"


@pytest_twisted.ensureDeferred
async def test_every_kind_of_address(house, peer):
    """An address that is no mailbox gets one that names its kind; the true one stands in meta `to`."""
    to = [
        {"email": "ann@example.org"},
        {"phone": "(555) 123-4567"},
        {"device_token": "tok:EN-1", "platform": "apns"},
        {"device_token": "tok:EN-2"},
        {"web_push": SUBSCRIPTION},
        {"chat": "#alerts", "platform": "slack"},
    ]
    answer = await peer.send(request(to, data={"deep": [1, {"x": None}]}, metadata={"order": 7}))
    assert answer.code == 200
    mail, phone, apns, other, web, chat = house.queue.messages
    assert [one["to"] for one in answer.json()["recipients"]] == [
        "ann@example.org",
        "+15551234567@sms",
        f"{hashed('tok:EN-1')}@push",
        f"{hashed('tok:EN-2')}@push",
        f"{hashed(SUBSCRIPTION['endpoint'])}@webpush",
        f"{hashed('#alerts')}@chat",
    ]
    assert [one["id"] for one in answer.json()["recipients"]] == [one.id.hex() for one in house.queue.messages]
    assert "to" not in mail.meta
    assert phone.meta["to"] == {"phone": "+15551234567"}
    assert apns.meta["to"] == {"device_token": "tok:EN-1", "platform": "apns"}
    assert other.meta["to"] == {"device_token": "tok:EN-2"}
    assert web.meta["to"] == {
        "web_push": {"endpoint": SUBSCRIPTION["endpoint"], "keys": {"p256dh": P256DH, "auth": AUTH}}
    }
    assert chat.meta["to"] == {"chat": "#alerts", "platform": "slack"}
    assert [one.queue_name() for one in (phone, apns, other)] == ["sms", "push!apns", "push"]
    for message in house.queue.messages:
        assert message.meta["data"] == {"deep": [1, {"x": None}]}
        assert message.meta["extra"] == {"order": 7}
        assert parsed(message)["Subject"] == "Hi"
        assert parsed(message).get_content().strip() == "Hello"


@pytest_twisted.ensureDeferred
async def test_a_push_needs_neither_text_nor_sender(house, peer):
    """Data alone is enough for an application; the reverse path is the null path then."""
    answer = await peer.send({"to": {"device_token": "abc"}, "data": {"badge": 3}})
    assert answer.code == 200
    (message,) = house.queue.messages
    assert message.sender.is_null
    assert message.meta["data"] == {"badge": 3}
    assert parsed(message).get_content().strip() == ""
    assert "X-KumoRef" not in parsed(message)


@pytest_twisted.ensureDeferred
async def test_tenant_campaign_and_sms_sender_are_meta(house, peer):
    """Policy and channels find them where they look for them."""
    sender = {"email": "shop@example.com", "sms": "SHOP"}
    await peer.send(request({"phone": "+15551234567"}, **{"from": sender}, tenant="acme", campaign="spring"))
    (message,) = house.queue.messages
    assert message.queue_name() == "spring:acme@sms"
    assert message.meta["from"] == {"sms": "SHOP"}
    assert message.meta["received_from"] == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_attachments(house, peer):
    """Attachments as with an injection: text or base64, inline with a content id."""
    attachments = [
        {"data": base64.b64encode(b"%PDF").decode(), "base64": True, "content_type": "application/pdf"},
        {"data": "GIF", "content_type": "image/gif", "content_id": "logo", "file_name": "logo.gif"},
    ]
    await peer.send(request({"email": "a@example.org"}, html="<img src=cid:logo>", attachments=attachments))
    (message,) = house.queue.messages
    kinds = [part.get_content_type() for part in parsed(message).walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/related",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/gif",
        "application/pdf",
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        format_rfc3339(NOW + 3600),
        {"first_attempt": format_rfc3339(NOW + 3600), "expires": format_rfc3339(NOW + 7200)},
    ],
)
def test_not_before(schedule):
    """A time alone is the first attempt; the whole form of set_scheduling does as well."""
    found = send_request.schedule_of(read(schedule=schedule), NOW)
    assert found.first_attempt == NOW + 3600
    assert found.next_allowed(NOW) == NOW + 3600


@pytest_twisted.ensureDeferred
async def test_a_scheduled_message_waits(house, peer):
    """It is due when its schedule says, and keeps the schedule for its retries."""
    at = house.clock.seconds() + 3600
    await peer.send(request({"email": "a@example.org"}, schedule=format_rfc3339(at)))
    (message,) = house.queue.messages
    assert message.due == pytest.approx(at, abs=0.001)
    assert message.schedule.first_attempt == message.due


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("tomorrow", "field 'schedule': Invalid isoformat string: 'tomorrow'"),
        ("2026-09-21T00:00:00", "field 'schedule': '2026-09-21T00:00:00' has no UTC offset"),
        ("9999-12-31T23:59:59Z", "field 'schedule': is more than 366 days ahead"),
        ({"first_attempt": "9999-12-31T23:59:59-23:59"}, "field 'schedule.first_attempt': is more than 366 days ahead"),
        ({"expires": format_rfc3339(NOW - 1)}, "field 'schedule.expires': is before the first attempt is allowed"),
        ({"dow": "Mon"}, "field 'schedule': dow, tz, start and end go together"),
        ({"dow": "Mon", "tz": "../etc/passwd", "start": "09:00", "end": "10:00"}, "unknown time zone"),
        ({"dow": "Mon", "tz": "UTC", "start": "nine", "end": "10:00"}, "field 'schedule': Invalid isoformat"),
    ],
)
def test_schedules_that_cannot_be(schedule, why):
    """A schedule that makes no sense is refused with its field, before anything is made."""
    with pytest.raises(RequestProblem) as raised:
        send_request.schedule_of(read(schedule=schedule), NOW)
    assert raised.value.code == 422
    assert why in str(raised.value)


def read(**more):
    """A request as it is decoded."""
    return send_request.decode(json.dumps(request({"email": "a@example.org"}, **more)).encode())


@pytest_twisted.ensureDeferred
async def test_one_bad_recipient_does_not_harm_the_others(house, peer):
    """What is wrong with one recipient is told at its place; the rest is on its way."""

    def generated(message, auth):
        if message.recipients[0].user == "refused":
            raise Rejection(550, "not this one")
        if message.recipients[0].user == "broken":
            raise PolicyError("policy.lua:7: oops\nstack traceback:\n\tsecret")

    house.policy.handlers["http_message_generated"] = generated
    house.queue.unresolvable["nowhere.example"] = ResolveError("NXDOMAIN")
    to = [
        {"email": "bad address"},
        {"email": "refused@example.org"},
        {"email": "broken@example.org"},
        {"email": "x@nowhere.example"},
        {"email": "+15551234567@sms"},
        {"phone": "12"},
        {"web_push": SUBSCRIPTION | {"endpoint": "http://push.example.net/"}},
        {"web_push": SUBSCRIPTION | {"keys": {"p256dh": AUTH, "auth": AUTH}}},
        {"web_push": SUBSCRIPTION | {"keys": {"p256dh": P256DH, "auth": "!"}}},
        {"device_token": ""},
        {"chat": " x"},
        {"email": "z@example.org"},
    ]
    answer = await peer.send(request(to))
    assert answer.code == 200
    reply = answer.json()
    assert (reply["accepted"], reply["failed"]) == (1, 11)
    assert [one["id"] is None for one in reply["recipients"]] == [True] * 11 + [False]
    errors = [one["error"] for one in reply["recipients"]]
    assert errors == [
        "not a mailbox: 'bad address'",
        "550 not this one",
        "policy.lua:7: oops",
        "NXDOMAIN",
        "'+15551234567@sms' is no email address; give phone, device_token, web_push or chat",
        "'12' is not a phone number: it is too short",
        "web_push.endpoint must be an https URL",
        "web_push.keys.p256dh is not an uncompressed P-256 point",
        "web_push.keys.auth is not base64url",
        "device_token must be printable text without white space around it",
        "chat must be printable text without white space around it",
        None,
    ]
    assert len(house.store.saved) == 1


@given(st.text(max_size=60), st.sampled_from(["email", "phone", "device_token", "chat"]))
def test_a_place_is_a_mailbox(text, kind):
    """Whatever a client writes, what comes out is an address that every part of the house can read, or a refusal."""
    try:
        placed = send_address.place(send_request.Address(**{kind: text}), "US")
    except ValueError:
        return
    assert parse_address(placed.envelope.email) == placed.envelope
    assert placed.envelope.domain
    assert (placed.envelope.domain in send_address.KIND_DOMAINS) == (kind != "email")


@pytest_twisted.ensureDeferred
async def test_nothing_sent_is_no_success(house, peer):
    """When no recipient could be taken the status says so; the body is the same."""
    answer = await peer.send(request({"phone": "12"}))
    assert answer.code == 422
    assert answer.json()["failed"] == 1
    assert not house.queue.messages


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"colour": "red"}, "`colour`"),
        ({"to": []}, "$.to"),
        ({"to": [{"email": "a@b.c"}] * 1001}, "$.to"),
        ({"to": {"email": 7}}, "$.to.email"),
        ({"to": [{"email": "a@b.c"}, {"mail": "a@b.c"}]}, "$.to[1]"),
        ({"to": {"web_push": {"endpoint": "https://x.example", "keys": {"auth": AUTH}}}}, "$.to.web_push.keys"),
        ({"to": {"device_token": "x", "platform": "palm"}}, "$.to.platform"),
        ({"to": {"email": "a@b.c", "phone": "+15551234567"}}, "field 'to': must have exactly one of"),
        ({"to": [{"email": "a@b.c"}, {}]}, "field 'to[1]': must have exactly one of"),
        ({"to": {"phone": "+15551234567", "name": "Ann"}}, "field 'to.name'"),
        ({"to": {"phone": "+15551234567", "platform": "fcm"}}, "field 'to.platform'"),
        ({"to": {"chat": "x", "platform": "fcm"}}, "field 'to.platform'"),
        ({"from": {}}, "field 'from.email': must be given"),
        ({"from": {"email": "nobody"}}, "field 'from.email': not a mailbox"),
        ({"from": "shop@example.com"}, "$.from"),
        ({"text": None}, "field 'text'"),
        ({"text": None, "subject": None}, "field 'text': at least one of"),
        ({"text": "a\0b"}, "field 'text': must not contain NUL"),
        ({"data": [1]}, "$.data"),
        ({"data": {"x": 2**64}}, "beyond 64 bits"),
        ({"subject": "x" * 999}, "$.subject"),
        ({"tenant": "a@b"}, "$.tenant"),
        ({"tenant": ""}, "$.tenant"),
        ({"campaign": "x" * 129}, "$.campaign"),
        ({"headers": {"To": "x@y.z"}}, "field 'headers['To']'"),
        ({"headers": {"Content-Type": "x"}}, "field 'headers['Content-Type']'"),
        ({"headers": {"a b": "x"}}, "field 'headers['a b']'"),
        ({"headers": {"X-A": "1", "received": "from x"}}, "field 'headers['received']': is written by servers"),
        ({"headers": {"Return-Path": "<x@y.z>"}}, "field 'headers['Return-Path']': is written by servers"),
        ({"headers": {"Delivered-To": "x@y.z"}}, "field 'headers['Delivered-To']'"),
        ({"headers": {"Authentication-Results": "a; dkim=pass"}}, "field 'headers['Authentication-Results']'"),
        ({"headers": {"ARC-Seal": "i=1"}}, "field 'headers['ARC-Seal']'"),
        ({"headers": {"X-KumoRef": "e30="}}, "field 'headers['X-KumoRef']': is written by servers"),
        ({"headers": {"DKIM-Signature": "v=1"}}, "field 'headers['DKIM-Signature']': cannot be given"),
        ({"headers": {"X-Long": "x" * 4097}}, "$.headers"),
        ({"reply_to": {"email": "nobody"}}, "field 'reply_to.email'"),
        ({"attachments": [{"data": "?", "base64": True, "content_type": "a/b"}]}, "field 'attachments[0].data'"),
        ({"attachments": [{"data": "", "content_type": "nonsense"}]}, "field 'attachments[0]'"),
        ({"schedule": 7}, "$.schedule"),
        ({"schedule": {"first": "x"}}, "$.schedule"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_field_is_named(house, peer, change, path):
    """422 with the path of what is wrong; nothing is made."""
    answer = await peer.send(request({"email": "a@example.org"}) | change)
    assert answer.code == 422
    assert path in answer.text
    assert not house.store.saved


@pytest.mark.parametrize(
    "words",
    [
        {"text": ""},
        {"text": " \n\u00a0"},
        {"text": "", "html": "", "data": {}},
        {"text": "\u200b\ufeff", "subject": "\u2800\u3164"},
        {"text": "", "html": "<html><style>p {}</style><p>&nbsp;&#8203;</p><img src='https://a.test/1.gif'></html>"},
    ],
)
@pytest.mark.parametrize(
    "to",
    [
        {"phone": "+15551234567"},
        {"device_token": "x", "platform": "apns"},
        {"web_push": SUBSCRIPTION},
        {"chat": "x", "platform": "slack"},
        [{"email": "a@example.org"}, {"phone": "+15551234567"}],
    ],
)
@pytest_twisted.ensureDeferred
async def test_nothing_to_tell_is_refused_at_once(house, peer, to, words):
    """What could only bounce later, since nobody would see a word and there is no data, is 422 now."""
    answer = await peer.send(request(to) | {"subject": None} | words)
    path = "to[1]" if isinstance(to, list) else "to"
    assert answer.code == 422
    assert answer.text == (
        f"Error: field 'text': there is nothing to read for '{path}' in subject, text and html, and no data"
    )
    assert not house.store.saved


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ({"email": "a@example.org"}, {"text": "", "subject": ""}),
        ({"phone": "+15551234567"}, {"text": "", "subject": "Your parcel"}),
        ({"phone": "+15551234567"}, {"text": "", "html": "<p>Hello</p>"}),
        ({"phone": "+15551234567"}, {"text": "\u200b", "html": "<img alt='A cat' src='https://a.test/1.gif'>"}),
        ({"phone": "+15551234567"}, {"text": "", "html": "<br>" * 10_000}),  # too long to be read at the door
        ({"phone": "+15551234567"}, {"text": "\U0001f408\ufe0f"}),
        ({"email": "a@example.org"}, {"html": "<img src='https://a.test/1.gif'>"}),
        ({"device_token": "x"}, {"text": "", "subject": None, "data": {"badge": 0}}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_little_to_tell_is_enough(house, peer, to, words):
    """Mail may be empty; a subject, HTML or data alone can be told to the others."""
    assert (await peer.send(request(to) | words)).code == 200
    assert len(house.queue.messages) == 1


@pytest.mark.parametrize("evil", ["x\r\nBcc: all@example.org", "x\ny", "x\ry", "x\0y"])
@pytest.mark.parametrize(
    "path",
    [
        "to.email",
        "to.name",
        "to.phone",
        "to.device_token",
        "to.chat",
        "to.web_push.endpoint",
        "to.web_push.keys.p256dh",
        "to.web_push.keys.auth",
        "from.email",
        "from.name",
        "from.sms",
        "reply_to.email",
        "reply_to.name",
        "subject",
        "headers['X-A']",
        "attachments[0].file_name",
        "attachments[0].content_id",
        "attachments[0].content_type",
        "tenant",
        "campaign",
    ],
)
def test_line_breaks_reach_no_header(path, evil):
    """CR, LF and NUL are refused in every field that becomes part of a header, a command or a queue's name."""
    kind = path.split(".")[1] if path.startswith("to.") else "email"
    whole = request({"email": "a@example.org"} if kind in ("email", "name") else {kind: {}})
    if kind == "web_push":
        whole["to"] = {"web_push": json.loads(json.dumps(SUBSCRIPTION))}
    whole["headers"] = {"X-A": "a"}
    whole["reply_to"] = {"email": "r@example.org"}
    whole["attachments"] = [{"data": "x", "content_type": "a/b"}]
    place = whole
    *way, last = path.replace("['", ".").replace("']", "").replace("[0]", ".0").split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = evil
    with pytest.raises(RequestProblem) as raised:
        send_request.decode(json.dumps(whole).encode())
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"data": {"a": ' + b"[" * 100_000, 400),
        (b'{"subject": "\xff"}', 400),
        (b"[]", 422),
        (b"null", 422),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_request(peer, body, code):
    """Not JSON is 400, not a request 422."""
    assert (await peer.send(body)).code == code


@pytest_twisted.ensureDeferred
async def test_not_called_json(peer):
    """Another content type is 415."""
    assert (await peer.send(request({"email": "a@b.c"}), content_type="text/plain")).code == 415


@pytest_twisted.ensureDeferred
async def test_all_share_one_commit_and_200_means_on_disk(house, peer):
    """Nobody hears anything before the disk has every message of the request."""
    house.store.hold = True
    waiting = ensureDeferred(peer.send(request([{"email": f"r{number}@example.net"} for number in range(120)])))
    while not house.store.waiting:
        await _turn()
    assert not waiting.called
    assert len(house.store.waiting) == 1
    house.store.release()
    assert (await waiting).json()["accepted"] == 120


@pytest.mark.parametrize("problem", [SpoolFull("full"), SpoolUnhealthy("broken"), Overload("busy")])
@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_is_503(house, peer, problem):
    """Nothing was taken, so the client may send all of it again."""
    house.store.failure = problem
    answer = await peer.send(request([{"email": "a@example.net"}, {"phone": "+15551234567"}]))
    assert answer.code == 503
    assert answer.headers["retry-after"] == "5"
    assert not house.queue.messages


@pytest_twisted.ensureDeferred
async def test_a_closed_gate_is_503(house, peer):
    """When nothing is taken, nothing is made either."""
    house.gate.text = "disk is too full"
    answer = await peer.send(request({"email": "a@example.net"}))
    assert (answer.code, answer.text) == (503, "Error: disk is too full")
    assert not house.policy.calls or all(call[0] != "http_message_generated" for call in house.policy.calls)


@pytest_twisted.ensureDeferred
async def test_a_queue_that_fails_late_is_told(house, peer):
    """A message that the queue refuses after all counts failed and ends in a Bounce record."""
    house.queue.failures["bad.example"] = PolicyError("no config")
    answer = await peer.send(request([{"email": "a@bad.example"}, {"email": "a@good.example"}]))
    assert [one["error"] for one in answer.json()["recipients"]] == ["cannot be queued", None]
    assert len(house.recorder.of(RecordType.BOUNCE)) == 1


@pytest_twisted.ensureDeferred
async def test_too_much_for_one_commit_is_413(house, peer, monkeypatch):
    """A request whose messages do not fit one commit is refused as a whole."""
    monkeypatch.setattr(send, "MAX_BATCH_OCTETS", 10_000)
    to = [{"email": f"r{number}@example.net"} for number in range(20)]
    answer = await peer.send(request(to, text="x" * 900))
    assert answer.code == 413
    assert not house.store.saved


@pytest_twisted.ensureDeferred
async def test_policy_may_reroute(house, peer):
    """The event is that of injections, so a policy that knows nothing of the send API routes its messages too."""

    def generated(message, auth):
        message.set_meta("tenant", "by-policy")

    house.policy.handlers["http_message_generated"] = generated
    await peer.send(request({"phone": "+15551234567"}, tenant="by-client"))
    assert house.queue.messages[0].queue_name() == "by-policy@sms"


@pytest_twisted.ensureDeferred
async def test_strangers_send_nothing(house):
    """Who is neither trusted nor authenticated is refused; a password is enough."""
    peer = listen(house, trusted_hosts=Cidrs())
    house.policy.handlers["http_server_validate_auth_basic"] = lambda user, password: password == "right"
    try:
        refused = await peer.send(request({"email": "a@b.c"}))
        known = await peer.send(
            request({"email": "a@b.c"}), authorization="Basic " + base64.b64encode(b"me:right").decode()
        )
    finally:
        await peer.close()
    assert refused.code == 401
    assert known.code == 200
    assert house.queue.messages[0].meta["http_auth"] == "me"


def _turn():
    return deferLater(reactor, 0, lambda: None)


def test_the_page_shows_a_request_that_works():
    """What docs/send-api.md tells to type is taken as it stands, and every field in its table exists."""
    page = (Path(__file__).parents[3] / "docs" / "send-api.md").read_text()
    shown = send_request.decode(re.search(r"-d '(\{.*?\n  \})'", page, re.DOTALL)[1].encode())
    assert len(shown.addresses) == 3
    table = page.partition("## The request")[2].partition("## Recipients")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(send_request.SendRequest.__struct_encode_fields__)
