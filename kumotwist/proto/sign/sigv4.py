"""AWS Signature Version 4 for a request with a body in memory.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

Public: `AwsKey`, `sign`. Nothing can go wrong; a wrong key is AWS's to refuse.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlsplit

from attrs import field, frozen

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
#: RFC 3986 s2.3, which AWS leaves as they are.
_UNRESERVED: Final = "-_.~"
#: Headers of these names are signed, and those that begin `x-amz-`; a proxy may change others.
_SIGNED: Final = frozenset(("host", "content-type"))


@frozen
class AwsKey:
    """Credentials; `session_token` comes with temporary ones."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def sign(
    key: AwsKey,
    region: str,
    service: str,
    now: float,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> list[tuple[str, str]]:
    """The headers to add to the request: date, token and authorization. `now` in Unix seconds."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    parts = urlsplit(url)
    added = [("X-Amz-Date", moment)]
    if key.session_token is not None:
        added.append(("X-Amz-Security-Token", key.session_token))
    signed = sorted(
        (name.lower(), " ".join(value.split()))
        for name, value in [("host", parts.netloc.rpartition("@")[2]), *headers, *added]
        if name.lower() in _SIGNED or name.lower().startswith("x-amz-")
    )
    names = ";".join(name for name, _ in signed)
    canonical = "\n".join(
        (
            method,
            quote(parts.path or "/", safe=f"/{_UNRESERVED}"),
            _query(parts.query),
            *(f"{name}:{value}" for name, value in signed),
            "",
            names,
            sha256(body).hexdigest(),
        )
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, moment, scope, sha256(canonical.encode()).hexdigest()))
    signature = hmac.new(_signing_key(key, moment[:8], region, service), text.encode(), sha256).hexdigest()
    credential = f"Credential={key.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [*added, ("Authorization", f"{_ALGORITHM} {credential}")]


def _query(query: str) -> str:
    """The parameters in order; encoded they are already, as they stand in the URL."""
    pairs = sorted(one.partition("=")[::2] for one in query.split("&") if one)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _signing_key(key: AwsKey, date: str, region: str, service: str) -> bytes:
    found = f"AWS4{key.secret_access_key}".encode()
    for part in (date, region, service, "aws4_request"):
        found = hmac.new(found, part.encode(), sha256).digest()
    return found
