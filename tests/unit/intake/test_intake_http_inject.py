"""POST /api/inject/v1 over real sockets: every rule of the API as a client meets it."""

import base64
import email
import json
from email import policy as email_policy

import pytest
import pytest_twisted
from support.fakes_http import HOSTNAME, FakeHttpPolicy, House, bodies, listen, simple
from twisted.internet.defer import DeferredList, ensureDeferred

from kumotwist.core.errors import Overload, PolicyError, Rejection, ResolveError, SpoolFull, SpoolUnhealthy
from kumotwist.core.records import RecordType
from kumotwist.intake.inject import injection as inject


@pytest.fixture
def house():
    return House()


@pytest.fixture
def peer(house):
    listening = listen(house)
    yield listening
    pytest_twisted.blockon(ensureDeferred(listening.close()))


def parsed(house, index=0):
    return email.message_from_bytes(bodies(house)[index], policy=email_policy.default)


@pytest_twisted.ensureDeferred
async def test_a_simple_injection(house, peer):
    """A request is answered with KumoMTA's counts and the ids; the message is on disk, recorded and queued."""
    answer = await peer.inject(simple())
    assert answer.code == 200
    assert answer.headers["content-type"] == "application/json"
    (message,) = house.queue.messages
    assert answer.json() == {
        "success_count": 1,
        "fail_count": 0,
        "failed_recipients": [],
        "errors": [],
        "ids": [message.id.hex()],
    }
    assert message.id in house.store.saved
    assert message.is_spooled
    assert message.sender.email == "s@example.com"
    assert [one.email for one in message.recipients] == ["r@example.net"]
    (record,) = house.recorder.of(RecordType.RECEPTION)
    assert record.reception_protocol == "HTTP"
    assert record.peer.addr == "127.0.0.1"
    assert record.session_id is None


@pytest_twisted.ensureDeferred
async def test_the_meta_says_where_it_came_from(house, peer):
    """Policy finds KumoMTA's keys; `extra` only when the recipient has metadata."""
    request = simple()
    request["recipients"].append({"email": "t@example.net", "metadata": {"k": [1, None]}})
    await peer.inject(request)
    first, second = house.queue.messages
    assert first.meta == {
        "http_auth": "127.0.0.1",
        "reception_protocol": "HTTP",
        "received_from": "127.0.0.1",
        "received_via": "127.0.0.1",
        "hostname": HOSTNAME,
    }
    assert second.meta["extra"] == {"k": [1, None]}


@pytest_twisted.ensureDeferred
async def test_200_means_on_disk(house, peer):
    """The client hears nothing before the disk has it, and all recipients share one commit."""
    house.store.hold = True
    request = simple()
    request["recipients"] = [{"email": f"r{number}@example.net"} for number in range(3)]
    client = await peer.connect()
    client.send(_encode(request))
    waiting = client.next()
    while not house.store.waiting:
        await _turn()
    assert not waiting.called
    assert len(house.store.waiting) == 1
    house.store.release()
    assert (await waiting).json()["success_count"] == 3
    assert len(house.store.saved) == 3


@pytest_twisted.ensureDeferred
async def test_one_bad_recipient_does_not_harm_the_others(house, peer):
    """A wrong address, a handler's no and an unresolvable queue each count one recipient failed; still 200."""

    def generated(message, auth):
        user = message.recipients[0].user
        if user == "refused":
            raise Rejection(550, "not this one")
        if user == "broken":
            raise PolicyError("policy.lua:7: oops\nstack traceback:\n\tsecret")
        if user == "odd":
            message.set_meta("queue", 7)

    house.policy.handlers["http_message_generated"] = generated
    house.queue.unresolvable["nowhere.example"] = ResolveError("NXDOMAIN")
    users = ["a@b.c", "bad address", "refused@b.c", "broken@b.c", "odd@b.c", "x@nowhere.example", "z@b.c"]
    answer = await peer.inject(simple() | {"recipients": [{"email": one} for one in users]})
    assert answer.code == 200
    reply = answer.json()
    assert (reply["success_count"], reply["fail_count"]) == (2, 5)
    assert reply["failed_recipients"] == users[1:6]
    assert reply["errors"][0].startswith("bad address: recipient email bad address: not a mailbox")
    assert reply["errors"][1] == "refused@b.c: 550 not this one"
    assert reply["errors"][2] == "broken@b.c: policy.lua:7: oops"
    assert reply["errors"][4] == "x@nowhere.example: NXDOMAIN"
    assert [one is None for one in reply["ids"]] == [False, True, True, True, True, True, False]
    assert len(house.store.saved) == 2


