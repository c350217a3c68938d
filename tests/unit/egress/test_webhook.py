"""The webhook channel: what is posted, how it is signed, and what strangers' URLs cannot reach."""

import base64
import json
from urllib.parse import parse_qsl

import pytest
import pytest_twisted
from standardwebhooks import Webhook, WebhookVerificationError
from support.fakes_egress import FakeKeys, make_channels, make_message, make_request
from support.webpeer import turn, web_peer
from twisted.internet import reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import SOURCE_REST, Scope, Verdict
from kumotwist.egress.protocols import protocol
from kumotwist.egress.webhook import WebhookOptions
from kumotwist.net.http import HttpTransports

NEW = "whsec_" + base64.b64encode(b"the new secret of the receiver").decode()
OLD = "whsec_" + base64.b64encode(b"the old secret of the receiver").decode()


async def deliver(messages, **options):
    """The outcomes of a batch over the channel with these options."""
    transports = HttpTransports(reactor)
    chosen = WebhookOptions(**{"allow_private_addresses": True, **options})
    session = make_channels(reactor, http=transports).channel_for(chosen).open(make_request())
    await session.connect()
    rows = await session.deliver(messages)
    await session.close()
    await transports.close()
    await turn()
    return [row[0] for row in rows]


async def posted(*messages, **options):
    """The one request that a batch makes."""
    async with web_peer() as peer:
        peer.answer("/hook")
        outcomes = await deliver(messages, url=f"{peer.url}/hook", **options)
        assert {one.verdict for one in outcomes} == {Verdict.DELIVERED}, outcomes
    (seen,) = peer.seen
    return seen


def headers_of(seen):
    return {name: values[0] for name, values in seen.headers.items()}


@pytest_twisted.ensureDeferred
async def test_receivers_verify_with_the_library_of_standard_webhooks_also_while_a_secret_is_rotated():
    """Who knows the new secret verifies, who knows only the old one does too, and nobody else."""
    message = make_message()
    seen = await posted(message, secrets=(LiteralKey(NEW.encode()), LiteralKey(OLD.encode())))
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(seen.body, headers_of(seen))["id"] == message.id.hex()
    assert seen.header("webhook-id") == message.id.hex()
    stranger = Webhook("whsec_" + base64.b64encode(b"of somebody else").decode())
    with pytest.raises(WebhookVerificationError):
        stranger.verify(seen.body, headers_of(seen))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(seen.body + b" ", headers_of(seen))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(seen.body, {**headers_of(seen), "webhook-id": "another"})


@pytest_twisted.ensureDeferred
async def test_without_secrets_a_call_still_has_its_id_and_time():
    """Receivers remove doubles by the id; other credentials go in an Authorization header."""
    seen = await posted(make_message(), authorization=LiteralKey(b"Bearer t0ken\n"))
    assert seen.header("webhook-id")
    assert seen.header("webhook-timestamp").isdecimal()
    assert seen.header("webhook-signature") is None
    assert seen.header("authorization") == "Bearer t0ken"


@pytest_twisted.ensureDeferred
async def test_a_secret_that_is_not_base64_sends_nothing():
    """`whsec_` promises base64; what is none makes everything wait for a better one, and does not show."""
    async with web_peer() as peer:
        (outcome,) = await deliver([make_message()], url=peer.url, secrets=(LiteralKey(b"whsec_!hunter2"),))
        assert not peer.seen
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE)
    assert "whsec_" in outcome.response.content
    assert "hunter2" not in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_message_as_json():
    """Envelope, headers, texts, chosen meta and files, whose content goes along when asked for."""
    body = (
        b"From: Ann <ann@src.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>hi</b>\r\n"
        b"--b\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n1,2\r\n"
        b"--b--\r\n"
    )
    message = make_message("a@dest.test", "b@dest.test", body=body, meta={"tenant": "acme", "secret": "no"})
    value = json.loads((await posted(message, meta=("tenant", "absent"))).body)
    assert value["type"] == "message"
    assert value["recipients"] == ["a@dest.test", "b@dest.test"]
    assert value["from"] == [{"email": "ann@src.test", "name": "Ann"}]
    assert (value["subject"], value["html"].strip(), value["meta"]) == ("Grüße", "<b>hi</b>", {"tenant": "acme"})
    (file,) = value["attachments"]
    assert file == {"name": "a.csv", "content_type": "text/csv", "size": 3}
    value = json.loads((await posted(message, attachments=True)).body)
    assert base64.b64decode(value["attachments"][0]["content"]) == b"1,2"


