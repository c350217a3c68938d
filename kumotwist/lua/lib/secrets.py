"""`kumo.secrets`: keys and passwords from where they are kept."""

from __future__ import annotations

from collections.abc import Mapping

from kumotwist.config.structure import key_source
from kumotwist.core.interfaces import KeyLoader
from kumotwist.lua.binding import Function
from kumotwist.lua.redact import Redactor


class SecretsLibrary:
    """The functions of `kumo.secrets`."""

    namespace = "secrets"

    def __init__(self, keys: KeyLoader, redactor: Redactor | None = None) -> None:
        """`redactor` is told what policy gets to see."""
        self._keys = keys
        self._redactor = redactor

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"load": self.load}

    async def load(self, source: object) -> bytes:
        """The secret as a string, from a file name, `key_data`, Vault, a policy event or the environment."""
        secret = await self._keys.load(key_source(source, "kumo.secrets.load"))
        if self._redactor is not None:
            self._redactor.add(secret)
        return secret