@pytest_twisted.ensureDeferred
async def test_all_failed_is_still_200(peer):
    """KumoMTA answers 200 even when no recipient was taken; the counts tell."""
    answer = await peer.inject(simple() | {"recipients": [{"email": "nope"}]})
    assert answer.code == 200
    assert answer.json()["fail_count"] == 1


@pytest_twisted.ensureDeferred
async def test_the_null_queue_swallows(house, peer):
    """A message that policy sends to `null` counts as a success and leaves no trace."""
    house.policy.handlers["http_message_generated"] = lambda message, auth: message.set_meta("queue", "null")
    answer = await peer.inject(simple())
    assert answer.json()["success_count"] == 1
    assert not house.store.saved
    assert not house.recorder.records


@pytest_twisted.ensureDeferred
async def test_policy_sees_the_message_and_who_sent_it(house, peer):
    """http_message_generated gets the whole message, without the supplemental header, and the identity."""
    seen = []
    house.policy.handlers["http_message_generated"] = lambda message, auth: seen.append((message.body, auth.to_json()))
    await peer.inject(simple())
    body, auth = seen[0]
    assert body == b"Subject: hello\r\nMime-Version: 1.0\r\n\r\nHello there\r\n"
    assert auth["peer_address"] == "127.0.0.1"
    assert auth["groups"] == ["kumomta:http-listener-trusted-ip"]


@pytest_twisted.ensureDeferred
async def test_trace_headers(house, peer):
    """X-KumoRef by default, with chosen meta; Received only when asked for; a name of one's own."""
    house.policy.handlers["http_message_generated"] = lambda message, auth: message.set_meta("tenant", "t1")
    await peer.inject(simple())
    trace = {"received_header": True, "header_name": "X-Ref", "include_meta_names": ["tenant", "absent"]}
    await peer.inject(simple(trace_headers=trace))
    await peer.inject(simple(trace_headers={"supplemental_header": False}))
    first, second, third = (parsed(house, index) for index in range(3))
    assert json.loads(base64.b64decode(first["X-KumoRef"])) == {"_@_": "\\_/", "recipient": "r@example.net"}
    assert first["Received"] is None
    assert json.loads(base64.b64decode(second["X-Ref"])) == {
        "_@_": "\\_/",
        "recipient": "r@example.net",
        "tenant": "t1",
    }
    assert f"by {HOSTNAME} (KumoMTA) with HTTP id {house.queue.messages[1].id.hex()} for <r@example.net>" in " ".join(
        second["Received"].split()
    )
    assert third.keys() == ["Subject", "Mime-Version"]


