"""Who may send us receipts: every provider's signature, with the provider's own software as judge."""

import datetime as dt
import hashlib
import hmac
import json
import warnings
from urllib.parse import urlencode

import pytest
from support.receipts import CERT_URL, NOW, TOPIC, URL, SendgridKey, Sns, TelnyxKey, b64, call, jwt, mailgun_body

from kumotwist.config.keysource import LiteralKey
from kumotwist.config.option import Cidrs
from kumotwist.config.receipts import (
    BirdReceipts,
    MailgunReceipts,
    PlivoReceipts,
    ResendReceipts,
    SendgridReceipts,
    SinchReceipts,
    TelnyxReceipts,
    TwilioReceipts,
    VonageMessagesReceipts,
    VonageReceipts,
)
from kumotwist.proto.receipts import (
    bird,
    mailgun,
    plivo,
    resend,
    sendgrid,
    sinch,
    telnyx,
    twilio,
    vonage,
    vonage_messages,
)
from kumotwist.proto.receipts.callback import Unproven
from kumotwist.proto.receipts.signing import jwt_claims
from kumotwist.proto.receipts.sns import check_signature, read_envelope

with warnings.catch_warnings():
    # The vendors' own business.
    warnings.simplefilter("ignore")
    from messagebird.request_validator import RequestValidator as BirdValidator
    from plivo.utils import validate_signature as plivo_v2
    from plivo.utils import validate_v3_signature as plivo_v3
    from sendgrid.helpers.eventwebhook import EventWebhook
    from sinch.domains.authentication.sinch_events.v1 import authentication_validation as sinch_sdk
    from svix.webhooks import Webhook
    from telnyx.lib import webhook_verification as telnyx_sdk
    from twilio.request_validator import RequestValidator
    from vonage_http_client import Auth as VonageAuth
    from vonage_jwt import verify_signature as vonage_jwt

KEY = LiteralKey(b"k")
BODY = b'[{"event":"delivered","sg_message_id":"a","sg_event_id":"e"}]'
FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+15551234567", "Body": "a b&c=d\u20ac"}
DAY = 86400.0


def refuses(verify, *args):
    with pytest.raises(Unproven):
        verify(*args)
    return True


# -- SendGrid ---------------------------------------------------------------------------------------


def test_sendgrid():
    """Signed by SendGrid's key over the raw body; SendGrid's own library agrees."""
    key, options = SendgridKey(), SendgridReceipts(verification_key=KEY)
    headers, secrets = key.headers(BODY), {"verification_key": key.public}
    oracle = EventWebhook(key.public)
    shown = [headers[f"X_Twilio_Email_Event_Webhook_{name}"] for name in ("Signature", "Timestamp")]
    assert oracle.verify_signature(BODY.decode(), *shown)
    assert sendgrid.verify(call(BODY, **headers), options, secrets, NOW) == shown[0]
    assert not oracle.verify_signature(BODY.decode() + " ", *shown)
    refuses(sendgrid.verify, call(BODY + b" ", **headers), options, secrets, NOW)
    refuses(sendgrid.verify, call(BODY), options, secrets, NOW)
    refuses(sendgrid.verify, call(BODY, **SendgridKey().headers(BODY)), options, secrets, NOW)
    refuses(sendgrid.verify, call(BODY, **headers), options, secrets, NOW + DAY + 1)
    refuses(sendgrid.verify, call(BODY, **headers), options, {"verification_key": "bm8ga2V5"}, NOW)


def test_a_key_as_pem():
    """The key may be pasted in either form."""
    key = SendgridKey()
    pem = f"-----BEGIN PUBLIC KEY-----\n{key.public}\n-----END PUBLIC KEY-----\n"
    call_ = call(BODY, **key.headers(BODY))
    assert sendgrid.verify(call_, SendgridReceipts(verification_key=KEY), {"verification_key": pem}, NOW)


# -- Mailgun ----------------------------------------------------------------------------------------


