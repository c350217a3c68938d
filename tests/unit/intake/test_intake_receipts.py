"""Receipts over HTTP: what is let in, what is answered, what is noted."""

import base64
import hmac
import json
from urllib.parse import urlencode

import pytest
import pytest_twisted
from support.fakes_http import FakeHttpPolicy, Peer
from support.receipts import CERT_URL, NOW, TOPIC, SendgridKey, Sns, b64, mailgun_body
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError, Overload, SecretUnavailable
from kumotwist.intake.http.site import build_site
from kumotwist.intake.receipts import ReceiptIntake
from kumotwist.intake.sns import SnsGate
from kumotwist.net.http import HttpError
from kumotwist.proto.receipts.schemes import SCHEMES

OURS = "3f0a3c2e8ac011efa1b20242ac120002"


class FakeDesk:
    """A desk that keeps its promise in memory: a token counts once, and what fails is not noted."""

    def __init__(self):
        self.events, self.tokens, self.failure = [], set(), None

    async def receive_once(self, events, token, until):
        if self.failure is not None:
            raise self.failure
        if token and token in self.tokens:
            return False
        self.tokens.add(token)
        self.events.extend(events)
        return True

    def told(self):
        return [(one.channel, one.account, one.state.value, one.remote_id) for one in self.events]


class FakeKeys:
    """Literal keys; `failure` instead when there is one."""

    failure = None

    async def load(self, source):
        if self.failure is not None:
            raise self.failure
        return source.key_data


class FakeSns:
    """What stands at SNS's addresses."""

    def __init__(self):
        self.pages, self.asked = {}, []

    async def fetch(self, url):
        self.asked.append(url)
        if url not in self.pages:
            raise HttpError(f"{url} answered 404")
        return self.pages[url]


