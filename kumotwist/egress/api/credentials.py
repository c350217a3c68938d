"""Credentials of a channel: secrets by name, read for each request, and renewed when a provider refuses them.

Public: `Credentials`, `KeyCredentials`, `secrets_of`. What can go wrong: SecretUnavailable,
which never has a value in its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
from attrs import frozen

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option_name
from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.interfaces import KeyLoader


class Credentials(Protocol):
    """What a channel shows to prove who we are."""

    async def get(self) -> Mapping[str, str]:
        """The secrets by name, from memory as a rule. Raises SecretUnavailable."""
        ...

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Those that `get` gave were refused: read them anew. Whether there are others now.

        Raises SecretUnavailable.
        """
        ...


@frozen(eq=False)
class KeyCredentials:
    """Secrets as key sources give them."""

    keys: KeyLoader
    sources: Mapping[str, KeySource]

    async def get(self) -> Mapping[str, str]:
        """The secrets, white space around them cut: files end in a line break."""
        return {name: _text(name, await self.keys.load(source)) for name, source in self.sources.items()}

    async def refresh(self) -> Mapping[str, str]:
        """The same, read past every cache."""
        return {name: _text(name, await self.keys.refresh(source)) for name, source in self.sources.items()}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Another session may have read them anew already; else it is done now."""
        return await self.get() != refused or await self.refresh() != refused


def secrets_of(options: Any) -> Mapping[str, KeySource]:
    """Every option that is a key source and was given, by its name; of a list of them, `name 1` and so on."""
    found: dict[str, KeySource] = {}
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        if isinstance(value, KeySource):
            found[option_name(field)] = value
        elif isinstance(value, tuple):
            sources = [one for one in value if isinstance(one, KeySource)]
            found.update({f"{option_name(field)} {number}": one for number, one in enumerate(sources, 1)})
    return found


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{name} is not UTF-8 text", permanent=True) from None
    if not text:
        raise SecretUnavailable(f"{name} is empty", permanent=True)
    return text