def test_mailgun():
    """Timestamp and token are signed, and the token is what counts once."""
    options, secrets = MailgunReceipts(signing_key=KEY), {"signing_key": "key"}
    body = mailgun_body("key", {"event": "delivered"})
    assert mailgun.verify(call(body), options, secrets, NOW) == "t" * 50
    refuses(mailgun.verify, call(mailgun_body("other", {})), options, secrets, NOW)
    refuses(mailgun.verify, call(body), options, secrets, NOW + 10 * 3600.0)
    refuses(mailgun.verify, call(body), MailgunReceipts(signing_key=KEY, max_age=60.0), secrets, NOW + 61)
    refuses(mailgun.verify, call(b"no JSON"), options, secrets, NOW)
    refuses(mailgun.verify, call({"event-data": {}}), options, secrets, NOW)


# -- Resend (Svix) ----------------------------------------------------------------------------------


def test_resend():
    """Svix's own library signs and verifies alike; several signatures during a rotation."""
    secret, options = "whsec_" + b64(b"0123456789abcdef01234567"), ResendReceipts(signing_secret=KEY)
    now = dt.datetime.now(dt.UTC)
    body = json.dumps({"type": "email.delivered", "data": {"email_id": "1"}})
    signature = Webhook(secret).sign("msg_1", now, body)
    headers = {"svix-id": "msg_1", "svix-timestamp": str(int(now.timestamp())), "svix-signature": f"v1a,x {signature}"}
    Webhook(secret).verify(body, {**headers, "svix-signature": signature})
    call_ = call(body.encode(), **headers)
    assert resend.verify(call_, options, {"signing_secret": secret}, now.timestamp()) == "msg_1"
    refuses(resend.verify, call(body.encode() + b" ", **headers), options, {"signing_secret": secret}, now.timestamp())
    refuses(resend.verify, call_, options, {"signing_secret": secret}, now.timestamp() + 301)
    refuses(resend.verify, call_, options, {"signing_secret": "whsec_" + b64(b"x" * 24)}, now.timestamp())


# -- Twilio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
@pytest.mark.parametrize("url", [URL, URL + "?kumo_id=0a&x=1", URL.replace(".com/", ".com:8443/")])
def test_twilio(url, algorithm):
    """Twilio's own library signs; with and without a port, with either kind of key."""
    signature = RequestValidator("token").compute_signature(url, FORM, algorithm)
    body, (base, _, query) = urlencode(FORM).encode(), url.partition("?")
    headers = {"X_Twilio_Signature": signature}
    secrets = {"auth_token": "token"}
    if algorithm == "HMAC_SHA256":
        headers["X_Twilio_Webhooks_Signature_Settings"] = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
        secrets = {"shared_key": "token"}
    options = TwilioReceipts(auth_token=KEY, shared_key=KEY)
    twilio.verify(call(body, url=base, query=query, **headers), options, secrets, NOW)
    refuses(twilio.verify, call(body + b"&x=1", url=base, query=query, **headers), options, secrets, NOW)
    refuses(twilio.verify, call(body, url=base + "x", query=query, **headers), options, secrets, NOW)
    refuses(twilio.verify, call(body, url=base, query=query), options, secrets, NOW)
    refuses(twilio.verify, call(body, url=base, query=query, **headers), options, dict.fromkeys(secrets, "other"), NOW)


def test_twilio_with_and_without_port():
    """Twilio is not of one mind whether the port belongs to the URL."""
    options, secrets, body = TwilioReceipts(auth_token=KEY), {"auth_token": "token"}, urlencode(FORM).encode()
    for signed, called in [
        (URL.replace(".com/", ".com:443/"), URL),
        (URL, URL.replace(".com/", ".com:443/")),
    ]:
        signature = RequestValidator("token").compute_signature(signed, FORM)
        assert RequestValidator("token").validate(called, FORM, signature)
        twilio.verify(call(body, url=called, X_Twilio_Signature=signature), options, secrets, NOW)


def test_twilio_json():
    """A JSON body is signed by its digest in the URL."""
    body = b'{"MessageSid":"SM1"}'
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = RequestValidator("token").compute_signature(f"{URL}?{query}", {})
    assert RequestValidator("token").validate(f"{URL}?{query}", body.decode(), signature)
    options, secrets = TwilioReceipts(auth_token=KEY), {"auth_token": "token"}
    twilio.verify(call(body, query=query, X_Twilio_Signature=signature), options, secrets, NOW)
    refuses(twilio.verify, call(body + b" ", query=query, X_Twilio_Signature=signature), options, secrets, NOW)


