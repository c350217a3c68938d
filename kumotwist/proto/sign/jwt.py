"""JSON Web Tokens signed by us: ES256 and RS256 (RFC 7515, RFC 7518, RFC 7519).

APNs, Web Push and every provider with OAuth service accounts want one. We only
sign; nobody sends us tokens that we would have to judge here.

Public: `JwtKey`. What can go wrong: `JwtKey.load` raises ConfigError for what is
no private key; its text never quotes the key.
"""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import field, frozen
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kumotwist.core.errors import ConfigError
from kumotwist.core.json import Json, JsonObject
from kumotwist.proto.sign import base64url

#: Octets of each half of an ES256 signature: RFC 7518 s3.4.
_HALF: Final = 32
#: RFC 7518 s3.3: an RSA key must have no fewer bits.
_MIN_RSA_BITS: Final = 2048

_encode_json: Final = msgspec.json.Encoder().encode


@frozen(eq=False)
class JwtKey:
    """A private key and what tokens say about it: `key_id` is their `kid`, None for none.

    An elliptic key (P-256) signs with ES256, an RSA key with RS256.
    """

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)
    key_id: str | None = None

    @classmethod
    def load(cls, pem: bytes, key_id: str | None = None) -> JwtKey:
        """From PEM (PKCS #8, SEC 1 or PKCS #1, not encrypted). Raises ConfigError."""
        try:
            key = serialization.load_pem_private_key(pem.strip() + b"\n", None)
        except (ValueError, TypeError):
            # No reason given: it could quote the key.
            raise ConfigError("the signing key is not an unencrypted private key in PEM") from None
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key, key_id)
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_RSA_BITS:
            return cls(key, key_id)
        raise ConfigError(f"the signing key is neither P-256 nor RSA of at least {_MIN_RSA_BITS} bits")

    @property
    def algorithm(self) -> str:
        """`ES256` or `RS256`."""
        return "ES256" if isinstance(self.key, ec.EllipticCurvePrivateKey) else "RS256"

    def token(self, claims: JsonObject) -> str:
        """The signed token, in compact form; times in `claims` are whole Unix seconds (RFC 7519 s2)."""
        header: dict[str, Json] = {"typ": "JWT", "alg": self.algorithm}
        if self.key_id is not None:
            header["kid"] = self.key_id
        text = f"{base64url.encode(_encode_json(header))}.{base64url.encode(_encode_json(claims))}"
        return f"{text}.{base64url.encode(self._sign(text.encode('ascii')))}"

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        # Deterministic (RFC 6979): workers that sign the same claims show the same token.
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
