"""What the signature schemes of providers have in common.

Every comparison takes the same time whatever is compared.

Public: `hmac_of`, `same`, `unbase64`, `check_age`, `jwt_claims`. What can go
wrong: `Unproven`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

from kumotwist.proto.receipts.callback import Unproven

#: Seconds that a provider's clock may be ahead of ours (Svix's tolerance).
AHEAD: Final = 300.0
_JWT_HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def hmac_of(key: str | bytes, signed: str | bytes, algorithm: str = "sha256") -> bytes:
    """The HMAC of `signed`."""
    return hmac.new(_octets(key), _octets(signed), algorithm).digest()


def same(wanted: bytes | str, shown: bytes | str) -> bool:
    """Whether the two are equal."""
    return hmac.compare_digest(_octets(wanted), _octets(shown))


def unbase64(text: str, what: str = "signature") -> bytes:
    """The octets of Base64 in either alphabet, padded or not. Raises Unproven."""
    try:
        plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unproven(f"the {what} is not Base64") from None


def check_age(signed_at: str | float, now: float, max_age: float) -> None:
    """Pass what was signed within `max_age` seconds. Raises Unproven."""
    try:
        when = float(signed_at)
    except ValueError:
        raise Unproven("the timestamp is no number") from None
    if not now - max_age <= when <= now + AHEAD:
        raise Unproven(f"it was signed {now - when:.0f} s ago; a replay, or a clock that is wrong")


def jwt_claims(token: str, key: str, now: float) -> dict[str, Any]:
    """The claims of a JWT that is signed with `key` (RFC 7519, HMAC only) and valid now. Raises Unproven."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise Unproven("the token is no JWT")
    header, claims = _jwt_part(parts[0]), _jwt_part(parts[1])
    # RFC 8725 s3.1: the algorithms are ours to choose; "none" and public keys are not among them.
    algorithm = _JWT_HASHES.get(str(header.get("alg")))
    if algorithm is None:
        raise Unproven("the token's algorithm is not HMAC")
    wanted = hmac_of(key, f"{parts[0]}.{parts[1]}", algorithm)
    if not same(wanted, unbase64(parts[2])):
        raise Unproven("the token's signature is wrong")
    expires, begins = claims.get("exp"), claims.get("nbf")
    if isinstance(expires, (int, float)) and expires < now:
        raise Unproven("the token has expired")
    if isinstance(begins, (int, float)) and begins > now + AHEAD:
        raise Unproven("the token is not valid yet")
    return claims


def sha256_hex(data: bytes) -> str:
    """The digest in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _jwt_part(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(unbase64(text, "token"), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise Unproven("the token is no JWT") from None


def _octets(value: str | bytes) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else value