# -- Vonage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["md5hash", "md5", "sha1", "sha256", "sha512"])
def test_vonage(method):
    """Each of the account's methods; in a query, a form and JSON. Vonage's own library signs with all but `md5hash`."""
    given = {"messageId": "0A00", "status": "delivered", "msisdn": "15551", "x": "a&b=c", "timestamp": str(int(NOW))}
    if method == "md5hash":
        signed = "".join([f"&{name}={given[name].replace('&', '_').replace('=', '_')}" for name in sorted(given)])
        sig = hashlib.md5((signed + "secret").encode()).hexdigest()
    else:
        sig = VonageAuth(api_key="a", signature_secret="secret", signature_method=method).sign_params(given).upper()
    options = VonageReceipts(signature_secret=KEY, signature_method=method)
    secrets = {"signature_secret": "secret"}
    query = urlencode({**given, "sig": sig})
    for callback in (
        call(method="GET", query=query + "&token=ours"),
        call(query.encode(), content_type="application/x-www-form-urlencoded"),
        call({**given, "sig": sig}, content_type="application/json"),
    ):
        vonage.verify(callback, options, secrets, NOW)
        refuses(vonage.verify, callback, options, secrets, NOW + DAY + 1)
        refuses(vonage.verify, callback, options, {"signature_secret": "other"}, NOW)
    refuses(vonage.verify, call(method="GET", query=urlencode({**given, "sig": sig, "y": "1"})), options, secrets, NOW)
    refuses(vonage.verify, call(method="GET", query=urlencode(given)), options, secrets, NOW)


def test_vonage_messages():
    """A JWT over the body's digest; Vonage's own library agrees about the JWT."""
    body, options = b'{"message_uuid":"1","status":"delivered"}', VonageMessagesReceipts(signature_secret=KEY)
    secrets = {"signature_secret": "secret-of-32-octets-for-pyjwts-own-taste"}
    claims = {"iat": int(NOW), "jti": "j1", "iss": "Vonage", "payload_hash": hashlib.sha256(body).hexdigest()}
    token = jwt(secrets["signature_secret"], {**claims, "iat": 1})
    assert vonage_jwt(token, secrets["signature_secret"])
    token = jwt(secrets["signature_secret"], claims)
    call_ = call(body, Authorization=f"Bearer {token}")
    assert vonage_messages.verify(call_, options, secrets, NOW) == "j1"
    refuses(vonage_messages.verify, call(body + b" ", Authorization=f"Bearer {token}"), options, secrets, NOW)
    refuses(vonage_messages.verify, call_, options, secrets, NOW + DAY + 1)
    refuses(vonage_messages.verify, call_, options, {"signature_secret": "other"}, NOW)
    refuses(vonage_messages.verify, call(body, Authorization=f"Basic {token}"), options, secrets, NOW)


@pytest.mark.parametrize("algorithm", ["none", "None", "RS256", "HS256 ", ""])
def test_a_jwt_that_chooses_its_own_algorithm(algorithm):
    """A token cannot talk us out of checking it (RFC 8725 s3.1)."""
    token = jwt("secret", {"iat": NOW}, algorithm)
    refuses(jwt_claims, token, "secret", NOW)
    refuses(jwt_claims, token.rpartition(".")[0] + ".", "secret", NOW)


# -- Bird -------------------------------------------------------------------------------------------


def test_bird():
    """HMAC over time, URL and the digest of the body, as Bird documents it."""
    body, timestamp = b'{"payload":{"id":"1","status":"delivered"}}', str(int(NOW))
    signed = f"{timestamp}\n{URL}\n".encode() + hashlib.sha256(body).digest()
    headers = {
        "messagebird_signature": b64(hmac.new(b"key", signed, "sha256").digest()),
        "messagebird_request_timestamp": timestamp,
    }
    options, secrets = BirdReceipts(signing_key=KEY), {"signing_key": "key"}
    assert bird.verify(call(body, **headers), options, secrets, NOW)
    refuses(bird.verify, call(body + b" ", **headers), options, secrets, NOW)
    refuses(bird.verify, call(body, url=URL + "x", **headers), options, secrets, NOW)
    refuses(bird.verify, call(body, **headers), options, secrets, NOW + DAY + 1)