class Listening:
    """A listener with receipts, and the doubles behind it."""

    def __init__(self, receipts, **options):
        self.desk, self.keys, self.sns, self.clock = FakeDesk(), FakeKeys(), FakeSns(), Clock()
        self.clock.advance(NOW)
        given = {"receipts": receipts, "trusted_hosts": [], **options}
        config = structure(HttpListenerConfig, given, "kumo.start_http_listener")
        self.intake = ReceiptIntake(self.desk, self.keys, SnsGate(self.sns.fetch), self.clock)
        routes = self.intake.routes(config.receipts, config.use_tls)
        site = build_site(config, FakeHttpPolicy(), reactor, routes)
        self.peer = Peer(reactor.listenTCP(0, site, interface="127.0.0.1"), site)
        self.host = f"127.0.0.1:{self.peer.port.getHost().port}"

    async def post(self, path, body=b"", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.peer.request("POST", path, data, **headers)

    def refusals(self):
        return {tuple(value for _, value in one.labels): one.value for one in self.intake.samples()}


@pytest.fixture
def listening():
    made = []

    def start(receipts, **options):
        made.append(Listening(receipts, **options))
        return made[-1]

    yield start
    for one in made:
        pytest_twisted.blockon(ensureDeferred(one.peer.close()))


def key(value):
    return {"key_data": value}


def delivered(**more):
    return [{"event": "delivered", "sg_message_id": "m1", "sg_event_id": "e1", "email": "u@example.org", **more}]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest_twisted.ensureDeferred
async def test_a_signed_call_is_noted(listening):
    """200 means that the events are on disk; no password of ours is asked for."""
    signer = SendgridKey()
    house = listening({"sendgrid": {"main": {"verification_key": key(signer.public)}}})
    body = json.dumps(delivered(kumo_id=OURS)).encode()
    answer = await house.post("/receipts/sendgrid/main", body, **signer.headers(body))
    assert (answer.code, answer.body) == (200, b"")
    assert house.desk.told() == [("sendgrid", "main", "delivered", "m1")]
    assert house.desk.events[0].spool_id.hex() == OURS


@pytest_twisted.ensureDeferred
async def test_wrong_and_stale_signatures(listening):
    """403, and nothing is noted; the operator sees it counted."""
    signer, body = SendgridKey(), json.dumps(delivered()).encode()
    house = listening({"sendgrid": {"main": {"verification_key": key(signer.public), "max_age": "5 minutes"}}})
    assert (await house.post("/receipts/sendgrid/main", body)).code == 403
    assert (await house.post("/receipts/sendgrid/main", body, **SendgridKey().headers(body))).code == 403
    assert (await house.post("/receipts/sendgrid/main", body, **signer.headers(body, NOW - 301))).code == 403
    assert (await house.post("/receipts/sendgrid/main", body + b" ", **signer.headers(body))).code == 403
    assert house.desk.told() == []
    assert house.refusals() == {("sendgrid", "main", "proof"): 4}


@pytest_twisted.ensureDeferred
async def test_a_replay_changes_nothing(listening):
    """The same signed call again is answered and has no effect; with Mailgun also with another event in it."""
    house = listening({"mailgun": {"eu": {"signing_key": key("k")}}})
    event = {"event": "delivered", "id": "1", "message": {"headers": {"message-id": "m1"}}}
    assert (await house.post("/receipts/mailgun/eu", mailgun_body("k", event))).code == 200
    assert (await house.post("/receipts/mailgun/eu", mailgun_body("k", event))).code == 200
    forged = mailgun_body("k", {**event, "event": "complained", "id": "2"})
    assert (await house.post("/receipts/mailgun/eu", forged)).code == 200
    assert house.desk.told() == [("mailgun", "eu", "delivered", "m1")]
    assert house.refusals() == {("mailgun", "eu", "replay"): 2}


@pytest_twisted.ensureDeferred
async def test_mailgun_is_told_to_stop(listening):
    """406 is the one status at which Mailgun gives up."""
    house = listening({"mailgun": {"eu": {"signing_key": key("k")}}})
    assert (await house.post("/receipts/mailgun/eu", mailgun_body("other", {}))).code == 406


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_noted_comes_again(listening):
    """503 while the disk is full or a key cannot be had; the next try is not taken for a replay."""
    house = listening({"mailgun": {"eu": {"signing_key": key("k")}}})
    body = mailgun_body("k", {"event": "delivered", "id": "1"})
    house.desk.failure = Overload("full")
    answer = await house.post("/receipts/mailgun/eu", body)
    assert (answer.code, answer.headers["retry-after"]) == (503, "30")
    house.desk.failure, house.keys.failure = None, SecretUnavailable("Vault is away")
    assert (await house.post("/receipts/mailgun/eu", body)).code == 503
    house.keys.failure = None
    assert (await house.post("/receipts/mailgun/eu", body)).code == 200
    assert len(house.desk.events) == 1


@pytest_twisted.ensureDeferred
async def test_an_empty_key_opens_nothing(listening):
    """A secret that is empty by mistake does not make every signature right."""
    house = listening({"mailgun": {"eu": {"signing_key": key("")}}})
    assert (await house.post("/receipts/mailgun/eu", mailgun_body("", {"event": "delivered"}))).code == 503
    assert house.desk.told() == []


@pytest_twisted.ensureDeferred
async def test_basic_bearer_token_and_address(listening):
    """For providers that sign nothing: what the operator asks for must be shown, all of it."""
    house = listening(
        {
            "postmark": {
                "main": {"basic_user": "pm", "basic_password": key("s3cret")},
                "other": {"bearer": key("b3arer"), "token": key("t0ken")},
                "far": {"hosts": ["192.0.2.0/24"]},
                "near": {"hosts": ["127.0.0.1"]},
            }
        }
    )
    event = {"RecordType": "Delivery", "MessageID": "m1", "Recipient": "u@example.org"}

    async def code(account, **headers):
        return (await house.post(f"/receipts/postmark/{account}", event, **headers)).code

    answer = await house.post("/receipts/postmark/main", event)
    assert (answer.code, answer.headers["www-authenticate"].split()[0]) == (401, "Basic")
    assert await code("main", Authorization=basic("pm", "wrong")) == 403
    assert await code("main", Authorization="Basic %%%") == 403
    assert await code("main", Authorization=basic("pm", "s3cret")) == 200
    assert await code("other?token=t0ken") == 403
    assert await code("other?token=t0ken", Authorization="Bearer wrong") == 403
    assert await code("other?token=wrong", Authorization="Bearer b3arer") == 403
    assert await code("other?token=t0ken", Authorization="Bearer b3arer") == 200
    assert await code("far") == 403
    assert await code("near") == 200
    assert [account for _, account, *_ in house.desk.told()] == ["main", "other", "near"]


@pytest_twisted.ensureDeferred
async def test_a_call_that_cannot_be_read_is_not_asked_for_again(listening):
    """200, a line in the log and a count: the same call again would be no better."""
    house = listening({"postmark": {"main": {"hosts": ["127.0.0.1"]}}})
    assert (await house.post("/receipts/postmark/main", b"no JSON")).code == 200
    assert (await house.post("/receipts/postmark/main", {"Other": 1})).code == 200
    assert house.desk.told() == []
    assert house.refusals() == {("postmark", "main", "unreadable"): 2}


@pytest_twisted.ensureDeferred
async def test_ten_megabytes(listening):
    """A body beyond the listener's limit is refused before it is read."""
    house = listening({"postmark": {"main": {"hosts": ["127.0.0.1"]}}})
    client = await house.peer.connect()
    client.send(b"POST /receipts/postmark/main HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n" + b"x" * 65536)
    assert (await client.next()).code == 413
    assert house.desk.told() == []


@pytest_twisted.ensureDeferred
async def test_the_url_that_was_signed_is_the_one_outside(listening):
    """Behind a proxy that ends TLS, public_url says what Twilio was given; without one, the Host header does."""
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+15551234567"}
    house = listening(
        {
            "twilio": {
                "outside": {"auth_token": key("token"), "public_url": "https://hooks.example.com/"},
                "inside": {"auth_token": key("token")},
            }
        }
    )
    for account, base in (("outside", "https://hooks.example.com"), ("inside", "http://localhost")):
        url = f"{base}/receipts/twilio/{account}?kumo_id={OURS}"
        signed = url + "".join([name + form[name] for name in sorted(form)])
        signature = b64(hmac.new(b"token", signed.encode(), "sha1").digest())
        path = f"/receipts/twilio/{account}?kumo_id={OURS}"
        body = urlencode(form).encode()
        answer = await house.post(
            path, body, X_Twilio_Signature=signature, Content_Type="application/x-www-form-urlencoded"
        )
        assert answer.code == 200
        assert house.desk.events[-1].spool_id.hex() == OURS, "our id stands in the URL"


@pytest_twisted.ensureDeferred
async def test_receipts_by_get(listening):
    """Kannel, Vonage and MessageBird may call with GET."""
    house = listening({"kannel": {"main": {"hosts": ["127.0.0.1"]}}})
    answer = await house.peer.request("GET", f"/receipts/kannel/main?kumo_id={OURS}&type=1&to=%2B15551234567")
    assert answer.code == 200
    assert house.desk.told() == [("kannel", "main", "delivered", "")]


@pytest_twisted.ensureDeferred
async def test_only_what_is_configured_is_there(listening):
    """Accounts that nobody named do not exist, and the rest of the listener is guarded as ever."""
    house = listening({"kannel": {"main": {"hosts": ["127.0.0.1"]}}})
    for path in ("/receipts/kannel/other", "/receipts/twilio/main", "/receipts/kannel/main/", "/receipts", "/metrics"):
        assert (await house.peer.request("GET", path)).code == 401


# -- SNS --------------------------------------------------------------------------------------------


def ses_event():
    mail = {"messageId": "0100", "destination": ["u@example.org"], "tags": {"kumo_id": [OURS]}}
    return {"eventType": "Delivery", "mail": mail, "delivery": {"recipients": ["u@example.org"]}}


@pytest.fixture
def house(listening):
    return listening({"ses": {"main": {"topics": [TOPIC]}}})


@pytest_twisted.ensureDeferred
async def test_ses_by_sns(house):
    """A notification with SNS's signature; its certificate is fetched once."""
    sns = Sns()
    house.sns.pages[CERT_URL] = sns.certificate
    for number in range(2):
        body = sns.message(ses_event(), MessageId=str(number))
        assert (await house.post("/receipts/ses/main", body)).code == 200
    assert house.desk.told() == [("ses", "main", "delivered", "0100")] * 2
    assert house.sns.asked == [CERT_URL]
    assert (await house.post("/receipts/ses/main", {**body, "Message": "{}"})).code == 403


@pytest_twisted.ensureDeferred
async def test_subscriptions_are_confirmed_for_our_topics_only(house):
    """The confirmation of one of our topics is followed; nobody else can make us fetch anything."""
    sns, confirm = Sns(), "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    house.sns.pages = {CERT_URL: sns.certificate, confirm: b"<ok/>"}
    fields = {"kind": "SubscriptionConfirmation", "SubscribeURL": confirm, "Token": "t"}
    other = sns.message("x", TopicArn=TOPIC + "2", **fields)
    assert (await house.post("/receipts/ses/main", other)).code == 403
    forged = {**sns.message("x", **fields), "SubscribeURL": "http://169.254.169.254/latest/meta-data"}
    assert (await house.post("/receipts/ses/main", forged)).code == 403
    assert house.sns.asked == []
    assert (await house.post("/receipts/ses/main", sns.message("x", **fields))).code == 200
    assert house.sns.asked == [CERT_URL, confirm]
    assert house.desk.told() == []


@pytest_twisted.ensureDeferred
async def test_a_forged_certificate_url_is_not_asked(house):
    """The certificate that a forger brings along is not even looked at."""
    forger = Sns()
    url = "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem"
    house.sns.pages[url] = forger.certificate
    assert (await house.post("/receipts/ses/main", forger.message(ses_event(), SigningCertURL=url))).code == 403
    assert house.sns.asked == []


@pytest_twisted.ensureDeferred
async def test_nobody_makes_us_fetch_for_ever(house):
    """Ever new names of certificates at SNS's real address: ten a minute are looked for, then it is 503 at once."""
    message = Sns().message("x")
    for number in range(30):
        body = {**message, "SigningCertURL": CERT_URL.replace("0123", f"{number:04}")}
        assert (await house.post("/receipts/ses/main", body)).code == 503
    assert len(house.sns.asked) == 10
    house.clock.advance(61.0)
    assert (await house.post("/receipts/ses/main", body)).code == 503
    assert len(house.sns.asked) == 11


@pytest_twisted.ensureDeferred
async def test_sns_that_cannot_be_reached(house):
    """No certificate is no judgement: 503, and SNS tries again."""
    assert (await house.post("/receipts/ses/main", Sns().message(ses_event()))).code == 503


# -- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receipts", "error"),
    [
        ({"sengrid": {}}, "unknown option 'receipts.sengrid'; did you mean 'sendgrid'"),
        ({"sendgrid": {"main": {"verification_kye": key("x")}}}, "did you mean 'verification_key'"),
        ({"sendgrid": {"main": {}}}, "'receipts.sendgrid.main': nothing proves who calls; give at least one of"),
        ({"sendgrid": {"a/b": {"hosts": ["127.0.0.1"]}}}, "'receipts.sendgrid.a/b' cannot stand in a URL"),
        ({"postmark": {"main": {"basic_user": "u"}}}, "'basic_user' and 'basic_password' go together"),
        ({"twilio": {"main": {"auth_token": key("x"), "public_url": "hooks.example.com"}}}, "must be like 'https://"),
        ({"vonage": {"main": {"signature_secret": key("x"), "signature_method": "sha265"}}}, "did you mean 'sha256'"),
    ],
)
def test_mistakes_in_the_policy(receipts, error):
    """Found when the daemon starts, with the way out."""
    with pytest.raises(ConfigError) as caught:
        structure(HttpListenerConfig, {"receipts": receipts}, "kumo.start_http_listener")
    assert error in str(caught.value)


def test_every_channel_of_the_options_has_a_scheme():
    """What can be configured can be served."""
    config = HttpListenerConfig()
    assert {name for name in dir(config.receipts) if name in SCHEMES} == set(SCHEMES)
