"""Options of DNS resolvers: what `kumo.dns.configure_resolver` takes.

Public: `ResolverConfig`, `NameServer`, `FixedResolverConfig`, `ZoneText`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kumotwist.config.option import option, options

_NAMES = "twisted.names decides"


@options
class NameServer:
    """One DNS server, in detail."""

    socket_addr: str = option("Its address, `IP:PORT`.")
    protocol: str = option("Transport.", default="udp_then_tcp", no_effect="always UDP, and TCP for what is truncated")
    trust_negative_responses: bool = option("KumoMTA tuning.", default=True, no_effect=_NAMES)
    bind_addr: str | None = option("Local address of questions.", default=None, no_effect=_NAMES)


@options
class ResolverConfig:
    """A resolver that asks DNS servers."""

    name_servers: tuple[str | NameServer, ...] = option("Servers, `IP:PORT` or in detail; tried in order.")
    domain: str | None = option("Local domain.", default=None, no_effect="names are always taken as absolute")
    search: tuple[str, ...] = option("Search list.", default=(), no_effect="names are always taken as absolute")
    options: Mapping[str, object] = option("KumoMTA's resolver options.", factory=dict, no_effect=_NAMES)


@options
class ZoneText:
    """A zone for tests."""

    zone: str = option("The zone's text, RFC 1035 s5.")
    secure: bool = option("Answers count as authenticated.", default=False, no_effect="DANE is not built in yet")


@options
class FixedResolverConfig:
    """A resolver that answers from zones in the policy."""

    zones: tuple[str | ZoneText, ...] = option("Zone texts.")
    servfail: tuple[str, ...] = option("Names whose lookup fails.", default=())
