"""The key store: turns a key source of any form into bytes.

Used by TLS, SMTP AUTH, `kumo.secrets.load` and every option that takes a key
source. Files and environment variables are read at each use, Vault answers
come from the cache, an event asks policy.

Public: `KeyStore`, which implements `core.interfaces.KeyLoader`. What can go
wrong: SecretUnavailable, which names the source and never the value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, KeySource, LiteralKey, VaultKey
from kumotwist.core.errors import PolicyError, Rejection, SecretUnavailable
from kumotwist.core.json import Json
from kumotwist.net.blocking import ThreadReactor
from kumotwist.net.tasks import Tasks
from kumotwist.secrets.cache import TTL, SecretCache
from kumotwist.secrets.connection import VaultConnection, from_key
from kumotwist.secrets.pool import VaultPool

#: Octets of a key file: certificates with long chains take tens of KiB; this keeps a wrong path from eating memory.
MAX_FILE: Final = 1 << 20

RunEvent = Callable[[str, Sequence[Json]], Awaitable[bytes]]


@define(eq=False)
class KeyStore:
    """Loads keys; one per worker.

    `run_event(name, args)` runs a policy event and returns its string.
    `environ` is the daemon's environment, `ttl` how long a Vault answer is fresh.
    """

    reactor: ThreadReactor
    tasks: Tasks
    environ: Mapping[str, str] = field(repr=False)
    run_event: RunEvent
    ttl: float = TTL
    _vault: VaultPool = field(init=False)
    _cache: SecretCache = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._vault = VaultPool(self.reactor, self.tasks)
        self._cache = SecretCache(self.reactor, self.tasks, self.ttl)

    async def load(self, source: KeySource) -> bytes:
        """The secret. Raises SecretUnavailable; the value is never part of its text."""
        match source:
            case FileKey():
                return _read_file(source.path)
            case LiteralKey():
                return source.key_data
            case EnvironmentKey():
                return self._from_environment(source.env)
            case EventKey():
                return await self._from_event(source)
            case VaultKey():
                return await self._from_vault(source)

    async def refresh(self, source: KeySource) -> bytes:
        """The secret read anew; Vault is asked again unless it was within the last second."""
        if isinstance(source, VaultKey):
            self._cache.expire(self._key(source))
        return await self.load(source)

    async def close(self) -> None:
        """Let go of the Vault sessions and their threads."""
        await self._vault.close()

    def _from_environment(self, name: str) -> bytes:
        value = self.environ.get(name)
        if value is None:
            raise SecretUnavailable(f"environment variable {name} is not set", permanent=True)
        return value.encode("utf-8", "surrogateescape")

    async def _from_event(self, source: EventKey) -> bytes:
        try:
            return await self.run_event(source.event_name, source.event_args)
        except Rejection:
            raise SecretUnavailable(f"event {source.event_name} rejected the request for a key") from None
        except PolicyError as error:
            raise SecretUnavailable(f"event {source.event_name} gave no key: {error}") from error

    def _key(self, source: VaultKey) -> tuple[VaultConnection, str, str, int]:
        connection = from_key(source, self.environ)
        return (connection, source.vault_mount, source.vault_path, source.vault_kv_version)

    async def _from_vault(self, source: VaultKey) -> bytes:
        key = connection, mount, path, version = self._key(source)
        fields = await self._cache.get(key, lambda: self._vault.read(connection, mount, path, version))
        value = fields.get(source.vault_key)
        place = f"Vault secret {mount}/{path} at {connection.place}"
        if value is None:
            raise SecretUnavailable(f"{place} has no key {source.vault_key!r}", permanent=True)
        if not isinstance(value, str):
            raise SecretUnavailable(f"{place}: the value of {source.vault_key!r} is not a string", permanent=True)
        return value.encode()


def _read_file(path: str) -> bytes:
    if "\n" in path or "\0" in path:
        raise SecretUnavailable(
            "a text with line breaks is no file name; give a key itself as key_data", permanent=True
        )
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise SecretUnavailable(f"key file {path}: {error.strerror}", isinstance(error, FileNotFoundError)) from None
    if len(data) > MAX_FILE:
        raise SecretUnavailable(f"key file {path} is larger than {MAX_FILE} octets", permanent=True)
    return data
