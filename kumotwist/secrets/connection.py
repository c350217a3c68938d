"""How to reach a Vault and who to be there: settings of a key source, filled up from the environment.

Public: `VaultConnection`, `from_key`. Raises SecretUnavailable when the
settings do not suffice; no setting's value is in the text but the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from kumotwist.core.errors import SecretUnavailable

if TYPE_CHECKING:
    from kumotwist.config.keysource import VaultKey


@frozen(kw_only=True, hash=True)
class VaultConnection:
    """One identity at one Vault; equal settings share a token and a cache.

    Exactly one of `token`, `token_file` and `role_id` is set.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    role_id: str | None = None
    secret_id: str | None = field(default=None, repr=False)
    namespace: str | None = None
    ca_cert: str | None = None

    @property
    def place(self) -> str:
        """The address without user, password and query, for error texts."""
        parts = urlsplit(self.address)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}" + (f" (namespace {self.namespace})" if self.namespace else "")


def from_key(key: VaultKey, environ: Mapping[str, str]) -> VaultConnection:
    """The settings of `key`; what it leaves open comes from `environ`.

    A key that names any credential uses only that; otherwise the first of
    VAULT_TOKEN, VAULT_TOKEN_FILE and VAULT_ROLE_ID decides.
    """
    address = key.vault_address or environ.get("VAULT_ADDR")
    if not address:
        raise SecretUnavailable("no Vault address: set vault_address or VAULT_ADDR", permanent=True)
    token, token_file, role_id = key.vault_token, key.vault_token_file, key.vault_role_id
    if not (token or token_file or role_id):
        token = environ.get("VAULT_TOKEN")
        token_file = environ.get("VAULT_TOKEN_FILE")
        role_id = environ.get("VAULT_ROLE_ID")
    if token:
        token_file = role_id = None
    elif token_file:
        role_id = None
    elif not role_id:
        raise SecretUnavailable(
            "no Vault credentials: set vault_token, vault_token_file or vault_role_id, "
            "or VAULT_TOKEN, VAULT_TOKEN_FILE or VAULT_ROLE_ID",
            permanent=True,
        )
    secret_id = (key.vault_secret_id or environ.get("VAULT_SECRET_ID")) if role_id else None
    return VaultConnection(
        address=address,
        token=token or None,
        token_file=token_file or None,
        role_id=role_id or None,
        secret_id=secret_id,
        namespace=key.vault_namespace or environ.get("VAULT_NAMESPACE") or None,
        ca_cert=key.vault_ca_cert or environ.get("VAULT_CACERT") or None,
    )
