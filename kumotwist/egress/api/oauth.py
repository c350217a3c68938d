"""Access tokens by OAuth 2.0, for APIs that want one in place of a key.

A token is asked for when it is first needed, shared by all sessions of the
channel, and asked for anew before it expires or when it was refused. The
grants are pure: secrets and time to a request.

Public: `OAuthCredentials`, `Token`, `Grant`, `client_credentials`,
`refresh_token`, `service_account`, `read_service_account`, `TOKEN`. What can
go wrong: SecretUnavailable, permanent when the authority refused what we showed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from attrs import define, field, frozen

from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.json import JsonObject, at
from kumotwist.core.receipt import printable
from kumotwist.egress.api.credentials import KeyCredentials
from kumotwist.egress.api.discreet import without
from kumotwist.egress.api.jsonapi import json_of, text_of
from kumotwist.net.flight import SingleFlight
from kumotwist.net.http import HttpClient, HttpError, HttpRequest
from kumotwist.net.httpform import url_encoded
from kumotwist.proto.sign.jwt import JwtKey

#: The name of the token among a channel's secrets.
TOKEN: Final = "access_token"  # noqa: S105 - a name
#: Part of a token's life after which it is renewed; the rest is for requests under way.
_FRESH: Final = 0.9
#: Seconds that a token lives when the authority does not say (RFC 6749 s5.1 only recommends that it does).
_LIFETIME: Final = 600.0
#: Characters of an authority's error that a record shows.
_MAX_ERROR: Final = 300
#: Seconds for which an assertion of ours is good: the most that Google takes.
_ASSERTION_LIFETIME: Final = 3600

#: Secrets by name and the time in Unix seconds, to the request for a token. Raises SecretUnavailable.
Grant: TypeAlias = Callable[[Mapping[str, str], float], HttpRequest]


@frozen
class Token:
    """An access token, to be used until that time in Unix seconds."""

    value: str = field(repr=False)
    until: float


@define(eq=False)
class OAuthCredentials:
    """Implements `egress.api.credentials.Credentials`; gives one secret, `access_token`."""

    client: HttpClient
    keys: KeyCredentials
    grant: Grant
    now: Callable[[], float]
    flight: SingleFlight[str, Token]
    _token: Token | None = field(default=None, init=False)

    async def get(self) -> Mapping[str, str]:
        """The token, a kept one while it is fresh."""
        token = self._token
        if token is None or self.now() >= token.until:
            token = await self.flight.run(TOKEN, self._ask)
        return {TOKEN: token.value}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """A new one, made with secrets that are read anew, unless another session has got it already."""
        if self._token is None or self._token.value == refused.get(TOKEN):
            self._token = None
            await self.keys.refresh()
        return (await self.get()) != refused

    async def _ask(self) -> Token:
        secrets = await self.keys.get()
        request = self.grant(secrets, self.now())
        try:
            reply = await self.client.send(request)
        except HttpError as error:
            raise SecretUnavailable(f"no access token: {error}") from None
        answer = json_of(reply)
        value, lifetime = at(answer, "access_token"), at(answer, "expires_in")
        if reply.code != 200 or not isinstance(value, str) or not value:
            said = at(answer, "error_description") or at(answer, "error") or text_of(reply)
            shown = without({**secrets, **_assertion(request)}, str(said))
            text = printable(f"no access token: {reply.code} {shown}", _MAX_ERROR)
            raise SecretUnavailable(text, permanent=400 <= reply.code < 500 and reply.code not in (408, 429))
        try:
            seconds = float(lifetime)
        except (TypeError, ValueError):
            seconds = _LIFETIME
        self._token = Token(value, self.now() + seconds * _FRESH)
        return self._token


def client_credentials(url: str, client_id: str, scope: str) -> Grant:
    """RFC 6749 s4.4, with the secret `client_secret`."""

    def grant(secrets: Mapping[str, str], _: float) -> HttpRequest:
        fields = [("grant_type", "client_credentials"), ("client_id", client_id), ("scope", scope)]
        return _form(url, [*fields, ("client_secret", secrets["client_secret"])])

    return grant


def refresh_token(url: str, client_id: str) -> Grant:
    """RFC 6749 s6, with the secrets `client_secret` and `refresh_token`."""

    def grant(secrets: Mapping[str, str], _: float) -> HttpRequest:
        fields = [("grant_type", "refresh_token"), ("client_id", client_id)]
        return _form(url, [*fields, *((name, secrets[name]) for name in ("client_secret", "refresh_token"))])

    return grant


class ServiceAccount(msgspec.Struct):
    """What we use of the file that Google gives out for a service account."""

    client_email: str
    private_key: str
    private_key_id: str | None = None
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    project_id: str | None = None


def read_service_account(text: str) -> ServiceAccount:
    """The secret `service_account`, JSON. Raises SecretUnavailable."""
    try:
        return msgspec.json.decode(text, type=ServiceAccount)
    except msgspec.DecodeError:
        raise SecretUnavailable("service_account is not the JSON of a Google service account", True) from None


def service_account(scope: str, subject: str | None = None, url: str | None = None) -> Grant:
    """RFC 7523 s2.1 as Google has it, with the secret `service_account`.

    `subject` is the user whom the account acts for; `url` stands in for the
    authority that the account names.
    """

    def grant(secrets: Mapping[str, str], now: float) -> HttpRequest:
        account = read_service_account(secrets["service_account"])
        authority = url or account.token_uri
        try:
            key = JwtKey.load(account.private_key.encode(), account.private_key_id)
        except ConfigError as error:
            raise SecretUnavailable(f"service_account: {error}", permanent=True) from None
        issued = int(now)
        claims: JsonObject = {"iss": account.client_email, "scope": scope, "aud": authority}
        claims |= {"iat": issued, "exp": issued + _ASSERTION_LIFETIME}
        if subject is not None:
            claims["sub"] = subject
        kind = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return _form(authority, [("grant_type", kind), ("assertion", key.token(claims))])

    return grant


def _assertion(request: HttpRequest) -> Mapping[str, str]:
    """What a request shows that is made of a secret, and as good as one while it holds."""
    return {name: value for name, value in parse_qsl((request.body or b"").decode()) if name == "assertion"}


def _form(url: str, fields: list[tuple[str, str]]) -> HttpRequest:
    headers = ((b"Content-Type", b"application/x-www-form-urlencoded"), (b"Accept", b"application/json"))
    return HttpRequest(b"POST", url, headers, url_encoded(fields))
