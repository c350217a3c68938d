"""What every channel over an HTTP API promises, run on each of them against a real web server."""

import json
import time
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from importlib import import_module
from urllib.parse import parse_qsl

import attrs
import pytest
import pytest_twisted
from support.apicases.case import TOKEN_PATH, Said, token_for
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.webpeer import authority, turn, web_peer
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.config.keysource import FileKey, LiteralKey
from kumotwist.config.option import Duration
from kumotwist.core.errors import ConnectFailed, SessionEnded
from kumotwist.core.outcome import SOURCE_REST, Scope, Verdict
from kumotwist.net.http import HttpTransports

#: A file each in tests/support/apicases.
PROVIDERS = (
    "aws_sms",
    "bird",
    "brevo",
    "brevo_sms",
    "discord",
    "fcm",
    "gmail",
    "graph",
    "infobip",
    "kannel",
    "mailgun",
    "mailjet",
    "messagebird",
    "plivo",
    "postmark",
    "resend",
    "sendgrid",
    "ses",
    "sinch",
    "slack",
    "slack_bot",
    "sparkpost",
    "teams",
    "telegram",
    "telnyx",
    "twilio",
    "vonage",
    "vonage_messages",
    "webhook",
    "webpush",
)

CASES = [import_module(f"support.apicases.{name}").CASE for name in PROVIDERS]
EACH = pytest.mark.parametrize("case", CASES, ids=PROVIDERS)
#: The yes of a webhook is its status, whatever program of the user's is behind it.
SAY_NO_MORE_THAN_YES = ("webhook",)
PROVING = [
    pytest.param(one, id=name) for name, one in zip(PROVIDERS, CASES, strict=True) if name not in SAY_NO_MORE_THAN_YES
]
#: What stands on the way says so: captive portals, proxies, the default site of a web server, a CDN.
PAGES = (
    b"<html>Please sign in.</html>",
    b"<!DOCTYPE html><title>ok</title>",
    b"\xef\xbb\xbf\r\n<?xml version='1.0'?><Error/>",
)
#: Old Teams connectors answer the number of posts, UnifiedPush's gateways nothing.
AS_GOOD_AS_A_YES = (("teams", b"200"), ("webpush", b""))


#: Seconds that a source rests when it was throttled and nobody said for how long.
WITHOUT_HINT = 10


class World:
    """A provider's channel and its peer."""

    def __init__(self, case, url, peer, channels, options, keys):
        self.case = case
        self.meta = case.meta_at(url)
        self.peer = peer
        self.channels = channels
        self.options = options
        self.keys = keys

    def say(self, said):
        headers = {name.replace("-", "_"): value for name, value in said.headers.items()}
        self.peer.answer(self.case.path, said.code, said.octets, **headers)

    def message(self, *recipients):
        return make_message(*(recipients or self.case.recipients), body=self.case.body, meta=self.meta)

    async def session(self):
        session = self.channels.channel_for(self.options).open(make_request())
        await session.connect()
        return session

    async def deliver(self, message=None):
        """The outcomes of one message, over a session of its own; that of connecting, where that is what fails."""
        message = message or self.message()
        try:
            session = await self.session()
        except ConnectFailed as failure:
            return [failure.outcome] * len(message.recipients)
        (outcomes,) = await session.deliver([message])
        await session.close()
        return outcomes


@asynccontextmanager
async def world(case, url=None, tls=None, trust=None, key=None, **more):
    async with web_peer(tls) as peer, web_peer() as tokens:
        tokens.answers[TOKEN_PATH] = partial(give_token, tokens)
        keys, transports = FakeKeys(), HttpTransports(reactor, trust)
        given = (url or peer.url, key or LiteralKey(case.secret.encode()))
        options = case.options(*given, tokens.url) if case.has_tokens else case.options(*given)
        options = attrs.evolve(options, **more)
        yield World(case, given[0], peer, make_channels(reactor, keys=keys, http=transports), options, keys)
        await transports.close()
        await turn()


def give_token(tokens, request):
    """An authority that gives a token of its own for each secret."""
    fields = dict(parse_qsl(tokens.seen[-1].body.decode()))
    token = token_for(fields.get("client_secret") or fields["assertion"])
    return json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()


def assert_alike(outcomes, verdict, scope):
    assert {(one.verdict, one.scope) for one in outcomes} == {(verdict, scope)}


