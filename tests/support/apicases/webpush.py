"""Web Push as the contract suite meets it: one service, named by the browser of each message."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.apicases.case import ApiCase, Said

from kumotwist.core.outcome import Scope
from kumotwist.egress.push.webpush import WebPushOptions
from kumotwist.proto.sign import base64url
from kumotwist.proto.webpush import VapidKey

PATH = "/send/c0ffee"
BROWSER = ec.derive_private_key(0xB0B, ec.SECP256R1())


def vapid(number):
    """A private key as web-push tools print it."""
    return base64url.encode(number.to_bytes(32))


def check(seen, spool_id):
    assert seen.header("content-encoding") == "aes128gcm"
    assert seen.header("ttl").isdecimal()
    # A salt, the size of a record, and the sender's key for this message (RFC 8188 s2.1); nothing can be read.
    assert seen.body[20] == 65
    assert b"body" not in seen.body


def meta_for(url):
    point = BROWSER.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64url.encode(point), "auth": base64url.encode(bytes(16))}
    return {"to": {"web_push": {"endpoint": f"{url}{PATH}", "keys": keys}}}


CASE = ApiCase(
    name="webpush",
    secret=vapid(7),
    rotated=vapid(8),
    options=lambda url, key: WebPushOptions(vapid_key=key, subject="mailto:ops@src.test", allow_private_addresses=True),
    path=PATH,
    accepted=Said(201),
    remote_id=None,
    permanent=[Said(404), Said(410, b"push subscription has unsubscribed or expired"), Said(413)],
    account=[Said(400, b"invalid VAPID key"), Said(400, b"bad JWT")],
    check=check,
    shows=lambda seen, key: (seen.header("authorization") or "").endswith(f"k={VapidKey.load(key.encode()).public}"),
    meta_for=meta_for,
    reach=Scope.MESSAGE,
)
