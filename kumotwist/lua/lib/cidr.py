"""`kumo.cidr`: values by IP address and network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from kumotwist.lua.binding import Function, facade, mapping, text

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_BITS: Final = {4: 32, 6: 128}


@facade("cidr map", meta={"__index": "find", "__newindex": "store", "__pairs": "entries", "__len": "size"})
class CidrMap:
    """Values by network; the narrowest network that holds an address wins."""

    def __init__(self) -> None:
        #: By version, then by prefix length from narrow to wide, then by the network's number.
        self._levels: dict[int, dict[int, dict[int, object]]] = {4: {}, 6: {}}
        self._names: dict[str, object] = {}

    def find(self, address: object) -> object:
        """The value for `ip`, `ip:port`, `[ip]` or `[ip]:port`; nil for anything else and where nothing matches."""
        ip = _address(address) if isinstance(address, str) else None
        if ip is None:
            return None
        number, bits = int(ip), _BITS[ip.version]
        for length, networks in self._levels[ip.version].items():
            found = networks.get(number >> (bits - length))
            if found is not None:
                return found
        return None

    def store(self, network: object, value: object) -> None:
        """Set the value of an address or network; nil takes it away."""
        name = text(network, "network")
        bare = _address(name)
        key = ipaddress.ip_network(bare if bare is not None else name.strip())
        levels = self._levels[key.version]
        number = int(key.network_address) >> (_BITS[key.version] - key.prefixlen)
        if value is None:
            levels.get(key.prefixlen, {}).pop(number, None)
            self._names.pop(str(key), None)
            return
        levels.setdefault(key.prefixlen, {})[number] = value
        self._levels[key.version] = dict(sorted(levels.items(), reverse=True))
        self._names[str(key)] = value

    def entries(self) -> Iterable[tuple[object, object]]:
        """All networks with their values."""
        return list(self._names.items())

    def size(self) -> int:
        """How many entries there are."""
        return len(self._names)


class CidrLibrary:
    """The functions of `kumo.cidr`."""

    namespace = "cidr"

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"make_map": self.make_map}

    def make_map(self, map: object = None) -> CidrMap:  # noqa: A002 - the documented name
        """A CIDR map, filled from the table when one is given."""
        made = CidrMap()
        for network, value in mapping(map or {}, "map").items():
            made.store(network, value)
        return made


def _address(source: str) -> _Address | None:
    """The address in any of the forms that policy meets, IPv4 in IPv6 taken as IPv4."""
    inner = source.strip()
    if inner.startswith("["):
        inner, bracket, behind = inner[1:].partition("]")
        if not bracket or (behind and not (behind[0] == ":" and behind[1:].isdigit())):
            return None
        inner = inner[5:] if inner.lower().startswith("ipv6:") else inner
    elif inner.count(":") == 1:
        inner, _, port = inner.partition(":")
        if not port.isdigit():
            return None
    try:
        ip = ipaddress.ip_address(inner)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