@pytest_twisted.ensureDeferred
async def test_the_mime_alone_a_form_the_meta_or_one_value_of_it():
    """`content` and `format` choose what is posted."""
    message = make_message(meta={"data": {"order": 4711, "who": "Ann"}, "tenant": "acme"})
    seen = await posted(message, content="raw")
    assert (seen.header("content-type"), seen.body) == ("message/rfc822", message.body)
    seen = await posted(message, content="meta", meta=("tenant", "data"))
    assert json.loads(seen.body) == {"tenant": "acme", "data": {"order": 4711, "who": "Ann"}}
    seen = await posted(message, content="value", meta=("data",))
    assert json.loads(seen.body) == {"order": 4711, "who": "Ann"}
    seen = await posted(message, content="value", meta=("data",), format="form")
    assert seen.header("content-type") == "application/x-www-form-urlencoded"
    assert parse_qsl(seen.body.decode()) == [("order", "4711"), ("who", "Ann")]


@pytest_twisted.ensureDeferred
async def test_a_batch_is_an_array_that_the_receiver_knows_again():
    """One call for all; the same batch again has the same id, and one that only begins alike another."""
    messages = [make_message(meta={"log_record": {"type": "Delivery", "id": str(n)}}) for n in range(3)]
    options = {"content": "value", "meta": ("log_record",), "batch_size": 10, "secrets": (LiteralKey(NEW.encode()),)}
    seen = await posted(*messages, **options)
    assert [one["id"] for one in Webhook(NEW).verify(seen.body, headers_of(seen))] == ["0", "1", "2"]
    again, fewer = await posted(*messages, **options), await posted(*messages[:2], **options)
    assert seen.header("webhook-id") == again.header("webhook-id") != fewer.header("webhook-id")
    assert isinstance(json.loads((await posted(messages[0], **options)).body), list)


