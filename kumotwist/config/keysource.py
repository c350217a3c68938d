"""Key sources: where a secret or key comes from; the secret itself is never in the configuration object's repr.

Public: `KeySource` and its forms. `config.structure` reads them from Lua,
`secrets` turns them into bytes.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from kumotwist.core.json import Json


@frozen
class FileKey:
    """A file, read at each use."""

    path: str


@frozen
class LiteralKey:
    """The value itself, in the policy."""

    key_data: bytes = field(repr=False)


@frozen
class EnvironmentKey:
    """An environment variable of the daemon."""

    env: str


@frozen
class EventKey:
    """A policy event: `event_name(...event_args)` returns the value."""

    event_name: str
    event_args: tuple[Json, ...] = ()


@frozen(kw_only=True)
class VaultKey:
    """A field of a secret in a Vault KV store.

    Absent connection settings come from the environment: VAULT_ADDR,
    VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID, VAULT_SECRET_ID,
    VAULT_NAMESPACE, VAULT_CACERT. `kv_version` is 1 or 2.
    """

    vault_mount: str
    vault_path: str
    vault_key: str = "key"
    vault_address: str | None = None
    vault_token: str | None = field(default=None, repr=False)
    vault_token_file: str | None = None
    vault_role_id: str | None = None
    vault_secret_id: str | None = field(default=None, repr=False)
    vault_namespace: str | None = None
    vault_ca_cert: str | None = None
    vault_kv_version: int = 2


KeySource: TypeAlias = FileKey | LiteralKey | EnvironmentKey | EventKey | VaultKey