def test_messagebird():
    """MessageBird's JWT, judged by MessageBird's own library as well."""
    key, now = "signing-key-of-32-octets-for-pyjwts-own-taste", dt.datetime.now(dt.UTC).timestamp()
    url, body = f"{URL}?id=1&status=delivered", b"payload"
    claims = {
        "iss": "MessageBird",
        "nbf": int(now),
        "exp": int(now) + 60,
        "jti": "j1",
        "url_hash": hashlib.sha256(url.encode()).hexdigest(),
        "payload_hash": hashlib.sha256(body).hexdigest(),
    }
    token = jwt(key, claims)
    assert BirdValidator(key).validate_signature(token, url, body)["jti"] == "j1"
    options, secrets = BirdReceipts(signing_key=KEY), {"signing_key": key}

    def shown(body=body, query="id=1&status=delivered", token=token):
        return call(body, query=query, MessageBird_Signature_JWT=token)

    assert bird.verify(shown(), options, secrets, now) == "j1"
    refuses(bird.verify, shown(body=b"other"), options, secrets, now)
    refuses(bird.verify, shown(body=b""), options, secrets, now)
    refuses(bird.verify, shown(query="id=2&status=delivered"), options, secrets, now)
    refuses(bird.verify, shown(token=jwt(key, {**claims, "iss": "Somebody"})), options, secrets, now)
    refuses(bird.verify, shown(), options, secrets, now + 61)


# -- Plivo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "kumo_id=0a&b=2&a=1"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_plivo_v3(method, query):
    """V3, as Plivo's own library computes it."""
    form = {"MessageUUID": "u1", "Status": "delivered", "To": "15551"} if method == "POST" else {}
    url = f"{URL}?{query}" if query else URL
    from plivo.utils import signature_v3

    make = signature_v3.construct_post_url if method == "POST" else signature_v3.construct_get_url
    signature = signature_v3.get_signature_v3("token", make(url, dict(form)).decode(), "nonce").decode()
    assert plivo_v3(method, url, "nonce", "token", f"other,{signature}", dict(form))
    headers = {"X_Plivo_Signature_V3": f"other,{signature}", "X_Plivo_Signature_V3_Nonce": "nonce"}
    options, secrets = PlivoReceipts(auth_token=KEY), {"auth_token": "token"}
    body = urlencode(form).encode()
    assert plivo.verify(call(body, method=method, query=query, **headers), options, secrets, NOW) == "nonce"
    refuses(plivo.verify, call(body + b"&x=1", method="POST", query=query, **headers), options, secrets, NOW)
    refuses(plivo.verify, call(body, method=method, query="z=1", **headers), options, secrets, NOW)
    refuses(plivo.verify, call(body, method=method, query=query, **headers), options, {"auth_token": "x"}, NOW)


def test_plivo_v2():
    """V2 covers URL and nonce."""
    signature = b64(hmac.new(b"token", (URL + "nonce").encode(), "sha256").digest())
    assert plivo_v2(URL + "?a=1", "nonce", signature, "token")
    headers = {"X_Plivo_Signature_V2": signature, "X_Plivo_Signature_V2_Nonce": "nonce"}
    options, secrets = PlivoReceipts(auth_token=KEY), {"auth_token": "token"}
    assert plivo.verify(call(b"x=1", query="a=1", **headers), options, secrets, NOW) == "nonce"
    refuses(plivo.verify, call(b"x=1", url=URL + "x", **headers), options, secrets, NOW)


# -- Sinch and Telnyx -------------------------------------------------------------------------------


def test_sinch():
    """HMAC over body, nonce and timestamp; Sinch's own library agrees."""
    body, timestamp = b'{"batch_id":"1"}', str(int(NOW))
    signature = sinch_sdk.calculate_sinch_event_signature(f"{body.decode()}.nonce.{timestamp}", "secret")
    headers = {
        "x-sinch-webhook-signature": signature,
        "x-sinch-webhook-signature-nonce": "nonce",
        "x-sinch-webhook-signature-timestamp": timestamp,
    }
    assert sinch_sdk.validate_sinch_event_signature_with_nonce("secret", headers, body.decode())
    options, secrets = SinchReceipts(webhook_secret=KEY), {"webhook_secret": "secret"}
    assert sinch.verify(call(body, **headers), options, secrets, NOW) == "nonce"
    refuses(sinch.verify, call(body + b" ", **headers), options, secrets, NOW)
    refuses(sinch.verify, call(body, **headers), options, secrets, NOW + DAY + 1)
    refuses(sinch.verify, call(body), options, secrets, NOW)


