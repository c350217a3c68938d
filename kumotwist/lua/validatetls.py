"""The certificates and private keys that a policy names for TLS, looked at by `kumotwist validate`.

Files and what stands in the policy or comes from an event of its own are read.
A Vault is not asked, since it may not be reachable from where a policy is
checked; nor is the daemon's environment known here, so a variable that is not
set is a warning only.

Public: `TlsFiles`. Nothing is raised: `find` gives what it has to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attrs import define, field

from kumotwist.config.egress import PathConfig
from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, KeySource, LiteralKey, VaultKey
from kumotwist.config.listener import HttpListenerConfig, SmtpListenerConfig
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.json import Json
from kumotwist.net.tlscheck import Findings, check_authorities, check_identity

#: Octets of a file; larger ones are refused by `secrets.store` as well.
_LARGEST: Final = 1 << 20


@define
class TlsFiles:
    """Reads what options name. `environ` is ours, `run_event` runs a policy event that gives a key."""

    environ: Callable[[str], str | None]
    run_event: Callable[[str, Sequence[Json]], Awaitable[bytes]]
    now: float
    _seen: list[tuple[KeySource | None, ...]] = field(factory=list, init=False)

    async def find(self, options: SmtpListenerConfig | HttpListenerConfig | PathConfig) -> Findings:
        """What is wrong with the certificate, the key and the CA of `options`; of the same ones it is said once."""
        if isinstance(options, HttpListenerConfig) and not options.use_tls:
            return Findings()
        authority = options.tls_required_client_ca if isinstance(options, SmtpListenerConfig) else None
        sources = (options.tls_certificate, options.tls_private_key, authority)
        if sources in self._seen:
            return Findings()
        self._seen.append(sources)
        found = Findings()
        if authority is not None:
            pem = await self._read("tls_required_client_ca", authority, found)
            _add(found, check_authorities(pem, self.now) if pem is not None else None, authority)
        # A listener's file that holds both is common; of a client's certificate both must be named.
        await self._identity(
            options.tls_certificate, options.tls_private_key, not isinstance(options, PathConfig), found
        )
        return found

    async def _identity(
        self, certificate: KeySource | None, key: KeySource | None, is_both: bool, found: Findings
    ) -> None:
        if certificate is None or (key is None and not is_both):
            if certificate is not key:
                given, missing = (
                    ("tls_private_key", "tls_certificate") if key else ("tls_certificate", "tls_private_key")
                )
                found.warnings.append(f"{given} has no effect without {missing}")
            return
        chain = await self._read("tls_certificate", certificate, found)
        private = await self._read("tls_private_key", key, found) if key is not None else chain
        if chain is not None and private is not None:
            _add(found, check_identity(chain, private, self.now), certificate, key)

    async def _read(self, option: str, source: KeySource, found: Findings) -> bytes | None:
        match source:
            case FileKey():
                return _file(option, source.path, found)
            case LiteralKey():
                return source.key_data
            case EnvironmentKey():
                value = self.environ(source.env)
                if value is None:
                    found.warnings.append(f"{option}: the environment variable {source.env} is not set here")
                return value.encode("utf-8", "surrogateescape") if value is not None else None
            case EventKey():
                try:
                    return await self.run_event(source.event_name, source.event_args)
                except (PolicyError, Rejection) as error:
                    found.errors.append(f"{option}: {error}")
                    return None
            case VaultKey():
                return None


def _file(option: str, path: str, found: Findings) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except PermissionError:
        found.warnings.append(f"{option}: {path} may not be read by the user who runs this check")
    except (OSError, ValueError) as error:
        found.errors.append(f"{option}: {path}: {getattr(error, 'strerror', None) or error}")
    else:
        if len(data) <= _LARGEST:
            return data
        found.errors.append(f"{option}: {path} is larger than {_LARGEST} octets, which no key or certificate may be")
    return None


def _add(found: Findings, more: Findings | None, *sources: KeySource | None) -> None:
    if more is None:
        return
    files = ", ".join(dict.fromkeys(source.path for source in sources if isinstance(source, FileKey)))
    where = f" ({files})" if files else ""
    found.errors += [f"{text}{where}" for text in more.errors]
    found.warnings += [f"{text}{where}" for text in more.warnings]
