"""Who is asking: HTTP Basic by policy, and clients trusted by address.

Every request of an HTTP listener passes here first. A credential that policy
has judged is remembered for a minute under a keyed hash; the password itself
is kept nowhere.

Public: `Authenticator`, `TRUSTED_GROUP`, `summary`. What can go wrong:
`HttpError` 400 for a header that cannot be read, 401 for a wrong credential,
500 when policy failed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Final

from attrs import define, evolve, field
from twisted.logger import Logger

from kumotwist.config.option import Cidrs
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.interfaces import Auditor, HttpPolicy
from kumotwist.net.clock import Clock
from kumotwist.net.router import HttpError, HttpRequest
from kumotwist.records.acct import NO_ACCT_LOG

log: Final = Logger()

#: KumoMTA's group of the clients in `trusted_hosts`.
TRUSTED_GROUP: Final = "kumomta:http-listener-trusted-ip"
#: KumoMTA's name for how a Basic credential was proven.
BASIC: Final = "HttpBasicAuth"
#: Seconds that a verdict on a credential is kept, and how many are (KumoMTA: 60 s; the number is ours).
VERDICT_TTL: Final = 60.0
MAX_VERDICTS: Final = 1024
#: Client addresses remembered. Ours: as many as verdicts.
MAX_PEERS: Final = 1024
#: RFC 9110 s11.6.1 wants a challenge with every 401.
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="kumotwist", charset="UTF-8"'}
#: Characters of an Authorization header; user and password of 1 KiB each fit.
MAX_CREDENTIAL: Final = 4096


@define(eq=False)
class Authenticator:
    """Turns a request's address and credential into an `AuthInfo`, and has the auditor note each attempt."""

    policy: HttpPolicy
    trusted: Cidrs
    clock: Clock
    auditor: Auditor = NO_ACCT_LOG
    _key: bytes = field(factory=lambda: os.urandom(32), init=False, repr=False)
    _peers: dict[str, AuthInfo] = field(factory=dict, init=False, repr=False)
    _verdicts: dict[bytes, tuple[float, AuthInfo | None]] = field(factory=dict, init=False, repr=False)

    async def authenticate(self, request: HttpRequest) -> AuthInfo:
        """Who sent `request`. Raises HttpError."""
        peer = self._peer(request.peer_address)
        header = request.headers("authorization")
        if header is None:
            return peer
        scheme, _, credential = header.strip().partition(" ")
        if scheme.lower() != "basic":
            raise HttpError(400, f"unsupported authorization scheme {scheme[:32]!r}; use Basic")
        user, password = _decode(credential)
        attempted = Identity(user, BASIC)
        try:
            proven = await self._verdict(credential, user, password)
        except HttpError:
            await self.auditor.authentication(attempted, False, peer)
            raise
        auth = peer.merged(proven) if proven is not None else peer
        await self.auditor.authentication(attempted, proven is not None, auth)
        if proven is None:
            raise HttpError(401, f"{BASIC} Authentication Failed for {user}", CHALLENGE)
        return auth

    def _peer(self, address: str) -> AuthInfo:
        """What the address alone says; looking through networks for each request would cost more than the rest."""
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.clear()
            groups = (TRUSTED_GROUP,) if address in self.trusted else ()
            peer = self._peers[address] = AuthInfo(address, (), groups)
        return peer

    async def _verdict(self, credential: str, user: str, password: str | None) -> AuthInfo | None:
        digest = hashlib.blake2b(credential.encode(), key=self._key, digest_size=32).digest()
        now = self.clock.seconds()
        kept = self._verdicts.get(digest)
        if kept is not None and kept[0] > now:
            return kept[1]
        auth = await self._ask(user, password)
        if len(self._verdicts) >= MAX_VERDICTS:
            self._forget(now)
        self._verdicts[digest] = (now + VERDICT_TTL, auth)
        return auth

    def _forget(self, now: float) -> None:
        """Drop what is stale, or everything when nothing is."""
        fresh = {digest: kept for digest, kept in self._verdicts.items() if kept[0] > now}
        self._verdicts = fresh if len(fresh) < MAX_VERDICTS else {}

    async def _ask(self, user: str, password: str | None) -> AuthInfo | None:
        try:
            answer = await self.policy.http_server_validate_auth_basic(user, password)
        except (PolicyError, Rejection) as error:
            log.error("http_server_validate_auth_basic failed for {user}: {error}", user=user, error=error)
            raise HttpError(500, "Error: cannot check the credential now, try again later") from None
        if isinstance(answer, AuthInfo):
            if not answer.identities:
                log.error("http_server_validate_auth_basic returned no identity for {user}", user=user)
                raise HttpError(500, "Error: cannot check the credential now, try again later")
            # The peer is whom we see, whatever policy filled in.
            return evolve(answer, peer_address=None)
        return AuthInfo(identities=(Identity(user, BASIC),)) if answer else None


def summary(auth: AuthInfo) -> str:
    """The user, or the address of somebody without a name; what meta `http_auth` says."""
    return auth.identities[0].identity if auth.identities else auth.peer_address or ""


def _decode(credential: str) -> tuple[str, str | None]:
    """User and password of RFC 7617; no colon, no password. Raises HttpError."""
    if len(credential) > MAX_CREDENTIAL:
        raise HttpError(400, "the Authorization header is too long")
    try:
        text = base64.b64decode(credential.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise HttpError(400, "the Authorization header is not Base64 of UTF-8 text") from None
    if not text.isprintable():
        raise HttpError(400, "the Authorization header holds control characters")
    user, colon, password = text.partition(":")
    return user, password if colon else None
