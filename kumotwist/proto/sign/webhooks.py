"""Signatures of webhooks as Standard Webhooks has them, so that receivers verify ours with a library.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Public: `key_of`, `signature`. What can go wrong: ValueError for a secret that is not what its prefix says.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

_PREFIX: Final = "whsec_"


def key_of(secret: str) -> bytes:
    """The key behind a secret: what stands in base64 behind `whsec_`, or the octets of any other text."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    bare = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("the secret has no base64 behind whsec_")
    return key


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature for each secret, any of which verifies. Raises ValueError."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{b64encode(hmac.digest(key_of(one), signed, 'sha256')).decode()}" for one in secrets)
