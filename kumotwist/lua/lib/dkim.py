"""`kumo.dkim`: signers for outgoing mail. `message:dkim_sign` puts the signature of one on a message.

Public: `DkimLibrary`, `DkimSigner`, `SIGNING_METHODS`. What can go wrong: ConfigError for options and for a key that is
none of its kind, SecretUnavailable when there is no key.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kumotwist.config.dkim import Canonicalization, DkimSignerConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import KeyLoader
from kumotwist.core.message import Message
from kumotwist.lua.binding import Function, facade
from kumotwist.lua.messageheaders import BodyMethod
from kumotwist.net.clock import Clock
from kumotwist.proto.dkim import Form, Terms, signature_header

#: Signers kept: one for each domain that signs, far more than most have. A signer is some KiB.
MAX_SIGNERS: Final = 4096

_FORMS: Final[Mapping[Canonicalization, Form]] = {"Relaxed": "relaxed", "Simple": "simple"}
_Algorithm = Literal["rsa-sha256", "ed25519-sha256"]


@facade("dkim signer")
@frozen
class DkimSigner:
    """Terms and a key, ready to sign."""

    config: DkimSignerConfig = field(repr=False)
    algorithm: _Algorithm
    clock: Clock = field(repr=False)
    sign: Callable[[bytes], bytes] = field(repr=False)

    def header(self, message: bytes) -> bytes:
        """The DKIM-Signature field for a message."""
        config = self.config
        terms = Terms(
            algorithm=self.algorithm,
            domain=config.domain,
            selector=config.selector,
            headers=config.headers,
            header_form=_FORMS[config.header_canonicalization],
            body_form=_FORMS[config.body_canonicalization],
            over_sign=config.over_sign,
            says_length=config.body_length,
            tags=self._tags(int(self.clock.seconds())),
        )
        return signature_header(message, terms, self.sign)

    def _tags(self, now: int) -> list[tuple[str, str]]:
        config = self.config
        tags = {
            "i": config.agent_user_identifier,
            "t": str(now),
            "x": str(now + config.expiration) if config.expiration is not None else None,
            "r": "y" if config.reporting else None,
            "atps": config.atps,
            "atpsh": config.atpsh,
        }
        return [(name, value) for name, value in tags.items() if value is not None]


def dkim_sign(message: Message, body: bytes, signer: object) -> None:
    """Put the signature of a signer on top; what is signed must not change afterwards."""
    if not isinstance(signer, DkimSigner):
        raise ValueError("signer must come from kumo.dkim.rsa_sha256_signer or kumo.dkim.ed25519_signer")
    message.set_body(signer.header(body) + body)


SIGNING_METHODS: Final[tuple[BodyMethod, ...]] = (dkim_sign,)


class DkimLibrary:
    """The functions of `kumo.dkim`; signers are kept by their options for `ttl`."""

    namespace = "dkim"

    def __init__(self, keys: KeyLoader, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._signers: OrderedDict[tuple[str, DkimSignerConfig], tuple[float, DkimSigner]] = OrderedDict()

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "ed25519_signer": self.ed25519_signer,
            "rsa_sha256_signer": self.rsa_sha256_signer,
            "set_signing_threads": self.set_signing_threads,
        }

    async def rsa_sha256_signer(self, params: object) -> DkimSigner:
        """A signer with an RSA key, for `message:dkim_sign`."""
        return await self._signer("rsa-sha256", params, "kumo.dkim.rsa_sha256_signer")

    async def ed25519_signer(self, params: object) -> DkimSigner:
        """A signer with an Ed25519 key (RFC 8463), for `message:dkim_sign`."""
        return await self._signer("ed25519-sha256", params, "kumo.dkim.ed25519_signer")

    def set_signing_threads(self, count: object) -> None:
        """Accepted for KumoMTA's sake: a signature takes less than handing it to a thread."""

    async def _signer(self, algorithm: _Algorithm, params: object, where: str) -> DkimSigner:
        config = structure(DkimSignerConfig, params, where)
        wanted = algorithm, config
        try:
            known = self._signers.get(wanted)
        except TypeError:  # the arguments of a key's event hold tables, which have no hash
            return await self._made(algorithm, config, where)
        if known is not None and self._clock.seconds() < known[0]:
            self._signers.move_to_end(wanted)
            return known[1]
        made = await self._made(algorithm, config, where)
        self._signers[wanted] = self._clock.seconds() + config.ttl, made
        if len(self._signers) > MAX_SIGNERS:
            self._signers.popitem(last=False)
        return made

    async def _made(self, algorithm: _Algorithm, config: DkimSignerConfig, where: str) -> DkimSigner:
        pem = await self._keys.load(config.key)
        return DkimSigner(config, algorithm, self._clock, _signing(algorithm, pem, where))


def _signing(algorithm: _Algorithm, pem: bytes, where: str) -> Callable[[bytes], bytes]:
    """What makes signatures with this key. Raises ConfigError, which says nothing of the key."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: option 'key' is no private key in PEM without a passphrase") from None
    if algorithm == "rsa-sha256" and isinstance(key, RSAPrivateKey):
        return lambda text: key.sign(text, PKCS1v15(), SHA256())
    if algorithm == "ed25519-sha256" and isinstance(key, Ed25519PrivateKey):
        return lambda text: key.sign(hashlib.sha256(text).digest())
    raise ConfigError(f"{where}: option 'key' is a private key of another kind")
