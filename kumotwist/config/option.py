"""How an option is declared.

An options class is an attrs class whose fields are made with `option()`:
type, default, unit, meaning, since, secret. Everything else (reading a Lua
table, the error with a hint, the reference page, the editor stub) is derived
from that one declaration by `config.structure` and `config.describe`.

Public: `options`, `option`, `option_name`, `WrongOption`, `Duration`, `Cidrs`, `Doc`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final, NewType, TypeVar, dataclass_transform

import attrs
from attrs import NOTHING, frozen

T = TypeVar("T")

#: Float seconds; read from humantime text or a number.
Duration = NewType("Duration", float)

#: Key of our entry in the metadata of an attrs field.
DOC_KEY: Final = "kumotwist"


@frozen
class Doc:
    """What `describe` prints about one option."""

    text: str
    unit: str | None = None
    since: str | None = None
    secret: bool = False
    no_effect: str | None = None
    harmless: tuple[Any, ...] = ()


def option(
    doc: str,
    *,
    default: Any = NOTHING,
    factory: Callable[[], Any] | None = None,
    unit: str | None = None,
    since: str | None = None,
    secret: bool = False,
    no_effect: str | None = None,
    harmless: tuple[Any, ...] = (),
    validator: Callable[[Any, Any, Any], None] | None = None,
    is_hashed: bool = True,
) -> Any:
    """Declare one option; without default or factory it is required.

    `unit` names what a number counts (`octets`, `messages`); durations say it
    by their type. A `secret` option never shows its value in repr or errors.
    `no_effect` says why an option of KumoMTA's is accepted but changes nothing;
    who writes one of the `harmless` values gets what they ask for all the same.
    `is_hashed` is off for tables, which have no hash; they still count in comparisons.
    """
    metadata = {DOC_KEY: Doc(doc, unit, since, secret, no_effect, harmless)}
    how: dict[str, Any] = {"metadata": metadata, "repr": not secret, "validator": validator}
    if not is_hashed:
        how["hash"] = False
    if factory is not None:
        return attrs.field(factory=factory, **how)
    return attrs.field(default=default, **how)


class WrongOption(ValueError):
    """What an options class raises of one of its options; `text` is what follows its name in the sentence.

    `name` is as policies write it, with steps below it behind dots. Whoever reads the table that the options stand in
    puts the steps above in front (`config.structure`).
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"option '{name}' {text}")
        self.name = name
        self.text = text


def option_name(field: attrs.Attribute[Any]) -> str:
    """What policies write; a field that would be a word of Python's has an underscore behind it."""
    return field.name.removesuffix("_")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def options(cls: type[T]) -> type[T]:
    """Class decorator: a frozen keyword-only attrs class with slots."""
    return attrs.frozen(kw_only=True)(cls)


@frozen
class Cidrs:
    """A set of networks; `in` takes an IP address as text. Empty matches nothing."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def parse(cls, *entries: str) -> Cidrs:
        """From bare IPs and strict `net/len`. Raises ValueError naming the entry."""
        return cls(tuple(ipaddress.ip_network(entry.strip()) for entry in entries))

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str) or not self.networks:
            return False
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.networks)

    def __str__(self) -> str:
        return ", ".join(str(network) for network in self.networks)


LOOPBACK: Final = Cidrs.parse("127.0.0.1", "::1")