def test_telnyx():
    """Ed25519 over timestamp and body; Telnyx's own library agrees."""
    key, body, now = TelnyxKey(), b'{"data":{}}', dt.datetime.now(dt.UTC).timestamp()
    headers = key.headers(body, now)
    telnyx_sdk.verify_webhook_signature(
        body, {name.replace("_", "-"): value for name, value in headers.items()}, key.public
    )
    options, secrets = TelnyxReceipts(public_key=KEY), {"public_key": key.public}
    assert telnyx.verify(call(body, **headers), options, secrets, now)
    refuses(telnyx.verify, call(body + b" ", **headers), options, secrets, now)
    refuses(telnyx.verify, call(body, **headers), options, secrets, now + 301)
    refuses(telnyx.verify, call(body, **headers), options, {"public_key": TelnyxKey().public}, now)
    refuses(telnyx.verify, call(body, **headers), options, {"public_key": "c2hvcnQ="}, now)


# -- SNS --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "Amazon SES Email Event Notification"}])
def test_sns(version, subject):
    """Both versions of the signature, with and without a subject."""
    sns = Sns()
    body = sns.message("hello", version, **subject)
    envelope = read_envelope(call(body), (TOPIC,))
    check_signature(envelope, sns.certificate, NOW, DAY)
    refuses(check_signature, envelope, Sns().certificate, NOW, DAY)
    refuses(check_signature, envelope, b"no certificate", NOW, DAY)
    refuses(check_signature, envelope, sns.certificate, NOW + DAY + 1, DAY)
    changed = read_envelope(call({**body, "Message": "other"}), (TOPIC,))
    refuses(check_signature, changed, sns.certificate, NOW, DAY)


def test_a_certificate_that_is_not_valid_now():
    """An old key of SNS's, once stolen, is of no use."""
    old = Sns(days=61)
    refuses(check_signature, read_envelope(call(old.message("x")), (TOPIC,)), old.certificate, NOW, DAY)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/?sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example#sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        "https://bucket.s3.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem/../x",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-0a.pem",
        "https://[::1/SimpleNotificationService-0a.pem",
        "file:///etc/passwd",
        "",
    ],
)
def test_forged_addresses_of_certificates(url):
    """A message that brings its own certificate along proves nothing, however its address is dressed up."""
    body = Sns().message("hello", SigningCertURL=url)
    refuses(read_envelope, call(body), (TOPIC,))
    confirmation = Sns().message("hello", kind="SubscriptionConfirmation", SubscribeURL=url, Token="t")
    refuses(read_envelope, call(confirmation), (TOPIC,))


def test_regions_that_amazon_has():
    """Commercial, government and Chinese regions."""
    for region in ("us-east-1", "ap-southeast-3", "us-gov-west-1", "cn-north-1"):
        end = ".cn" if region.startswith("cn") else ""
        url = CERT_URL.replace("eu-west-1.amazonaws.com", f"{region}.amazonaws.com{end}")
        read_envelope(call(Sns().message("hello", SigningCertURL=url)), (TOPIC,))


def test_topics_that_are_not_ours():
    """Anybody can have SNS send us what they like: of a topic of theirs."""
    body = Sns().message("hello", TopicArn="arn:aws:sns:eu-west-1:666666666666:theirs")
    refuses(read_envelope, call(body), (TOPIC,))
    refuses(read_envelope, call({"Type": "Other", "TopicArn": TOPIC}), (TOPIC,))


# -- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [SendgridReceipts, TwilioReceipts, VonageReceipts, PlivoReceipts])
def test_an_account_that_anybody_could_use(cls):
    """An account without any proof is refused when the daemon starts."""
    with pytest.raises(ValueError, match="nothing proves who calls"):
        cls()
    cls(hosts=Cidrs.parse("127.0.0.1"))