@pytest_twisted.ensureDeferred
async def test_building_a_message(house, peer):
    """Texts, attachments and headers become one MIME message, for each recipient with their own values."""
    content = {
        "text_body": "Hi {{ name }}, {{ offer }}",
        "html_body": "<p>Hi {{ name }}, <img src='cid:logo'></p>",
        "amp_html_body": "<html amp4email>{{ name }}</html>",
        "subject": "Für {{ name }} 👫",
        "from": {"email": "news@bücher.example", "name": "Bücher, {{ brand }}"},
        "reply_to": {"email": "answers@example.com"},
        "headers": {"X-Campaign": "{{ brand }}", "Cc": "Zoë <zoe@example.com>"},
        "attachments": [
            {
                "data": base64.b64encode(b"GIF89a").decode(),
                "base64": True,
                "content_type": "image/gif",
                "content_id": "logo",
            },
            {"data": "a;ö\n", "content_type": "text/csv", "file_name": "Übersicht.csv"},
        ],
    }
    request = {
        "envelope_sender": "bounce@example.com",
        "recipients": [
            {"email": "ann@example.net", "name": "Ann <3", "substitutions": {"offer": "10%"}},
            {"email": "bob@example.net", "substitutions": {"name": "Bobby", "offer": "20%"}},
        ],
        "content": content,
        "substitutions": {"brand": "ACME", "offer": "0%"},
    }
    answer = await peer.inject(request)
    assert answer.json()["success_count"] == 2
    ann, bob = parsed(house, 0), parsed(house, 1)
    assert ann["Subject"] == "Für Ann <3 👫"
    assert ann["To"].addresses[0].display_name == "Ann <3"
    assert bob["To"] == "bob@example.net"
    assert ann["From"].addresses[0].display_name == "Bücher, ACME"
    assert ann["From"].addresses[0].addr_spec == "news@xn--bcher-kva.example"
    assert ann["Reply-To"] == "answers@example.com"
    assert ann["Cc"].addresses[0].display_name == "Zoë"
    assert ann["X-Campaign"] == "ACME"
    assert ann["Date"].datetime is not None
    assert ann["Message-ID"] == f"<{house.queue.messages[0].id.hex()}@{HOSTNAME}>"
    assert ann.get_body(("plain",)).get_content().strip() == "Hi Ann <3, 10%"
    assert bob.get_body(("plain",)).get_content().strip() == "Hi Bobby, 20%"
    assert "Ann &lt;3" in ann.get_body(("html",)).get_content()
    parts = {part.get_content_type(): part for part in ann.walk()}
    assert list(parts) == [
        "multipart/mixed", "multipart/related", "multipart/alternative",
        "text/plain", "text/x-amp-html", "text/html", "image/gif", "text/csv",
    ]  # fmt: skip
    assert parts["text/csv"].get_filename() == "Übersicht.csv"
    assert parts["text/csv"].get_content() == "a;ö\n"
    assert parts["image/gif"]["Content-ID"] == "<logo>"
    assert all(body.isascii() for body in bodies(house))


@pytest_twisted.ensureDeferred
async def test_given_headers_win_over_built_ones(house, peer):
    """A To, Date or Message-ID in `headers`, in any case, is not made a second time; `subject` beats `headers`."""
    headers = {
        "to": "list@example.com",
        "DATE": "Mon, 01 Jan 2024 00:00:00 +0000",
        "message-id": "<x@y>",
        "subject": "no",
    }
    await peer.inject(simple({"text_body": "x", "subject": "yes", "headers": headers}))
    message = parsed(house)
    assert message.get_all("To") == ["list@example.com"]
    assert message.get_all("Date") == ["Mon, 01 Jan 2024 00:00:00 +0000"]
    assert message.get_all("Message-ID") == ["<x@y>"]
    assert message.get_all("Subject") == ["yes"]


@pytest_twisted.ensureDeferred
async def test_a_whole_message_is_a_template(house, peer):
    """A string is rendered as it stands; `to_header` is the recipient as a header shows it."""
    content = "From: Me <me@example.com>\nSubject: A test 🛳️\nTo: {{ to_header }}\n\nThis is for {{ name }}, 👻!\n"
    await peer.inject(simple(content) | {"recipients": [{"email": "u@example.com", "name": "James Smythe"}]})
    message = parsed(house)
    assert b'To: "James Smythe" <u@example.com>\r\n' in bodies(house)[0]
    assert message["Subject"] == "A test 🛳️"
    assert message["Mime-Version"] == "1.0"
    assert message.get_content() == "This is for James Smythe, 👻!\r\n"


