"""DNS as a test gives it: names with their records, names that fail, and names that are slow.

Until the test gives names, every domain is its own mail exchanger for mail on
its way, and a policy that asks by itself fails the test. Afterwards what is
not given does not exist.

Public: `Names`, `PolicyNames`. Raises ValueError for what are no records.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.config.structure import hint
from kumotwist.core.errors import ResolveError
from kumotwist.lua.binding import duration, flag, mapping, text
from kumotwist.net.clock import Clock, sleep
from kumotwist.net.dns import LOOKUP_TIMEOUT, MxRecord, Resolver, StaticResolver, ascii_name
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.zone import TYPES, parse_zone
from kumotwist.trial.policytest.unscripted import Unscripted

if TYPE_CHECKING:
    from kumotwist.config.egress import IpLookupStrategy

log: Final = Logger()

#: The address that every host has without names (RFC 5737).
_ADDRESS: Final = "192.0.2.1"
#: Names told of as nearly right: a test may ask for thousands. Ours.
_MAX_TOLD: Final = 10
_ALSO: Final = ("fail", "delay")


@define(eq=False)
class Names:
    """A `net.dns.Resolver` by the test's script."""

    clock: Clock
    _script: StaticResolver | None = field(default=None, init=False)
    _delays: dict[str, float] = field(factory=dict, init=False)
    _owners: set[str] = field(factory=set, init=False)
    _told: set[str] = field(factory=set, init=False)

    @property
    def is_scripted(self) -> bool:
        """Whether the test has given names."""
        return self._script is not None

    def give(self, value: object) -> None:
        """From now on these names exist: zone texts, or records by name and type. Raises ValueError."""
        if isinstance(value, dict):
            lines, failing, delays = _read(value)
        else:
            texts = value if isinstance(value, list) else [value]
            lines, failing, delays = [text(one, "a zone") for one in texts], [], {}
        if not lines and not failing:
            raise ValueError("there must be a name")
        zone = parse_zone(*lines)
        self._script = StaticResolver(zone, failing)
        self._delays = delays
        self._owners = {*zone, *failing, *delays}

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        """See `Resolver`."""
        if self._script is None:
            return [MxRecord(10, domain.rstrip(".").lower())]
        await self._wait(domain)
        return await self._script.mx(domain)

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:
        """See `Resolver`."""
        if self._script is None:
            return [_ADDRESS]
        await self._wait(host)
        return await self._script.addresses(host, strategy)

    async def txt(self, name: str) -> Sequence[str]:
        """See `Resolver`."""
        if self._script is None:
            raise ResolveError(f"{name} has no TXT record in this test", permanent=True)
        await self._wait(name)
        return await self._script.txt(name)

    async def ptr(self, address: str) -> Sequence[str]:
        """See `Resolver`."""
        if self._script is None:
            raise ResolveError(f"{address} has no name in this test", permanent=True)
        await self._wait(address)
        return await self._script.ptr(address)

    async def _wait(self, name: str) -> None:
        self._tell_what_was_meant(_owner(name))
        delay = self._delays.get(ascii_name(name), 0.0)
        if delay > 0.0:
            await sleep(self.clock, min(delay, LOOKUP_TIMEOUT))
        if delay >= LOOKUP_TIMEOUT:
            raise ResolveError(f"{name}: no answer within {LOOKUP_TIMEOUT:g} s")

    def _tell_what_was_meant(self, name: str) -> None:
        """Shown when the test fails; a name that does not exist is no failure in itself."""
        if name in self._owners or name in self._told or not (meant := hint(name, self._owners)):
            return
        if len(self._told) < _MAX_TOLD:
            self._told.add(name)
            log.warn("DNS was asked for {name}, which the test's names do not have{meant}", name=name, meant=meant)


class PolicyNames(ConfigurableResolver):
    """What the policy itself asks: it may put its own resolver in the place of the test's names."""

    def __init__(self, house: ConfigurableResolver, names: Names, unscripted: Unscripted) -> None:
        """`house` is what mail on its way asks, `names` behind it."""
        self._house = house
        self._names = names
        self.strict = _Strict(names, unscripted)
        super().__init__(self.strict)

    def use(self, resolver: Resolver) -> None:
        """Ask `resolver` from now on, as all others do."""
        self.current = resolver
        self._house.use(self._names if resolver is self.strict else resolver)


@define(eq=False)
class _Strict:
    """A `Resolver` that notes questions as long as the test has given no names."""

    _names: Names
    _unscripted: Unscripted

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        self._check("MX", domain)
        return await self._names.mx(domain)

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:
        self._check("A", host)
        return await self._names.addresses(host, strategy)

    async def txt(self, name: str) -> Sequence[str]:
        self._check("TXT", name)
        return await self._names.txt(name)

    async def ptr(self, address: str) -> Sequence[str]:
        self._check("PTR", address)
        return await self._names.ptr(address)

    def _check(self, kind: str, name: str) -> None:
        if not self._names.is_scripted:
            raise ResolveError(
                self._unscripted.note(
                    f"the policy asked DNS for {kind} of {name}, and the test gives no names; "
                    f"t:dns {{ ['{name}'] = {{ {kind} = '...' }} }} does"
                ),
                permanent=True,
            )


def _read(given: Mapping[str, object]) -> tuple[list[str], list[str], dict[str, float]]:
    """Zone lines, failing names and delays."""
    lines: list[str] = []
    failing: list[str] = []
    delays: dict[str, float] = {}
    for name, value in given.items():
        owner = _owner(name)
        records = mapping(value, f"the records of {name}")
        unknown = sorted(set(records) - set(TYPES) - set(_ALSO))
        if unknown:
            raise ValueError(f"{name} may have {', '.join((*TYPES, *_ALSO))}, not {unknown[0]!r}")
        if "fail" in records and flag(records["fail"], f"fail of {name}"):
            failing.append(owner)
        if "delay" in records:
            delays[ascii_name(name)] = duration(records["delay"], f"delay of {name}")
        for kind in TYPES:
            texts = records.get(kind, [])
            written = _FORMS.get(kind, str)
            values = [text(one, f"{kind} of {name}") for one in (texts if isinstance(texts, list) else [texts])]
            lines.extend(f"{owner}. 60 {kind} {written(one)}" for one in values)
    return lines, failing, delays


def _owner(name: str) -> str:
    """The name of records; that of an address is where its PTR stands."""
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return ascii_name(name)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _absolute(value: str) -> str:
    return f"{value.rstrip('.')}."


_FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "TXT": _quoted,
    "MX": _absolute,
    "CNAME": _absolute,
    "PTR": _absolute,
}
