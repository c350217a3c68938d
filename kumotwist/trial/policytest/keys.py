"""Secrets as a test gives them, for key sources of every kind: nothing is read and nobody is asked.

    t:secret('secret/sendgrid', 'SG.x')              Vault by mount/path, or mount/path#key
    t:secret('secret/twilio', { auth_token = 'x' })  the fields of a Vault secret
    t:secret('/etc/keys/dkim.pem', '-----BEGIN...')  a file by its name
    t:secret('API_KEY', 'x')                         an environment variable
    t:secret('secret/sendgrid', { error = 'denied' })

Public: `Keys`. Raises ValueError for what is no secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, KeySource, LiteralKey, VaultKey
from kumotwist.config.structure import hint
from kumotwist.core.errors import PolicyError, Rejection, SecretUnavailable
from kumotwist.core.json import Json
from kumotwist.lua.binding import octets, text
from kumotwist.trial.policytest.unscripted import Unscripted

RunEvent = Callable[[str, Sequence[Json]], Awaitable[bytes]]

#: How Vault and files fail, by the word for it: what is said, and whether waiting will not help.
_ERRORS: Final = {
    "denied": ("access is denied (403)", False),
    "down": ("cannot connect", False),
    "missing": ("there is no such secret", True),
}


@define(eq=False)
class Keys:
    """A `core.interfaces.KeyLoader` by the test's script."""

    run_event: RunEvent
    unscripted: Unscripted
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    _given: dict[str, bytes | SecretUnavailable] = field(factory=dict, repr=False)

    def give(self, name: str, value: object) -> None:
        """From now on `name` has this value, these fields, or this trouble. Raises ValueError."""
        for known in [one for one in self._given if one == name or one.startswith(f"{name}#")]:
            del self._given[known]
        if not isinstance(value, dict):
            self._given[name] = octets(value, "value")
            return
        if "error" not in value:
            if not value:
                raise ValueError("a secret has a value, fields, or an error")
            for key, one in value.items():
                self._given[f"{name}#{key}"] = octets(one, key)
            return
        if len(value) > 1:
            raise ValueError("a secret with an error has nothing else")
        why = text(value["error"], "error")
        said, is_permanent = _ERRORS.get(why, (why, False))
        self._given[name] = SecretUnavailable(f"{name}: {said}", permanent=is_permanent)

    async def load(self, source: KeySource) -> bytes:
        """The secret. Raises SecretUnavailable."""
        match source:
            case LiteralKey():
                return source.key_data
            case EventKey():
                return await self._from_event(source)
            case FileKey():
                return self._find(source.path)
            case EnvironmentKey():
                if source.env in self.environment and source.env not in self._given:
                    return self.environment[source.env].encode()
                return self._find(source.env)
            case VaultKey():
                return self._from_vault(f"{source.vault_mount}/{source.vault_path}", source.vault_key)

    async def refresh(self, source: KeySource) -> bytes:
        """The same."""
        return await self.load(source)

    async def _from_event(self, source: EventKey) -> bytes:
        try:
            return await self.run_event(source.event_name, source.event_args)
        except (Rejection, PolicyError) as error:
            raise SecretUnavailable(f"event {source.event_name} gave no key: {error}") from error

    def _from_vault(self, place: str, key: str) -> bytes:
        if f"{place}#{key}" in self._given or place in self._given:
            return self._find(f"{place}#{key}", place)
        if any(one.startswith(f"{place}#") for one in self._given):
            raise SecretUnavailable(f"{place} has no key {key!r}", permanent=True)
        return self._find(place)

    def _find(self, *names: str) -> bytes:
        value = next((self._given[name] for name in names if name in self._given), None)
        if value is None:
            asked = names[-1]
            raise SecretUnavailable(
                self.unscripted.note(
                    f"the policy needs the secret '{asked}', which the test does not give; "
                    f"t:secret('{asked}', '...') does, and {{ error = 'down' }} in its place an outage"
                    f"{hint(asked, self._given)}"
                ),
                permanent=True,
            )
        if isinstance(value, SecretUnavailable):
            raise SecretUnavailable(str(value), permanent=value.permanent)
        return value