@EACH
@pytest_twisted.ensureDeferred
async def test_delivers(case):
    """The request is as the provider documents it, has our id and the credentials; the provider's id comes back."""
    async with world(case) as around:
        around.say(case.accepted)
        message = around.message()
        outcomes = await around.deliver(message)
        assert len(outcomes) == len(message.recipients)
        assert_alike(outcomes, Verdict.DELIVERED, Scope.MESSAGE)
        (one, *_) = outcomes
        assert (one.remote_id, one.parts) == (case.remote_id, case.parts)
        assert one.response.content.startswith(f"{case.accepted.code} ")
        assert (one.peer.channel, one.peer.account, one.peer.delivery_protocol) == (case.name, "main", "HTTP")
        (seen,) = around.peer.seen
        case.check(seen, message.id.hex())
        assert case.shows(seen, case.secret)


@EACH
@pytest_twisted.ensureDeferred
async def test_a_message_that_is_refused_for_good_is_permanent(case):
    """What the provider will never take is bounced, with its own words in the record; also under HTTP 200."""
    async with world(case) as around:
        for said in case.permanent:
            around.say(said)
            outcomes = await around.deliver()
            assert_alike(outcomes, Verdict.PERMANENT, Scope.MESSAGE)
            assert outcomes[0].response.code == 550
            assert outcomes[0].response.content.startswith(f"{said.code} ")


@EACH
@pytest_twisted.ensureDeferred
async def test_a_fault_that_passes_is_transient(case):
    """500, 502, 503, 504, 408: later, by the queue's schedule, whatever the body is."""
    async with world(case) as around:
        for said in (*map(Said, (500, 502, 503, 504, 408)), Said(500, b"<html>oops"), *case.transient):
            around.say(said)
            assert_alike(await around.deliver(), Verdict.TRANSIENT, Scope.MESSAGE)


@EACH
@pytest_twisted.ensureDeferred
async def test_throttling_rests_the_source_for_as_long_as_told(case):
    """429 with each form of hint: seconds, a date, a span until the reset, a Unix time; or without any."""
    soon = time.time() + 120
    hints = [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": formatdate(soon, usegmt=True)}, 120),
        ({"ratelimit-reset": "33"}, 33),
        ({"X-RateLimit-Reset": str(int(soon))}, 120),
        ({"X-RateLimit-Reset": f"{soon:.3f}"}, 120),
        ({"x-sib-ratelimit-reset": "21"}, 21),
        ({"Retry-After": "soon"}, WITHOUT_HINT),
        ({}, WITHOUT_HINT),
    ]
    async with world(case) as around:
        for said, seconds in [*((Said(429, b"", headers), seconds) for headers, seconds in hints), *case.throttled]:
            around.say(said)
            outcomes = await around.deliver()
            assert_alike(outcomes, Verdict.TRANSIENT, case.reach)
            if case.reach is Scope.MESSAGE and seconds == WITHOUT_HINT:
                assert outcomes[0].retry_after is None
            else:
                assert outcomes[0].retry_after == pytest.approx(seconds, abs=2.5)


@EACH
@pytest_twisted.ensureDeferred
async def test_a_fault_of_our_account_never_costs_a_message(case):
    """401, 402, 403 and the provider's own words for them: everything waits, nothing is bounced or charged."""
    async with world(case) as around:
        for said in (*map(Said, (401, 402, 403)), *case.account):
            around.say(said)
            outcomes = await around.deliver()
            assert_alike(outcomes, Verdict.TRANSIENT, case.reach)
            assert case.reach is Scope.MESSAGE or outcomes[0].retry_after == SOURCE_REST


#: Who is called stands in the message: what is wrong with the place is wrong with that message.
NAMED_BY_MESSAGES = ("webpush",)


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.name not in NAMED_BY_MESSAGES], ids=lambda case: case.name
)
@pytest.mark.parametrize("code", [404, 405, 410])
@pytest_twisted.ensureDeferred
async def test_a_base_url_that_leads_elsewhere_never_costs_a_message(case, code):
    """A mistake in `base_url`, or a gateway that was moved, makes mail wait; a policy that is put right delivers it."""
    if (case.name, code) == ("webhook", 410):
        return  # how a receiver says that it wants no more
    async with world(case) as around:
        for body in (b"<html><h1>nothing here</h1></html>", b"", b"404 page not found"):
            around.say(Said(code, body))
            outcomes = await around.deliver()
            assert {one.verdict for one in outcomes} == {Verdict.TRANSIENT}


@EACH
@pytest.mark.parametrize(
    "words",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br /></p>",
    ],
    ids=["go", "nginx", "apache"],
)
@pytest_twisted.ensureDeferred
async def test_http_where_https_is_wanted_never_costs_a_message(case, words):
    """A `base_url` that lacks an s: web servers say 400, in words that are about the place and no message."""
    async with world(case) as around:
        around.say(Said(400, words))
        assert_alike(await around.deliver(), Verdict.TRANSIENT, case.reach)


