"""The options that hold for one SMTP client: the listener's, overlaid by `peer`, `via` and policy.

`peer` and `via` map networks to option tables; the most specific network that
has the client (the local address) wins, and its table may hold `peer` and
`via` of its own. `meta` of every layer ends up in the connection's meta.

Public: `ListenerOptions`, `overlay`, `local_end`. What can go wrong: `ConfigError` for an
overlay that is no option table, at construction for those in the listener's
options, and at each connection for what policy returns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import attrs
from attrs import define, field, frozen

from kumotwist.config.listener import SmtpListenerConfig, host_and_port
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.core.json import Json

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Table: TypeAlias = Mapping[str, Json]

#: What the operator wrote them in.
_WHERE: Final = "kumo.start_esmtp_listener"
#: Overlays within overlays, as deep as anybody can mean them. Ours.
MAX_DEPTH: Final = 4
#: Address pairs whose options are remembered. Ours.
MAX_REMEMBERED: Final = 1024


@frozen
class Effective:
    """Options for one connection, and the meta of all layers that were laid over the listener's."""

    config: SmtpListenerConfig
    meta: Table


@define(eq=False)
class ListenerOptions:
    """Options by client and local address, for one listener."""

    config: SmtpListenerConfig
    _remembered: dict[tuple[str, str], Effective] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        _check(self.config, (), MAX_DEPTH)

    def effective(self, client: str, local: str) -> Effective:
        """The options for a client at `client` that connected to our `local` address."""
        config = self.config
        if not config.peer and not config.via:
            return Effective(config, config.meta)
        known = self._remembered.get((client, local))
        if known is None:
            known = _descend(Effective(config, config.meta), config.peer, config.via, client, local, MAX_DEPTH)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[client, local] = known
        return known


def _check(config: SmtpListenerConfig, at: tuple[str, ...], depth: int) -> None:
    """Look at every overlay, and at those within them. Raises ConfigError that says its path."""
    for option, tables in (("peer", config.peer), ("via", config.via)):
        for network, table in tables.items():
            _network(network)
            if depth > 0:
                given = structure(SmtpListenerConfig, table, _WHERE, (*at, option, network))
                _check(given, (*at, option, network), depth - 1)


def overlay(config: SmtpListenerConfig, table: Table) -> SmtpListenerConfig:
    """`config` with the options of `table` in place of its own. Raises ConfigError."""
    given = structure(SmtpListenerConfig, dict(table))
    changes = {name: getattr(given, name) for name in table}
    return attrs.evolve(config, **changes)  # type: ignore[misc]  # mypy takes @options classes for dataclasses


def local_end(config: SmtpListenerConfig, client: str) -> tuple[str, int]:
    """Where a `client` of this address would find the listener; one of all addresses has the loopback's."""
    host, port = host_and_port(config.listen)
    try:
        is_any = not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        is_any = True  # a name, which the system knows
    return (("::1" if ":" in client else "127.0.0.1") if is_any else host), port


def _descend(base: Effective, peer: object, via: object, client: str, local: str, depth: int) -> Effective:
    for mapping, address in ((peer, client), (via, local)):
        table = _best_match(mapping, address)
        if table is not None and depth > 0:
            meta = table.get("meta")
            merged = {**base.meta, **meta} if isinstance(meta, Mapping) else base.meta
            layered = Effective(overlay(base.config, table), merged)
            base = _descend(layered, table.get("peer"), table.get("via"), client, local, depth - 1)
    return base


def _best_match(mapping: object, address: str) -> Table | None:
    if not isinstance(mapping, Mapping) or not mapping:
        return None
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    matching = [network for network in mapping if ip in _network(network)]
    if not matching:
        return None
    table = mapping[max(matching, key=lambda network: _network(network).prefixlen)]
    return table if isinstance(table, Mapping) else None


@lru_cache(maxsize=MAX_REMEMBERED)
def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network: {error}; write it like 10.0.0.0/8 or 192.0.2.1") from None
