"""What the contract suite has to know of a provider: how it says yes, and each kind of no.

A provider's case stands in a file of its own beside this one and is listed in
`tests/contract/test_api_channels.py`.

Public: `ApiCase`, `Said`, `schema`, `as_json`, `token_for`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from attrs import field, frozen
from support.webpeer import Seen

from kumotwist.core.outcome import Scope

SECRET = "key-of-the-test"
#: Where the suite's authority gives tokens.
TOKEN_PATH = "/directory/oauth2/v2.0/token"
_SCHEMAS = Path(__file__).parents[1] / "openapi"


@frozen
class Said:
    """A reply of the provider's."""

    code: int
    body: object = b""
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def octets(self) -> bytes:
        """The body as it goes over the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@frozen(kw_only=True)
class ApiCase:
    """One provider. `check` fails for a request that its documents do not allow or that lacks our id."""

    name: str
    #: The key that the suite gives, and the one that takes its place.
    secret: str = SECRET
    rotated: str = "key-anew"
    #: The options for a `base_url` and an API key; where `has_tokens`, also for the URL of the authority.
    options: Callable[..., object]
    path: str
    accepted: Said
    remote_id: str | None
    #: The yes to so many e-mails in one request, where the provider takes several.
    accepted_together: Callable[[int], Said] | None = None
    #: Refusals of the message, for good.
    permanent: Sequence[Said]
    #: Refusals of our account beyond 401, 402 and 403.
    account: Sequence[Said] = ()
    #: Other passing faults beyond 500 and 503.
    transient: Sequence[Said] = ()
    #: Throttling beyond 429 with headers, and the seconds to wait.
    throttled: Sequence[tuple[Said, float]] = ()
    #: `seen` and the spool id in hexadecimal.
    check: Callable[[Seen, str], None]
    #: The credentials as they stand in a request, for a given key.
    shows: Callable[[Seen, str], bool]
    #: Recipients and body of the message to send, where the defaults do not fit.
    recipients: Sequence[str] = ("to@dest.test",)
    body: bytes = b"From: Ann <ann@src.test>\r\nTo: to@dest.test\r\nSubject: hello\r\n\r\nbody\r\n"
    meta: Mapping[str, Any] = field(factory=dict)
    #: The message's metadata for the peer's URL, where it is the message that names the peer.
    meta_for: Callable[[str], Mapping[str, Any]] | None = None
    #: What waits for throttling and faults of the account: with a peer that strangers name, their message only.
    reach: Scope = Scope.SOURCE
    #: Whether the credentials are access tokens: the suite's authority gives `token_for(key)`.
    has_tokens: bool = False
    #: Whether the provider knows a request again by a key that we give it.
    is_idempotent: bool = False
    #: How many parts the message goes in.
    parts: int = 1

    def meta_at(self, url: str) -> Mapping[str, Any]:
        """The metadata of the message to send when the peer stands at `url`."""
        return self.meta_for(url) if self.meta_for else self.meta


def token_for(key: str) -> str:
    """The access token that the suite's authority gives for a secret."""
    return f"token-for-{key}"


def as_json(seen: Seen) -> Any:
    """The request's body, which has to be JSON."""
    assert (seen.header("content-type") or "").startswith("application/json")
    return json.loads(seen.body)


@cache
def schema(file: str, *path: str) -> Any:
    """A validator for the part at `path` of a vendor's document in `tests/support/openapi`."""
    document = json.loads((_SCHEMAS / file).read_text())
    part = document
    for step in path:
        part = part[step]
    return jsonschema_rs.validator_for({**part, "components": document.get("components", {})})