@pytest_twisted.ensureDeferred
async def test_one_message_that_lacks_its_value_does_not_hold_up_the_batch():
    """It is refused, with the key in the record; the others go."""
    messages = [make_message(meta={"data": 1}), make_message(), make_message(meta={"data": 3})]
    async with web_peer() as peer:
        peer.answer("/hook")
        url = f"{peer.url}/hook"
        outcomes = await deliver(messages, url=url, content="value", meta=("data",), batch_size=5)
        assert [one.verdict for one in outcomes] == [Verdict.DELIVERED, Verdict.PERMANENT, Verdict.DELIVERED]
        assert "'data'" in outcomes[1].response.content
        assert json.loads(peer.seen[0].body) == [1, 3]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:9/x",
        "http://[::1]:9/x",
        "http://[::ffff:127.0.0.1]:9/x",
        "http://2130706433:9/x",
        "http://localhost:9/x",
    ],
)
@pytest.mark.parametrize("from_meta", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_private_address_is_not_called(url, from_meta):
    """A message that brought it is bounced; the operator's is a slip for which everything waits, uncharged."""
    where = {"url_meta": "hook"} if from_meta else {"url": url}
    message = make_message(meta={"hook": url})
    (outcome,) = await deliver([message], allow_private_addresses=False, **where)
    if from_meta:
        assert (outcome.verdict, outcome.scope) == (Verdict.PERMANENT, Scope.MESSAGE)
        assert "no URL to call: what stands in meta 'hook' is not on the public Internet" in outcome.response.content
    else:
        assert (outcome.verdict, outcome.scope, outcome.retry_after) == (Verdict.TRANSIENT, Scope.SOURCE, SOURCE_REST)
        assert "option 'url' of protocol.webhook" in outcome.response.content
        assert "allow_private_addresses = true" in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_secret_url_that_is_a_private_address_is_a_slip_too():
    """The record names the option and the host, and no more of the URL."""
    options = {"secret_url": LiteralKey(b"http://10.0.0.7:8080/s3cret"), "allow_private_addresses": False}
    (outcome,) = await deliver([make_message()], **options)
    assert (outcome.verdict, outcome.scope, outcome.retry_after) == (Verdict.TRANSIENT, Scope.SOURCE, SOURCE_REST)
    assert "10.0.0.7" in outcome.response.content
    assert "option 'secret_url' of protocol.webhook" in outcome.response.content
    assert "s3cret" not in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_a_refusal_whose_target_nobody_calls():
    """Where it leads is in the record, without path and query, which may be secrets."""
    async with web_peer() as peer:
        peer.answer("/hook", 307, Location=f"{peer.url}/inner?token=s3cret")
        peer.answer("/inner")
        (outcome,) = await deliver([make_message()], url=f"{peer.url}/hook")
        assert [seen.uri for seen in peer.seen] == ["/hook"]
    assert outcome.verdict is Verdict.TRANSIENT
    assert "redirects to http://127.0.0.1 are not followed" in outcome.response.content
    assert "s3cret" not in outcome.response.content


@pytest_twisted.ensureDeferred
async def test_a_url_that_a_message_brought_concerns_that_message_only():
    """One user's endpoint that says 401 or 429 rests nobody else's; 410 tells the application to drop it."""
    async with web_peer() as peer:
        verdicts = {}
        for code in (200, 401, 429, 410):
            peer.answer(f"/{code}", code)
            message = make_message(meta={"hook": f"{peer.url}/{code}"})
            (outcome,) = await deliver([message], url_meta="hook")
            verdicts[code] = (outcome.verdict, outcome.scope, outcome.is_address_dead)
            assert outcome.peer.name == peer.url.removeprefix("http://")
    assert verdicts == {
        200: (Verdict.DELIVERED, Scope.MESSAGE, False),
        401: (Verdict.TRANSIENT, Scope.MESSAGE, False),
        429: (Verdict.TRANSIENT, Scope.MESSAGE, False),
        410: (Verdict.PERMANENT, Scope.MESSAGE, True),
    }


@pytest.mark.parametrize(
    "url", [None, 5, "ftp://a.test/", "file:///etc/passwd", "not a url", "http://" + "a" * 9000, "http://a.test:x/"]
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_url_bounces_its_message(url):
    """With the reason in the record."""
    (outcome,) = await deliver([make_message(meta={"hook": url} if url is not None else {})], url_meta="hook")
    assert outcome.verdict is Verdict.PERMANENT
    assert "no URL to call" in outcome.response.content


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either 'url', 'secret_url' or 'url_meta'"),
        ({"url": "http://a.test", "url_meta": "hook"}, "either"),
        ({"url": "a.test/hook"}, "not an http"),
        ({"url": "http://a.test:x/"}, "[Pp]ort"),
        ({"url": "http://a.test", "content": "value"}, "name the key"),
        ({"url_meta": "hook", "batch_size": 5}, "array for one URL"),
        ({"url": "http://a.test", "batch_size": 0}, "batch_size"),
        ({"url": "http://a.test", "headers": {"X-A": "a\r\nX-B: b"}}, "X-A"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options, says):
    """When the policy is read, `kumotwist validate` included, in words that say what to change."""
    with pytest.raises(ConfigError, match=f"protocol.webhook.*{says}"):
        protocol({"webhook": options}, "test")


def test_a_policy_may_name_several_secrets_and_headers():
    """As tables of Lua."""
    chosen = protocol(
        {
            "webhook": {
                "url": "https://a.test",
                "secrets": [{"key_data": NEW}, "/etc/old"],
                "headers": {"X-Env": "live"},
            }
        },
        "test",
    )
    assert len(chosen.secrets) == 2
    assert NEW not in repr(chosen)
    assert make_channels(reactor).channel_for(chosen).credentials.sources.keys() == {"secrets 1", "secrets 2"}


def test_a_feed_gathers_records_before_it_calls():
    """`min_batch_size` and `max_batch_latency`, as custom_lua has them."""
    chosen = WebhookOptions(url="https://a.test", batch_size=50, min_batch_size=100, max_batch_latency=2.0)
    session = make_channels(reactor).channel_for(chosen).open(make_request())
    assert (session.max_batch, session.min_batch, session.batch_latency) == (50, 50, 2.0)


@pytest_twisted.ensureDeferred
async def test_customers_urls_have_sites_of_their_own():
    """By the queue's domain; the operator's own URL is one site, whatever the domain."""
    channels = make_channels(reactor)
    theirs = channels.channel_for(WebhookOptions(url_meta="hook"))
    assert await theirs.site_name("customer-7.hooks") == "customer-7.hooks"
    ours = channels.channel_for(WebhookOptions(url="https://app.example.com/hooks"))
    assert await ours.site_name("customer-7.hooks") == "app.example.com"


@pytest_twisted.ensureDeferred
async def test_a_url_that_is_a_secret_is_read_anew_when_it_is_gone_and_shows_nowhere():
    """The service gave out another: the same message goes there at once."""
    async with web_peer() as peer:
        peer.answer("/new-s3cret")
        peer.answer("/old-s3cret", 404, b"/old-s3cret is not here")
        old, keys = f"{peer.url}/old-s3cret".encode(), FakeKeys()
        transports = HttpTransports(reactor)
        options = WebhookOptions(secret_url=LiteralKey(old), allow_private_addresses=True)
        session = make_channels(reactor, http=transports, keys=keys).channel_for(options).open(make_request())
        await session.connect()
        ((gone,),) = await session.deliver([make_message()])
        assert (gone.verdict, gone.response.content) == (Verdict.TRANSIENT, "404 Not Found: /*** is not here")
        keys.current[old] = f"{peer.url}/new-s3cret".encode()
        ((taken,),) = await session.deliver([make_message()])
        assert taken.verdict is Verdict.DELIVERED
        keys.current[old] = b"new-s3cret"
        keys.cached.clear()
        ((wrong,),) = await session.deliver([make_message()])
        assert (wrong.scope, "s3cret" in wrong.response.content) == (Scope.SOURCE, False)
        await session.close()
        await transports.close()
        await turn()
