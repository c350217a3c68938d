"""Connections to public addresses only, for URLs that strangers choose.

A webhook or push endpoint that somebody else names must not reach our own
network: not by its address, not by a redirect, not by a name that resolves to
a private address, nor by one that does so only the second time (DNS
rebinding). So the name is resolved once, each address is judged, and the
connection goes to the very address that was judged.

What a URL itself says, no resolver will change: that can be told beforehand.

Public: `PublicEndpoint`, `PrivateAddress`, `is_public`, `private_host`. What can go wrong:
PrivateAddress when no address is public; DNSLookupError for a name without any.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

#: Prefixes of IPv6 that carry an IPv4 address at some octet: NAT64 (RFC 6052) and 6to4 (RFC 3056).
_CARRIERS: Final = ((ipaddress.ip_network("64:ff9b::/96"), 12), (ipaddress.ip_network("2002::/16"), 2))
#: All that IANA has assigned as global unicast. What lies elsewhere is no public address even where Python's tables do
#: not say so: site-local (`fec0::/10`), IPv4-compatible (`::127.0.0.1`), segment routing.
_UNICAST6: Final = ipaddress.ip_network("2000::/3")


class PrivateAddress(Exception):
    """A host that is not on the public Internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet; what it carries inside counts, too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped
        for network, at in _CARRIERS:
            if ip in network:
                inner = ipaddress.IPv4Address(ip.packed[at : at + 4])
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST6:
            return False
    return ip.is_global and not ip.is_multicast


def private_host(url: str) -> str | None:
    """The host of `url` when it is not public by its spelling alone; None for a public one and for any other name.

    Spellings are those that the resolver takes for an address: `127.1`, `0x7f.1` and `2130706433` are 127.0.0.1.
    """
    try:
        host = (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return None
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 s6.3
        return host
    try:
        return None if is_public(host) else host
    except ValueError:
        pass
    try:
        return None if is_public(socket.inet_ntoa(socket.inet_aton(host))) else host
    except (OSError, UnicodeError):
        return None


@implementer(IStreamClientEndpoint)
class PublicEndpoint:
    """Connects to the first public address of a host that answers."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """A connected protocol. Fails with PrivateAddress, DNSLookupError or ConnectError."""
        return ensureDeferred(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        found = await self._addresses()
        public = [address for address in found if is_public(address.host)]
        if not found:
            raise DNSLookupError(f"{self._host} has no address")
        if not public:
            raise PrivateAddress(f"{self._host} is not on the public Internet, and this URL may not lead elsewhere")
        problem: ConnectError | None = None
        for address in public:
            kind: Any = TCP4ClientEndpoint if isinstance(address, IPv4Address) else TCP6ClientEndpoint
            endpoint = kind(self._reactor, address.host, self._port, timeout=self._timeout)
            try:
                protocol: IProtocol = await endpoint.connect(factory)
            except ConnectError as error:
                problem = error
            else:
                return protocol
        assert problem is not None
        raise problem

    def _addresses(self) -> Deferred[list[IPv4Address | IPv6Address]]:
        receiver = _Addresses()
        self._reactor.nameResolver.resolveHostName(receiver, self._host, self._port)
        return receiver.done


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a name resolves to; a literal address resolves to itself."""

    def __init__(self) -> None:
        self.done: Deferred[list[IPv4Address | IPv6Address]] = Deferred()
        self._found: list[IPv4Address | IPv6Address] = []

    def resolutionBegan(self, resolution: object) -> None:
        """Nothing to do yet."""

    def addressResolved(self, address: IAddress) -> None:
        """One more."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address)

    def resolutionComplete(self) -> None:
        """That was all."""
        self.done.callback(self._found)
