"""base64url without padding, as JOSE and Web Push write octets (RFC 4648 s5, RFC 7515 s2).

Public: `encode`, `decode`. `decode` raises ValueError for anything but the one
way to write some octets, save that padding is taken.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}\Z")


def encode(data: bytes) -> str:
    """The text for `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The octets that `text` stands for."""
    bare = text.rstrip("=")
    # One character alone does not make an octet.
    if not _ALPHABET.match(text) or len(bare) % 4 == 1:
        raise ValueError("not base64url")
    data = urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    if encode(data) != bare:
        raise ValueError("not base64url: bits are left over")
    return data
