"""Web Push messages on the wire: encrypted for one browser, with a token that says who sends.

The push service reads neither; only the browser that made the subscription has
the key. Encryption is RFC 8291 (keys) on RFC 8188 (`aes128gcm`), the token is
VAPID, RFC 8292.

Public: `Subscription`, `encrypt`, `VapidKey`, `MAX_PLAINTEXT`. What can go wrong:
a subscription that is none raises ValueError, a VAPID key that is none
ConfigError; neither quotes a key.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kumotwist.core.errors import ConfigError
from kumotwist.core.json import Json
from kumotwist.proto.sign import base64url
from kumotwist.proto.sign.jwt import JwtKey

#: Octets of content that a push service must take: RFC 8030 s7.2.
MAX_CONTENT: Final = 4096
#: Octets of the header in front: RFC 8188 s2.1 with a key id of 65 octets.
_HEADER: Final = 16 + 4 + 1 + 65
#: Octets of the tag behind, and of the delimiter that ends the last record: RFC 8188 s2.
_TRAILER: Final = 16 + 1
#: Octets of a message's text at most: RFC 8291 s4.
MAX_PLAINTEXT: Final = MAX_CONTENT - _HEADER - _TRAILER
#: Octets of a public key, uncompressed, and of an authentication secret: RFC 8291 s3.1, s3.2.
_PUBLIC: Final = 65
_AUTH: Final = 16
#: Octets of a private key written bare, as the tools of browsers do.
_PRIVATE: Final = 32
#: Octets of an endpoint; services hand out a few hundred. Ours.
_MAX_ENDPOINT: Final = 2048
#: Seconds for which a VAPID token holds: RFC 8292 s2 allows a day, and clocks differ.
VAPID_LIFETIME: Final = 12 * 3600
_CURVE: Final = ec.SECP256R1()


@frozen
class Subscription:
    """Where a browser waits and the keys that it reads with.

    `endpoint` is a secret of its own: whoever knows it may send.
    """

    endpoint: str = field(repr=False)
    public: bytes = field(repr=False)
    auth: bytes = field(repr=False)

    @classmethod
    def parse(cls, value: Json) -> Subscription:
        """From what `PushSubscription.toJSON()` gives: `{endpoint, keys: {p256dh, auth}}`. Raises ValueError."""
        if not isinstance(value, dict) or not isinstance(keys := value.get("keys"), dict):
            raise ValueError("a subscription is {endpoint, keys = {p256dh, auth}}")
        endpoint, public, auth = value.get("endpoint"), keys.get("p256dh"), keys.get("auth")
        if not (isinstance(endpoint, str) and isinstance(public, str) and isinstance(auth, str)):
            raise ValueError("endpoint, p256dh and auth of a subscription are texts")
        return cls(_checked_endpoint(endpoint), _octets("p256dh", public, _PUBLIC), _octets("auth", auth, _AUTH))

    @property
    def origin(self) -> str:
        """Scheme, host and port of the endpoint: the audience of a VAPID token."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"


def _checked_endpoint(endpoint: str) -> str:
    is_plain = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    if not is_plain or len(endpoint) > _MAX_ENDPOINT:
        raise ValueError("the endpoint of a subscription is not an URL")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("the endpoint of a subscription is not an http or https URL")
    return endpoint


def _octets(name: str, text: str, size: int) -> bytes:
    try:
        # Old libraries wrote plain base64.
        data = base64url.decode(text.replace("+", "-").replace("/", "_"))
    except ValueError:
        data = b""
    if len(data) != size:
        raise ValueError(f"{name} of a subscription is not {size} octets in base64url")
    return data


def encrypt(plaintext: bytes, subscription: Subscription, sender: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """The body of a request, `Content-Encoding: aes128gcm`.

    `sender` is a key made for this message alone and `salt` 16 random octets:
    either used twice gives the text away. Raises ValueError when `plaintext`
    is longer than MAX_PLAINTEXT or the subscription's key is no point.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise ValueError(f"{len(plaintext)} octets are more than the {MAX_PLAINTEXT} that a push service takes")
    sender_public = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = sender.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, subscription.public))
    info = b"WebPush: info\0" + subscription.public + sender_public
    secret = _derive(subscription.auth, shared, info, 32)
    key = _derive(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(salt, secret, b"Content-Encoding: nonce\0", 12)
    # 2 marks the end of the last record; there is one only.
    sealed = AESGCM(key).encrypt(nonce, plaintext + b"\x02", None)
    header = salt + MAX_CONTENT.to_bytes(4, "big") + bytes([len(sender_public)]) + sender_public
    return header + sealed


def _derive(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


@frozen(eq=False)
class VapidKey:
    """The key by which push services know us; browsers subscribe for its public half."""

    key: JwtKey
    public: str

    @classmethod
    def load(cls, data: bytes) -> VapidKey:
        """From PEM, or from the 32 octets in base64url that web-push tools print. Raises ConfigError."""
        key = JwtKey.load(data) if b"-----BEGIN" in data else JwtKey(_bare_private(data))
        if not isinstance(key.key, ec.EllipticCurvePrivateKey):
            raise ConfigError("a VAPID key is a private key on P-256")
        point = key.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cls(key, base64url.encode(point))

    def authorization(self, origin: str, subject: str, now: float) -> str:
        """The Authorization header for endpoints of `origin`; good for VAPID_LIFETIME seconds from `now`.

        `subject` is a `mailto:` or `https:` URL at which a service reaches us.
        """
        token = self.key.token({"aud": origin, "exp": int(now) + VAPID_LIFETIME, "sub": subject})
        return f"vapid t={token}, k={self.public}"


def _bare_private(data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        octets = base64url.decode(data.strip().decode("ascii"))
        if len(octets) != _PRIVATE:
            raise ValueError
        return ec.derive_private_key(int.from_bytes(octets, "big"), _CURVE)
    except ValueError:
        raise ConfigError("the VAPID key is neither PEM nor 32 octets in base64url") from None
