"""A resolver that policy may exchange: `kumo.dns.configure_resolver` takes effect for the whole worker.

Public: `ConfigurableResolver`, a `net.dns.Resolver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define

from kumotwist.net.dns import MxRecord, Resolver

if TYPE_CHECKING:
    from kumotwist.config.egress import IpLookupStrategy


@define(eq=False)
class ConfigurableResolver:
    """Asks whichever resolver is in use; questions under way keep the one they began with."""

    current: Resolver

    def use(self, resolver: Resolver) -> None:
        """Ask `resolver` from now on."""
        self.current = resolver

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        """See `Resolver`."""
        return await self.current.mx(domain)

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:
        """See `Resolver`."""
        return await self.current.addresses(host, strategy)

    async def txt(self, name: str) -> Sequence[str]:
        """See `Resolver`."""
        return await self.current.txt(name)

    async def ptr(self, address: str) -> Sequence[str]:
        """See `Resolver`."""
        return await self.current.ptr(address)