@EACH
@pytest_twisted.ensureDeferred
async def test_a_secret_that_was_rotated_is_picked_up(case):
    """The old key is refused, the store has a new one: the same message goes out with it, at once."""
    async with world(case) as around:
        around.say(case.accepted)
        assert_alike(await around.deliver(), Verdict.DELIVERED, Scope.MESSAGE)
        around.keys.current[case.secret.encode()] = case.rotated.encode()
        accepted = around.peer.answers[case.path]

        def only_the_new_key(request):
            if case.shows(around.peer.seen[-1], case.rotated):
                return accepted(request)
            request.setResponseCode(401)
            return b""

        # Where the secret is part of the URL, a new one leads elsewhere.
        around.peer.answers[case.path] = only_the_new_key
        around.peer.answers[case.path.replace(case.secret, case.rotated)] = only_the_new_key
        assert_alike(await around.deliver(), Verdict.DELIVERED, Scope.MESSAGE)
        assert len(around.peer.seen) == 3


@EACH
@pytest_twisted.ensureDeferred
async def test_a_secret_that_cannot_be_had_rests_the_source(case):
    """Vault is away or the file is: mail waits, and the reason says which secret, not what is in it."""
    async with world(case, key=FileKey("/nowhere")) as around:
        with pytest.raises(ConnectFailed) as caught:
            await around.session()
        assert (caught.value.outcome.verdict, caught.value.outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
        assert "/nowhere" in caught.value.outcome.response.content
        assert not around.peer.seen


@pytest.mark.parametrize("case", [case for case in CASES if not case.has_tokens], ids=lambda case: case.name)
@pytest_twisted.ensureDeferred
async def test_a_provider_that_repeats_the_secret_finds_no_echo(case):
    """What it says goes into records, its words about a wrong key included; the key does not."""
    async with world(case) as around:
        for code in (400, 401, 500):
            around.say(Said(code, f"the key {case.secret} is wrong".encode()))
            outcomes = await around.deliver()
            assert all(case.secret not in one.response.content for one in outcomes)


@EACH
@pytest_twisted.ensureDeferred
async def test_a_secret_with_a_line_break_makes_no_header(case):
    """A key pasted wrong cannot smuggle a header into a request."""
    async with world(case, key=LiteralKey(b"key\r\nX-Smuggled: yes")) as around:
        around.say(case.accepted)
        outcomes = await around.deliver()
        assert all("x-smuggled" not in seen.headers for seen in around.peer.seen)
        # Either it is written so that it does no harm, or everything waits for a better one; nothing is bounced for it.
        assert outcomes[0].verdict is not Verdict.PERMANENT
        assert outcomes[0].verdict is Verdict.DELIVERED or outcomes[0].scope is Scope.SOURCE
        assert "Smuggled" not in outcomes[0].response.content


@EACH
@pytest.mark.parametrize(
    ("choice", "verdict"),
    [("Retry", Verdict.TRANSIENT), ("Bounce", Verdict.PERMANENT), ("AssumeDelivered", Verdict.DELIVERED)],
)
@pytest_twisted.ensureDeferred
async def test_no_reply_to_a_request_that_was_sent_is_judged_by_policy(case, choice, verdict):
    """Nobody knows whether it was taken: the operator chose what to risk, and the record says so."""
    async with world(case, timeout=Duration(0.2), on_unknown=choice) as around:
        around.peer.answers[case.path] = lambda request: None
        outcomes = await around.deliver()
        if case.is_idempotent:
            assert {one.verdict for one in outcomes} == {Verdict.TRANSIENT}
            assert not any(one.is_ambiguous for one in outcomes)
        else:
            assert {one.verdict for one in outcomes} == {verdict}
            assert all(one.is_ambiguous for one in outcomes)
            assert "unknown whether it was taken" in outcomes[0].response.content


@EACH
@pytest_twisted.ensureDeferred
async def test_a_peer_that_cannot_be_reached_is_a_passing_failure_and_ends_the_session(case):
    """Refused connections charge an attempt and nothing else; nothing is ambiguous about them."""
    async with world(case, url="http://127.0.0.1:9") as around:
        outcomes = await around.deliver()
        assert_alike(outcomes, Verdict.TRANSIENT, Scope.SESSION)
        assert not outcomes[0].is_ambiguous
        assert "cannot connect" in outcomes[0].response.content


@EACH
@pytest_twisted.ensureDeferred
async def test_a_peer_that_hangs_up_is_a_passing_failure(case):
    """A connection that breaks before the reply leaves the message with us."""
    async with world(case) as around:

        def hang_up(request):
            request.transport.abortConnection()

        around.peer.answers[case.path] = hang_up
        outcomes = await around.deliver()
        assert_alike(outcomes, Verdict.TRANSIENT, Scope.SESSION)


@EACH
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_does_not_verify_is_not_trusted(case):
    """The credentials never reach a server that cannot prove to be the provider, and so nothing is in doubt."""
    _, tls = authority("localhost")
    async with world(case, tls=tls, on_unknown="AssumeDelivered") as around:
        around.say(case.accepted)
        outcomes = await around.deliver()
        assert_alike(outcomes, Verdict.TRANSIENT, Scope.SESSION)
        assert not any(one.is_ambiguous for one in outcomes)
        assert not around.peer.seen


@EACH
@pytest_twisted.ensureDeferred
async def test_a_body_that_is_not_what_it_should_be_breaks_nothing(case):
    """Whatever JSON or junk comes under whatever status, each recipient has an outcome."""
    bodies = [b"", b"null", b"[]", b"[[]]", b'{"errors": 3}', b'{"results": []}', b"{" * 5000, b"\xff\x00", b'"x"']
    async with world(case) as around:
        for code in (200, 202, 400, 500):
            for body in bodies:
                around.say(Said(code, body))
                message = around.message()
                outcomes = await around.deliver(message)
                assert len(outcomes) == len(message.recipients)
                assert all("\n" not in one.response.content for one in outcomes)


@pytest.mark.parametrize("case", PROVING)
@pytest_twisted.ensureDeferred
async def test_a_yes_of_something_on_the_way_is_not_taken_for_the_providers(case):
    """A proxy or captive portal that answers 200 with a page of its own does not make mail disappear."""
    async with world(case) as around:
        replies = [Said(200, body) for body in (*PAGES, b"{}", b"", b"OK then", b"200", b"null")]
        replies += [Said(code, page) for code in (201, 202, 203, 206) for page in PAGES]
        replies = [one for one in replies if (case.name, one.octets) not in AS_GOOD_AS_A_YES]
        for said in (*replies, Said(200, PAGES[0], {"Content-Type": "text/html"})):
            around.say(said)
            for outcome in await around.deliver():
                assert outcome.verdict is Verdict.TRANSIENT, said
                assert outcome.is_ambiguous or case.is_idempotent


@pytest.mark.parametrize("case", PROVING)
@pytest_twisted.ensureDeferred
async def test_a_no_of_something_on_the_way_bounces_nothing(case):
    """A firewall's 403, a web server's 400 for a `http://` that should be `https://`: a page is no provider's word."""
    async with world(case) as around:
        for code in (400, 401, 402, 403, 406, 407, 409, 411, 414, 421, 422, 426, 431, 451, 500, 502, 503, 511):
            around.say(Said(code, b"<html><h1>Bad Request</h1></html>"))
            for outcome in await around.deliver():
                assert outcome.verdict is Verdict.TRANSIENT, code


@EACH
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed_and_costs_no_message(case, code):
    """A `base_url` that moved, or a portal that sends everybody to its page: mail waits, and the record says where."""
    async with world(case) as around:
        around.say(Said(code, b"", {"Location": "https://login.portal.test/?back=s3cret"}))
        outcomes = await around.deliver()
        assert {one.verdict for one in outcomes} == {Verdict.TRANSIENT}
        assert "redirects to https://login.portal.test are not followed" in outcomes[0].response.content
        assert "s3cret" not in outcomes[0].response.content
        # The place is the operator's, so everything rests until it is mended, and nothing is charged.
        at_once = case.reach is Scope.SOURCE and case.name != "webhook"
        assert {one.scope for one in outcomes} == {Scope.SOURCE if at_once else Scope.MESSAGE}
        assert len(around.peer.seen) == 1


@pytest.mark.parametrize("case", [case for case in CASES if not case.meta_for], ids=lambda case: case.name)
@pytest_twisted.ensureDeferred
async def test_each_recipient_of_a_message_has_an_outcome(case):
    """Several recipients, by however many requests."""
    async with world(case) as around:
        around.say(case.accepted_together(3) if case.accepted_together else case.accepted)
        recipients = [case.recipients[0]] * 3
        outcomes = await around.deliver(around.message(*recipients))
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED] * 3


@EACH
@pytest_twisted.ensureDeferred
async def test_a_session_connects_once_and_closes_at_any_time(case):
    """As with every channel."""
    async with world(case) as around:
        session = await around.session()
        assert session.is_connected
        with pytest.raises(SessionEnded):
            await session.connect()
        await session.close()
        await session.close()
        assert not session.is_connected


@EACH
@pytest_twisted.ensureDeferred
async def test_cancelling_a_delivery_ends_the_session(case):
    """A shutdown or watchdog takes the request away; nothing stays behind."""
    async with world(case) as around:
        around.peer.answers[case.path] = lambda request: None
        session = await around.session()
        delivery = Deferred.fromCoroutine(session.deliver([around.message()]))
        await turn()
        delivery.cancel()
        with pytest.raises(CancelledError):
            await delivery
        assert not session.is_connected
        await session.close()