@pytest_twisted.ensureDeferred
async def test_static_dialect(house, peer):
    """`Static` sends braces as they are."""
    await peer.inject(simple("Subject: {{ x }}\n\n{% y", template_dialect="Static"))
    assert parsed(house)["Subject"] == "{{ x }}"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (
            {"content": {"text_body": "Hello {{ First Name }}"}},
            422,
            "Error: failed parsing field 'content.text_body' as template: syntax error",
        ),
        (
            {"content": {"text_body": "x", "headers": {"X": "{{"}}},
            422,
            "failed parsing field 'headers['X']' as template",
        ),
        ({"content": "{% if %}"}, 422, "failed parsing field 'content' as template"),
        ({"content": {"subject": "x"}}, 422, "at least one of text_body and/or html_body must be given"),
        ({"template_dialect": "Handlebars"}, 422, "Handlebars is not supported"),
        ({"template_dialect": "Mustache"}, 422, "$.template_dialect"),
        ({"envelope_sender": "no mailbox"}, 500, "Error: envelope_sender: not a mailbox"),
        ({"frobnicate": 1}, 422, "unknown field `frobnicate`"),
        ({"recipients": [{"email": "a@b.c", "nmae": "x"}]}, 422, "unknown field `nmae` - at `$.recipients[0]`"),
        ({"recipients": [{"email": 5}]}, 422, "Expected `str`, got `int` - at `$.recipients[0].email`"),
        ({"recipients": "a@b.c"}, 422, "`$.recipients`"),
        ({"content": {"text_body": "x", "attachments": [{"data": "x"}]}}, 422, "`$.content.attachments[0]`"),
        (
            {"content": {"text_body": "x", "attachments": [{"data": "%", "base64": True, "content_type": "a/b"}]}},
            422,
            "content.attachments[0].data",
        ),
        (
            {"content": {"text_body": "x", "attachments": [{"data": "", "content_type": "nonsense"}]}},
            422,
            "content.attachments[0]",
        ),
        (
            {"content": {"text_body": "x", "headers": {"Content-Type": "text/plain"}}},
            422,
            "content.headers['Content-Type']",
        ),
        ({"content": {"text_body": "x", "from": {"email": "nobody"}}}, 422, "content.from"),
        ({"trace_headers": {"header_name": "X Y"}}, 422, "trace_headers.header_name"),
        ({"trace_headers": {"no": 1}}, 422, "`$.trace_headers`"),
        ({"substitutions": None}, 422, "`$.substitutions`"),
        ({"substitutions": {"n": 10**19 * 9}}, 422, "beyond 64 bits"),
        ({"recipients": [{"email": "a@b.c", "metadata": {"n": -(10**400)}}]}, 422, "beyond 64 bits"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_wrong_requests_are_told_what_is_wrong(house, peer, change, code, text):
    """A wrong field is named with its path, and nothing of the request is taken."""
    answer = await peer.inject(simple() | change)
    assert answer.code == code
    assert text in answer.text
    assert "Traceback" not in answer.text
    assert not house.store.saved


BREAKS = ["a\r\nBcc: evil@x.y", "a\nb", "a\rb", "a\0b"]


@pytest.mark.parametrize("bad", BREAKS)
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("envelope_sender", lambda bad: {"envelope_sender": f"{bad}@b.c"}),
        ("recipients[0].email", lambda bad: {"recipients": [{"email": f"{bad}@b.c"}]}),
        ("recipients[0].name", lambda bad: {"recipients": [{"email": "a@b.c", "name": bad}]}),
        ("content.subject", lambda bad: {"content": {"text_body": "x", "subject": bad}}),
        ("content.from.name", lambda bad: {"content": {"text_body": "x", "from": {"email": "a@b.c", "name": bad}}}),
        ("content.from.email", lambda bad: {"content": {"text_body": "x", "from": {"email": f"{bad}@b.c"}}}),
        (
            "content.reply_to.name",
            lambda bad: {"content": {"text_body": "x", "reply_to": {"email": "a@b.c", "name": bad}}},
        ),
        ("content.reply_to.email", lambda bad: {"content": {"text_body": "x", "reply_to": {"email": f"{bad}@b.c"}}}),
        ("content.headers['X']", lambda bad: {"content": {"text_body": "x", "headers": {"X": bad}}}),
        ("content.headers[", lambda bad: {"content": {"text_body": "x", "headers": {bad: "v"}}}),
        ("content.attachments[0].content_type", lambda bad: _attachment(content_type=f"a/b;{bad}")),
        ("content.attachments[0].content_id", lambda bad: _attachment(content_id=bad)),
        ("content.attachments[0].file_name", lambda bad: _attachment(file_name=bad)),
        ("trace_headers.header_name", lambda bad: {"trace_headers": {"header_name": bad}}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_line_break_reaches_a_header_or_command(house, peer, path, change, bad):
    """CR, LF and NUL in a field that becomes part of a header or the envelope are refused by name."""
    answer = await peer.inject(simple() | change(bad))
    assert answer.code == 422
    assert f"field '{path}" in answer.text
    assert not house.store.saved


@pytest.mark.parametrize("bad", BREAKS)
@pytest.mark.parametrize(
    "content",
    [
        {"text_body": "x", "subject": "about {{ v }}"},
        {"text_body": "x", "headers": {"X-A": "{{ v }}"}},
        {"text_body": "x", "headers": {"To": "{{ v }} <a@b.c>"}},
        {"text_body": "x", "from": {"email": "a@b.c", "name": "{{ v }}"}},
        {"text_body": "x", "reply_to": {"email": "{{ v }}@b.c"}},
        "Subject: about {{ v }}\nX-B: c\n\nbody",
        "Subject: x\nX-A: {{ v|trim }}\n\nbody",
    ],
)
@pytest.mark.parametrize("where", ["global", "own"])
@pytest_twisted.ensureDeferred
async def test_no_line_break_reaches_a_header_by_substitution(house, peer, content, bad, where):
    """A variable cannot add a header or end the header block, wherever it is used."""
    request = simple(content)
    (request if where == "global" else request["recipients"][0])["substitutions"] = {"v": bad}
    answer = await peer.inject(request)
    if answer.code == 200:
        assert answer.json()["fail_count"] == 1
        assert not house.store.saved
    else:
        assert answer.code == 422
        assert "substitutions['v']" in answer.text


@pytest_twisted.ensureDeferred
async def test_line_breaks_in_a_body_are_fine(house, peer):
    """A variable of several lines may stand in a body, also of a whole message, and becomes CRLF."""
    request = simple("Subject: {{ s|replace('\n', ' ') }}\n\n{{ v }}", substitutions={"v": "a\nb\r\nc\rd", "s": "x\ny"})
    assert (await peer.inject(request)).json()["success_count"] == 1
    assert bodies(house)[0].endswith(b"Subject: x y\r\nMime-Version: 1.0\r\n\r\na\r\nb\r\nc\r\nd\r\n")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100000, b'{"envelope_sender":"\\ud800"}']
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_a_request(peer, body):
    """Bytes that are no JSON are 400, JSON that is no request is 422; never 500, never silence."""
    answer = await peer.inject(body)
    assert answer.code in (400, 422)
    assert answer.text.startswith(("Failed to parse the request body as JSON", "Failed to deserialize the JSON body"))


@pytest_twisted.ensureDeferred
async def test_the_content_type_must_say_json(peer):
    """Without it 415, as KumoMTA; with parameters or a +json type it is fine."""
    body = json.dumps(simple()).encode()
    assert (await peer.inject(body, content_type="text/plain")).code == 415
    assert (
        await peer.request("POST", "/api/inject/v1", body)
    ).text == "Expected request with `Content-Type: application/json`"
    assert (await peer.inject(body, content_type="application/json; charset=utf-8")).code == 200
    assert (await peer.inject(body, content_type="application/vnd.x+json")).code == 200


@pytest.mark.parametrize("text", ["shutting down", "load shedding", "disk is too full", "waiting for spool startup"])
@pytest_twisted.ensureDeferred
async def test_a_shut_gate_is_503(house, peer, text):
    """When nothing can be taken the client hears why and when to try again."""
    house.gate.text = text
    answer = await peer.inject(simple())
    assert answer.code == 503
    assert answer.text == f"Error: {text}"
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "error", [SpoolUnhealthy("the spool is not accepting writes"), SpoolFull("no room"), Overload("too much")]
)
@pytest_twisted.ensureDeferred
async def test_a_failed_save_is_503(house, peer, error):
    """What is not on disk is not answered 200."""
    house.store.failure = error
    answer = await peer.inject(simple())
    assert answer.code == 503
    assert answer.text == f"Error: {error}"
    assert not house.queue.messages


