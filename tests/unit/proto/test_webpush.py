"""Web Push encryption and VAPID: the RFCs' own vectors, another implementation, and what is refused."""

import http_ece
import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.errors import ConfigError
from kumotwist.proto import webpush
from kumotwist.proto.sign import base64url
from kumotwist.proto.webpush import MAX_PLAINTEXT, Subscription, VapidKey, encrypt

CURVE = ec.SECP256R1()
#: RFC 8291 s5 and appendix A.
TEXT = b"When I grow up, I want to be a watermelon"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A"
    "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
ENDPOINT = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV"
#: RFC 8292 s2.4.
VAPID_PUBLIC = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
VAPID_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6"
    "Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSS"
    "HzvoD1oA"
)

BROWSER = ec.generate_private_key(CURVE)
SECRET = bytes(range(16))


def private(text):
    return ec.derive_private_key(int.from_bytes(base64url.decode(text), "big"), CURVE)


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def subscription(**changes):
    value = {
        "endpoint": ENDPOINT,
        "keys": {"p256dh": base64url.encode(point(BROWSER)), "auth": base64url.encode(SECRET)},
    }
    value["keys"].update({key: text for key, text in changes.items() if key != "endpoint"})
    return {**value, "endpoint": changes.get("endpoint", ENDPOINT)}


def test_the_vector_of_rfc_8291():
    """RFC 8291 s5, octet by octet."""
    browser = Subscription.parse(
        {"endpoint": ENDPOINT, "keys": {"p256dh": PUBLIC, "auth": AUTH}, "expirationTime": None}
    )
    assert base64url.encode(encrypt(TEXT, browser, private(SENDER), base64url.decode(SALT))) == BODY


@given(st.binary(max_size=MAX_PLAINTEXT), st.binary(min_size=16, max_size=16))
def test_another_implementation_reads_what_we_encrypt(text, salt):
    """http_ece, with the browser's private key, gets back what we put in; every size that is allowed."""
    body = encrypt(text, Subscription.parse(subscription()), ec.generate_private_key(CURVE), salt)
    assert len(body) <= 4096
    assert http_ece.decrypt(body, private_key=BROWSER, auth_secret=SECRET) == text


def test_a_message_is_never_larger_than_a_service_must_take():
    """RFC 8291 s4: 3993 octets of text make 4096 on the wire; one more is refused, not cut."""
    browser = Subscription.parse(subscription())
    assert MAX_PLAINTEXT == 3993
    assert len(encrypt(bytes(MAX_PLAINTEXT), browser, BROWSER, bytes(16))) == 4096
    with pytest.raises(ValueError, match="3994 octets"):
        encrypt(bytes(MAX_PLAINTEXT + 1), browser, BROWSER, bytes(16))


def test_a_key_that_is_no_point_is_the_addresses_fault():
    """65 octets that lie beside the curve are found out when the message is made."""
    browser = Subscription.parse(subscription(p256dh=base64url.encode(b"\x04" + bytes(64))))
    with pytest.raises(ValueError, match=r"."):
        encrypt(b"", browser, BROWSER, bytes(16))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"endpoint": ENDPOINT},
        {"endpoint": 1, "keys": {"p256dh": PUBLIC, "auth": AUTH}},
        subscription(p256dh="AAAA"),
        subscription(auth="!"),
        subscription(auth=AUTH + "AA"),
        subscription(endpoint=""),
        subscription(endpoint="ftp://push.example/1"),
        subscription(endpoint="https://"),
        subscription(endpoint="https://user:pass@push.example/1"),
        subscription(endpoint="https://push.example/a b"),
        subscription(endpoint="https://push.example/a\r\nX: y"),
        subscription(endpoint="https://push.example/\u00e9"),
        subscription(endpoint="https://push.example/" + "a" * 2048),
        subscription(endpoint="https://[::1/x"),
    ],
)
def test_what_is_no_subscription_is_refused(value):
    """Line breaks, credentials, other schemes, keys of another length: nothing of it gets into a request."""
    with pytest.raises(ValueError, match=r"."):
        Subscription.parse(value)


def test_plain_base64_of_old_libraries_is_taken():
    """Some pages stored keys with + and / and padding."""
    text = PUBLIC.replace("-", "+").replace("_", "/") + "="
    assert Subscription.parse(subscription(p256dh=text, auth=AUTH + "==")).public == base64url.decode(PUBLIC)


def test_a_subscription_does_not_show_itself():
    """Who knows the endpoint can send: it stays out of logs."""
    assert repr(Subscription.parse(subscription())) == "Subscription()"


def test_vapid_tokens_look_as_rfc_8292_shows_them():
    """RFC 8292 s2.4: the same header and claims in the same order, and a day at most."""
    key = VapidKey(VapidKey.load(SENDER.encode()).key, VAPID_PUBLIC)
    value = key.authorization(
        "https://push.example.net", "mailto:push@example.com", 1453523768 - webpush.VAPID_LIFETIME
    )
    scheme, _, rest = value.partition(" ")
    token, _, public = rest.partition(", ")
    assert scheme == "vapid"
    assert token.removeprefix("t=").rpartition(".")[0] == VAPID_TOKEN.rpartition(".")[0]
    assert public == f"k={VAPID_PUBLIC}"


def test_the_token_of_rfc_8292_and_ours_are_judged_alike():
    """PyJWT believes the RFC's token with the RFC's key, and ours with ours."""
    published = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, base64url.decode(VAPID_PUBLIC))
    options = {"verify_exp": False, "verify_aud": False}
    assert pyjwt.decode(VAPID_TOKEN, published, ["ES256"], options)["sub"] == "mailto:push@example.com"
    key = VapidKey.load(BROWSER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    token = key.authorization("https://a.example", "mailto:b@c.example", 1e9).split()[1].removeprefix("t=").rstrip(",")
    claims = pyjwt.decode(token, BROWSER.public_key(), ["ES256"], options)
    assert claims == {"aud": "https://a.example", "exp": 1_000_043_200, "sub": "mailto:b@c.example"}
    assert key.public == base64url.encode(point(BROWSER))


def test_the_audience_is_the_origin():
    """RFC 8292 s2: scheme, host and port of the endpoint, without its path."""
    assert Subscription.parse(subscription()).origin == "https://push.example.net"
    assert Subscription.parse(subscription(endpoint="http://127.0.0.1:9/x?y")).origin == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "data", [b"", b"sekrit", base64url.encode(bytes(32)).encode(), base64url.encode(bytes(31)).encode()]
)
def test_what_is_no_vapid_key_is_refused(data):
    """Zero, too short, no base64url: a fault of the configuration, and not quoted."""
    with pytest.raises(ConfigError) as caught:
        VapidKey.load(data)
    assert "sekrit" not in str(caught.value)
