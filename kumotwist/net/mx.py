"""Which hosts take a domain's mail, in which order, and the name of the site that they make up.

RFC 5321 s5.1, RFC 7505 (null MX), KumoMTA's site names. The queue asks for
the site when it names a ready queue; the SMTP channel asks for the candidates
when it opens a session.

Public: `Exchangers`, `Candidate`, `exchangers`, `mail_hosts`, `candidates`, `listed_candidates`,
`site_name`, `listed_site`. Errors are ResolveError.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Final

from attrs import frozen
from twisted.internet import defer

from kumotwist.config.queue import MxHost
from kumotwist.core.errors import ResolveError
from kumotwist.net.dns import Resolver, ascii_name

if TYPE_CHECKING:
    from kumotwist.config.egress import IpLookupStrategy

#: Site of domains that say they take no mail: they all share one ready queue, whose fate is one bounce.
NULL_MX_SITE: Final = "."


@frozen
class Candidate:
    """One address to try. `address` is an IP or the path of a Unix socket; `port` only where one was given."""

    name: str
    address: str
    port: int | None = None

    def at(self, port: int) -> str:
        """`name/address:port`, as logs and responses show it."""
        if self.address.startswith("/"):
            return f"{self.name}/{self.address}"
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.name}/{shown}:{port}"


@frozen
class Exchangers:
    """The hosts for a domain by falling preference, sorted by name within one; fully qualified."""

    domain: str
    site: str
    hosts: tuple[tuple[str, ...], ...] = ()
    literal: str | None = None
    port: int | None = None
    is_mx: bool = True

    @property
    def is_null(self) -> bool:
        """Whether the domain takes no mail (RFC 7505)."""
        return not self.hosts and self.literal is None


async def exchangers(resolver: Resolver, domain: str) -> Exchangers:
    """Look up `domain`: a name, `name:port`, `[ip]`, `[ipv6:...]`, `[ip]:port` or `[ip:port]`."""
    name, literal, port = _parse_host(domain)
    if literal is not None:
        site = literal if port is None else f"{literal}:{port}"
        return Exchangers(domain, site, ((literal,),), literal, port, is_mx=False)
    records = await resolver.mx(name)
    if [record.host for record in records] == [""]:
        return Exchangers(domain, NULL_MX_SITE, (), None, port)
    pairs = tuple(sorted({(record.preference, record.host) for record in records if record.host}))
    # RFC 5321 s5.1: without MX records the domain itself is its one exchanger.
    return _from_pairs(domain, pairs or ((1, ascii_name(name)),), port, bool(pairs))


async def mail_hosts(resolver: Resolver, domain: str) -> tuple[str, ...]:
    """The most preferred exchangers by name, fully qualified; none for a domain without MX records.

    Raises ResolveError.
    """
    found = await exchangers(resolver, domain)
    return found.hosts[0] if found.is_mx and found.hosts else ()


@lru_cache(maxsize=8192)
def _from_pairs(domain: str, pairs: tuple[tuple[int, str], ...], port: int | None, is_mx: bool) -> Exchangers:
    """Kept for the last domains: every message asks for its site."""
    hosts = tuple(tuple(f"{host}." for _, host in group) for _, group in groupby(pairs, key=lambda pair: pair[0]))
    site = site_name([host for group in hosts for host in group])
    return Exchangers(domain, site if port is None else f"{site}:{port}", hosts, None, port, is_mx)


async def candidates(
    resolver: Resolver,
    hosts: Exchangers,
    strategy: IpLookupStrategy = "Ipv4AndIpv6",
    shuffle: Callable[[list[Candidate]], None] = random.shuffle,
) -> list[Candidate]:
    """All addresses, best preference first, in random order within one; hosts that do not resolve are left out."""
    if hosts.literal is not None:
        return [Candidate(hosts.literal, hosts.literal, hosts.port)]
    found: list[Candidate] = []
    for group in hosts.hosts:
        lookups = [defer.Deferred.fromCoroutine(_resolved(resolver, host, hosts.port, strategy)) for host in group]
        level = [candidate for resolved in await defer.gatherResults(lookups) for candidate in resolved]
        shuffle(level)
        found.extend(level)
    return found


async def _resolved(resolver: Resolver, host: str, port: int | None, strategy: IpLookupStrategy) -> list[Candidate]:
    try:
        return [Candidate(host, address, port) for address in await resolver.addresses(host, strategy)]
    except ResolveError:
        return []


async def listed_candidates(
    resolver: Resolver, entries: Iterable[str | MxHost], strategy: IpLookupStrategy = "Ipv4AndIpv6"
) -> list[Candidate]:
    """The addresses of an `mx_list`, in its order. Raises ResolveError naming the entry."""
    found: list[Candidate] = []
    for entry in entries:
        if isinstance(entry, MxHost):
            found.append(_given(entry))
            continue
        name, literal, port = _parse_host(entry)
        if literal is not None:
            found.append(Candidate(literal, literal, port))
            continue
        try:
            found.extend(Candidate(name, address, port) for address in await resolver.addresses(name, strategy))
        except ResolveError as problem:
            raise ResolveError(f"resolving mx_list entry {entry}: {problem}", problem.permanent) from None
    return found


def listed_site(entries: Sequence[str | MxHost]) -> str:
    """The site name of an `mx_list`: an entry with its address given counts by the address, as in KumoMTA."""
    labels = (entry if isinstance(entry, str) else entry.addr for entry in entries)
    return f"mx_list:{','.join(labels)}"


def site_name(hosts: Sequence[str]) -> str:
    """One name for all hosts: label by label from the right, `(a|b)` where they differ, `?` where some have none.

    `["mx1.a.b.", "mx2.a.b."]` gives `(mx1|mx2).a.b`.
    """
    split = [host.rstrip(".").lower().split(".")[::-1] for host in hosts]
    longest = max((len(labels) for labels in split), default=0)
    parts = []
    for position in range(longest):
        labels = [labels[position] for labels in split if position < len(labels)]
        distinct = list(dict.fromkeys(labels))
        part = distinct[0] if len(distinct) == 1 else f"({'|'.join(distinct)})"
        parts.append(part if len(labels) == len(split) else f"{part}?")
    return ".".join(reversed(parts))


def _given(entry: MxHost) -> Candidate:
    if entry.addr.startswith("/"):
        return Candidate(entry.name, entry.addr)
    _, literal, port = _parse_host(entry.addr if entry.addr.startswith("[") else _bracketed(entry.addr))
    if literal is None:
        raise ResolveError(f"mx_list entry {entry.name}: {entry.addr!r} is not an IP address", permanent=True)
    return Candidate(entry.name, literal, port)


def _bracketed(address: str) -> str:
    """`ip`, `ip:port` or a bare IPv6 address in the form that `_parse_host` reads."""
    return f"[{address}]"


def _parse_host(text: str) -> tuple[str, str | None, int | None]:
    """`(name, literal, port)`: of name and literal one is given. Raises ResolveError.

    An IPv4 address needs no brackets: no host can have such a name.
    """
    if not text.startswith("["):
        name, colon, digits = text.partition(":")
        literal = _ip(name)
        return "" if literal else name, literal, _port(digits, text) if colon else None
    inner, bracket, behind = text[1:].partition("]")
    if not bracket or (behind and not behind.startswith(":")):
        raise ResolveError(f"{text}: not a domain literal; write it like [192.0.2.1] or [192.0.2.1:25]", permanent=True)
    port = _port(behind[1:], text) if behind else None
    if inner.lower().startswith("ipv6:"):
        inner = inner[5:]
    address = _ip(inner)
    if address is None and inner.count(":") == 1:
        inner, _, digits = inner.partition(":")
        address, port = _ip(inner), _port(digits, text)
    if address is None:
        raise ResolveError(f"{text}: not an IP address", permanent=True)
    return "", address, port


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise ResolveError(f"{text}: not a port: {digits!r}", permanent=True)
    return int(digits)