@pytest_twisted.ensureDeferred
async def test_a_large_request_is_taken_in_several_commits(house, peer, monkeypatch):
    """Memory stays bounded; when the disk fails half-way, what was taken stays taken and the rest is counted failed."""
    monkeypatch.setattr(inject, "MAX_BATCH", 40)
    recipients = [{"email": f"r{number}@example.net"} for number in range(100)]
    assert (await peer.inject(simple() | {"recipients": recipients})).json()["success_count"] == 100
    commits = []
    plain = type(house.store).save

    async def save(messages):
        commits.append(len(messages))
        if len(commits) > 1:
            raise SpoolFull("no room")
        await plain(house.store, messages)

    monkeypatch.setattr(type(house.store), "save", lambda _, messages: save(messages))
    reply = (await peer.inject(simple() | {"recipients": recipients})).json()
    assert (reply["success_count"], reply["fail_count"]) == (40, 60)
    assert commits == [40, 40, 20]
    assert [one is None for one in reply["ids"]] == [False] * 40 + [True] * 60
    assert reply["errors"][0] == "r40@example.net: no room"


@pytest_twisted.ensureDeferred
async def test_a_queue_that_fails_counts_the_recipient(house, peer):
    """A message that was saved and could not be queued is bounced and told to the client."""
    house.queue.failures["bad.example"] = PolicyError("no")
    request = simple() | {"recipients": [{"email": "a@good.example"}, {"email": "a@bad.example"}]}
    reply = (await peer.inject(request)).json()
    assert reply["failed_recipients"] == ["a@bad.example"]
    assert reply["ids"][1] is None
    assert len(house.recorder.of(RecordType.BOUNCE)) == 1


