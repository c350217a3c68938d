"""The maker of an API's channels: what a provider's module adds to is its name, options and dialect.

Public: `ApiKind`. What can go wrong: ConfigError for a `base_url` that is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from kumotwist.config.keysource import KeySource
from kumotwist.core.errors import ConfigError
from kumotwist.core.outcome import Peer
from kumotwist.core.stats import Sample
from kumotwist.egress.api.credentials import Credentials, KeyCredentials, secrets_of
from kumotwist.egress.api.dialect import Dialect
from kumotwist.egress.api.judge import Judge, Rule
from kumotwist.egress.api.oauth import Grant, OAuthCredentials, Token
from kumotwist.egress.api.options import CallOptions, check_base_url
from kumotwist.egress.api.session import UNAUTHORIZED, ApiChannel, peer_of
from kumotwist.egress.services import Services
from kumotwist.net.flight import SingleFlight
from kumotwist.net.http import MAX_RESPONSE, HttpSettings


class ApiKind(ABC):
    """Implements `egress.registry.ChannelKind`. A provider's kind says `options` and `dialect`."""

    options: type[Any]
    #: Whether `base_url` and what it redirects to may lead into private networks.
    allow_private: bool = True
    #: Redirects that are followed; an API has no reason to send its clients elsewhere.
    max_redirects: int = 0
    #: Octets of a reply that are read.
    max_response: int = MAX_RESPONSE
    #: Statuses that may come of a credential that was replaced; where a URL is the secret, 404 is one.
    unauthorized: frozenset[int] = UNAUTHORIZED

    def __init__(self, services: Services) -> None:
        self.services = services

    @abstractmethod
    def dialect(self, options: Any, peer: Peer) -> Dialect:
        """How the provider is spoken to with these options. Raises ConfigError."""

    def base_url(self, options: Any) -> str:
        """Where the API is; a provider with regions derives it from them."""
        url: str = options.base_url
        return url

    def secrets(self, options: Any) -> Mapping[str, KeySource]:
        """What `authorize` is given: all that the options name, unless one of them stands for another."""
        return secrets_of(options)

    def oauth(self, options: CallOptions, grant: Grant) -> OAuthCredentials:
        """Access tokens by `grant`, which is given the secrets; for a kind's own `credentials`."""
        client = self.services.http.client(HttpSettings(timeout=options.timeout, max_redirects=0))
        keys = KeyCredentials(self.services.keys, self.secrets(options))
        flight: SingleFlight[str, Token] = SingleFlight(self.services.tasks.spawn, "access token")
        return OAuthCredentials(client, keys, grant, self.services.clock.seconds, flight)

    def judge(self, peer: Peer, rules: Sequence[Rule], options: CallOptions) -> Judge:
        """What judges its replies, by the provider's own rules first."""
        return Judge(peer, rules, options.rest, self.services.clock.seconds)

    def reaches_private(self, options: Any) -> bool:  # noqa: ARG002
        """`allow_private`, for kinds where the options decide."""
        return self.allow_private

    def credentials(self, options: Any) -> Credentials:
        """Where its secrets come from; an API that deals in tokens has its own."""
        return KeyCredentials(self.services.keys, self.secrets(options))

    def make(self, protocol: Any) -> ApiChannel:
        """The channel for one account. Raises ConfigError."""
        name = self.options.channel
        protocol = evolve(protocol, base_url=self.base_url(protocol).rstrip("/"))
        try:
            check_base_url(protocol.base_url)
        except ValueError as error:
            raise ConfigError(f"protocol.{name}: {error}") from None
        return self.built(protocol, peer_of(name, protocol))

    def built(self, protocol: Any, peer: Peer) -> ApiChannel:
        """The channel for options that are in order, and who answers it. Raises ConfigError."""
        dialect = self.dialect(protocol, peer)
        settings = HttpSettings(
            timeout=protocol.timeout,
            allow_private=self.reaches_private(protocol),
            max_redirects=self.max_redirects,
            max_response=self.max_response,
        )
        return ApiChannel(
            self.options.channel,
            protocol,
            dialect,
            self.credentials(protocol),
            self.services.http.client(settings),
            peer,
            self.services.clock.seconds,
            self.unauthorized,
        )

    def samples(self) -> Sequence[Sample]:
        """No numbers of its own."""
        return ()
