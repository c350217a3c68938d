"""`kumo.dns`: questions about names, and who answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kumotwist.config.resolver import FixedResolverConfig, NameServer, ResolverConfig, ZoneText
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.lua.binding import Function, mapping, sequence, text
from kumotwist.net.clock import Clock
from kumotwist.net.dns import CachingResolver, Resolver, StaticResolver, system_client
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.mx import Exchangers, exchangers
from kumotwist.net.zone import parse_zone

_STRATEGIES: Final = ("Ipv4AndIpv6", "Ipv4Only", "Ipv6Only")
_DNS_PORT: Final = 53

#: Makes a resolver for servers given as (address, port).
MakeResolver = Callable[[Sequence[tuple[str, int]]], Resolver]


def resolver_maker(reactor: object, clock: Clock) -> MakeResolver:
    """Resolvers on twisted.names."""
    return lambda servers: CachingResolver(system_client(reactor, servers), clock)


class DnsLibrary:
    """The functions of `kumo.dns`; `resolver` is the one that the whole worker asks."""

    namespace = "dns"

    def __init__(self, resolver: ConfigurableResolver, make_resolver: MakeResolver) -> None:
        self._resolver = resolver
        self._make_resolver = make_resolver
        self._named: dict[str, Resolver] = {}

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "configure_resolver": self.configure_resolver,
            "configure_test_resolver": self.configure_test_resolver,
            "define_resolver": self.define_resolver,
            "lookup_addr": self.lookup_addr,
            "lookup_mx": self.lookup_mx,
            "lookup_txt": self.lookup_txt,
        }

    def configure_resolver(self, params: object) -> None:
        """Ask these DNS servers, or these test zones, for everything; call it in `init`."""
        self._resolver.use(self._made(params, "kumo.dns.configure_resolver"))

    def configure_test_resolver(self, zones: object) -> None:
        """Answer everything from these zone texts."""
        self._resolver.use(_static({"zones": sequence(zones, "zones")}, "kumo.dns.configure_test_resolver"))

    def define_resolver(self, name: object, config: object) -> None:
        """Give a further resolver a name, for the lookups that ask for it."""
        self._named[text(name, "name")] = self._made(config, "kumo.dns.define_resolver")

    async def lookup_addr(self, name: object, resolver: object = None, strategy: object = None) -> Sequence[str]:
        """The IPv4 and IPv6 addresses of a name; raises when it does not exist."""
        host, chosen = text(name, "name"), "Ipv4AndIpv6" if strategy is None else text(strategy, "strategy")
        for known in _STRATEGIES:
            if chosen in (known, "Ipv6AndIpv4"):
                found = await self._chosen(resolver).addresses(host, known)
                return sorted(found, key=lambda one: ":" not in one) if chosen == "Ipv6AndIpv4" else found
        raise ConfigError(f"kumo.dns.lookup_addr: strategy must be one of {', '.join(_STRATEGIES)}, got {chosen!r}")

    async def lookup_mx(self, domain: object, resolver: object = None) -> Mapping[str, object]:
        """The mail exchangers of a domain: `hosts`, `by_pref`, `site_name` and how they were found."""
        name, chosen = text(domain, "domain"), self._chosen(resolver)
        found = await exchangers(chosen, name)
        return {
            "by_pref": await _by_preference(chosen, name, found),
            "site_name": found.site,
            "domain_name": name if found.literal is not None else f"{name.rstrip('.').lower()}.",
            "hosts": [host for group in found.hosts for host in group],
            "is_domain_literal": found.literal is not None,
            "is_mx": found.is_mx,
            "is_secure": False,  # answers are not checked by DNSSEC
            "mta_sts": "None",
        }

    async def lookup_txt(self, domain: object, resolver: object = None) -> Sequence[str]:
        """The TXT records of a name; raises when it does not exist."""
        return await self._chosen(resolver).txt(text(domain, "domain"))

    def _chosen(self, name: object) -> Resolver:
        if name is None:
            return self._resolver
        known = self._named.get(text(name, "resolver name"))
        if known is None:
            raise ConfigError(f"no resolver {name!r} is defined; kumo.dns.define_resolver makes one")
        return known

    def _made(self, params: object, where: str) -> Resolver:
        form = mapping(params, "params")
        if "Test" in form:
            return _static(form["Test"], where)
        inner, at = (form["Hickory"], ("Hickory",)) if "Hickory" in form else (form, ())
        config = structure(ResolverConfig, inner, where, at)
        return self._make_resolver([_server(one, where) for one in config.name_servers])


async def _by_preference(resolver: Resolver, domain: str, found: Exchangers) -> Mapping[int, Sequence[str]]:
    """Hosts by preference; for a domain that is its own exchanger, or a literal, preference 1."""
    if not found.is_mx:
        return {1: [host for group in found.hosts for host in group]}
    levels: dict[int, list[str]] = {}
    for record in sorted(await resolver.mx(domain.partition(":")[0]), key=lambda one: (one.preference, one.host)):
        levels.setdefault(record.preference, []).append(f"{record.host}.")
    return levels


def _server(entry: str | NameServer, where: str) -> tuple[str, int]:
    address = entry if isinstance(entry, str) else entry.socket_addr
    host, colon, port = address.rpartition(":") if not address.endswith("]") else (address, "", "")
    if colon and (":" not in host or host.startswith("[")):
        if port.isdigit() and 0 < int(port) < 65536:
            return host.strip("[]"), int(port)
        raise ConfigError(f"{where}: not a DNS server: {address!r}; write it like '10.0.0.1:53'")
    return address.strip("[]"), _DNS_PORT


def _static(params: object, where: str) -> Resolver:
    config = structure(FixedResolverConfig, params, where, ("Test",))
    zones = [zone.zone if isinstance(zone, ZoneText) else zone for zone in config.zones]
    failing = [name.rstrip(".").lower() for name in config.servfail]
    try:
        return StaticResolver(parse_zone(*zones), failing)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