@pytest_twisted.ensureDeferred
async def test_a_defect_is_500_without_details(house, peer, monkeypatch):
    """An unexpected error is logged for us; the client learns nothing about our insides."""
    house.policy.handlers["http_message_generated"] = lambda message, auth: 1 / 0
    seen = _expect_failure(monkeypatch)
    answer = await peer.inject(simple())
    assert answer.code == 500
    assert answer.text == "Error: internal error; the diagnostic log says more"
    assert len(seen) == 1


@pytest_twisted.ensureDeferred
async def test_many_clients_at_once(house, peer):
    """Requests on many connections, and several on one, do not disturb each other."""
    clients = [await peer.connect() for _ in range(20)]
    waiting = []
    for number, client in enumerate(clients):
        for count in range(5):
            client.send(_encode(simple() | {"recipients": [{"email": f"r{number}.{count}@example.net"}]}))
            waiting.append(client.next())
    answers = await DeferredList(waiting, fireOnOneErrback=True)
    assert [answer.code for _, answer in answers] == [200] * 100
    assert len({message.recipients[0] for message in house.queue.messages}) == 100


@pytest_twisted.ensureDeferred
async def test_handlers_that_wait_hold_up_nobody(peer, house):
    """While policy waits for one client, others are served."""
    from twisted.internet.defer import Deferred

    gate: Deferred[None] = Deferred()
    house.policy.handlers["http_message_generated"] = lambda message, auth: (
        gate if message.recipients[0].user == "slow" else None
    )
    slow = await peer.connect()
    slow.send(_encode(simple() | {"recipients": [{"email": "slow@example.net"}]}))
    waiting = slow.next()
    assert (await peer.inject(simple())).code == 200
    assert not waiting.called
    gate.callback(None)
    assert (await waiting).code == 200


@pytest_twisted.ensureDeferred
async def test_injection_needs_no_http():
    """The same logic can be called by the house itself."""
    from kumotwist.core.connection import AuthInfo
    from kumotwist.intake.inject.request import decode

    house = House(policy=FakeHttpPolicy())
    request = decode(json.dumps(simple()).encode())
    result = await house.injection.inject(request, inject.Origin(AuthInfo()))
    assert result.success_count == 1
    assert house.queue.messages[0].meta["received_from"] == "127.0.0.1"


def _attachment(**fields):
    attachment = {"data": "x", "content_type": "text/plain"} | fields
    return {"content": {"text_body": "x", "attachments": [attachment]}}


def _encode(request):
    from support.fakes_http import encode

    return encode("POST", "/api/inject/v1", json.dumps(request).encode(), content_type="application/json")


async def _turn():
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, 0.001)


def _expect_failure(monkeypatch):
    """Collect what the server logs as failed instead of logging it."""
    from kumotwist.net import httpserver

    seen = []
    monkeypatch.setattr(httpserver.log, "failure", lambda *args, **more: seen.append(args), raising=False)
    return seen
