"""TLS for the ways in: contexts from key sources, and a certificate of our own when none is given.

Certificates and keys are loaded through a `KeyLoader` and kept for 300 s
(KumoMTA's time), so a renewed certificate is taken up without a restart.

Public: `ServerTls` (contexts for `startTLS` and `listenSSL`) for
`ContextSources`, `self_signed`, `server_context`, `Identity`, and `facts` of a
connection. What can go wrong: `SecretUnavailable`, and `ConfigError` for what
is no PEM or does not match.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from kumotwist.config.keysource import KeySource
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.core.interfaces import KeyLoader
from kumotwist.net.clock import Clock

log: Final = Logger()

#: Seconds for which a context is used before its sources are read again (KumoMTA).
CONTEXT_TTL: Final = 300.0
#: Contexts kept at a time; policy may give each connection its own. Ours.
MAX_CONTEXTS: Final = 64
#: How long a certificate of our own is valid. Ours; it is made anew at each start.
_VALIDITY: Final = dt.timedelta(days=365)


@frozen
class Identity:
    """A certificate chain, leaf first, and its private key, both PEM."""

    chain: bytes
    key: bytes = field(repr=False)


@frozen
class TlsFacts:
    """What was agreed on: names as OpenSSL spells them; `peer_subject` is () without a client certificate."""

    version: str
    cipher: str
    peer_subject: tuple[str, ...]


def self_signed(hostname: str) -> Identity:
    """A new certificate for `hostname`, signed by itself; encrypts, proves nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_ascii(hostname))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Identity(certificate.public_bytes(serialization.Encoding.PEM), pem)


def _ascii(hostname: str) -> str:
    return hostname if hostname.isascii() else hostname.encode("idna").decode()


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ServerContext:
    """What `startTLS` and `TLSMemoryBIOFactory` want: makes OpenSSL's server side of a connection."""

    context: SSL.Context

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: ARG002
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self.context, None)

    def getContext(self) -> SSL.Context:
        """The context itself, for older interfaces of Twisted's."""
        return self.context


def server_context(identity: Identity, client_ca: bytes | None = None) -> ServerContext:
    """A context for TLS 1.2 and later; with `client_ca` (PEM) clients must show a certificate of that CA.

    Raises ConfigError when something is no PEM or key and certificate do not match.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    # RFC 8996: nothing below TLS 1.2.
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION)
    try:
        leaf, *chain = x509.load_pem_x509_certificates(identity.chain)
        context.use_certificate(leaf)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
        key = serialization.load_pem_private_key(identity.key, None)
        context.use_privatekey(key)  # type: ignore[arg-type]  # pyOpenSSL names fewer key types than PEM can hold
        context.check_privatekey()
        if client_ca is not None:
            _require_client_of(context, client_ca)
    except (ValueError, TypeError, SSL.Error):
        # No reason given: it could quote the key.
        raise ConfigError(
            "tls_certificate, tls_private_key and tls_required_client_ca do not fit together as PEM"
        ) from None
    return ServerContext(context)


def _require_client_of(context: SSL.Context, client_ca: bytes) -> None:
    store = context.get_cert_store()
    for root in x509.load_pem_x509_certificates(client_ca):
        authority = crypto.X509.from_cryptography(root)
        if store is not None:
            store.add_cert(authority)
        context.add_client_ca(root)
    context.set_session_id(b"kumotwist")
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)


@frozen
class ContextSources:
    """What a listener's options say about TLS; without a certificate we make one for `hostname`."""

    certificate: KeySource | None
    key: KeySource | None
    client_ca: KeySource | None
    hostname: str


@frozen
class _Cached:
    sources: ContextSources
    expires: float
    context: ServerContext


@define(eq=False)
class ServerTls:
    """Contexts for listeners, from what their options name."""

    keys: KeyLoader
    clock: Clock
    #: Looked through by equality, since the arguments of a key event may be tables.
    _cached: list[_Cached] = field(factory=list, init=False)

    def ready(self, sources: ContextSources) -> ServerContext | None:
        """The context when it is at hand, without waiting."""
        cached = self._find(sources)
        return cached.context if cached is not None and self.clock.seconds() < cached.expires else None

    async def context(self, sources: ContextSources) -> ServerContext:
        """The context for these sources.

        When a renewal fails, the last good one is used for another while.
        Raises SecretUnavailable and ConfigError when there never was a good one.
        """
        context = self.ready(sources)
        if context is not None:
            return context
        try:
            context = await self._load(sources)
        except (SecretUnavailable, ConfigError) as error:
            last = self._find(sources)
            if last is None:
                raise
            log.error("TLS certificate not renewed, the last one stays in use: {error}", error=error)
            context = last.context
        self._keep(sources, context)
        return context

    def _find(self, sources: ContextSources) -> _Cached | None:
        return next((one for one in self._cached if one.sources == sources), None)

    def _keep(self, sources: ContextSources, context: ServerContext) -> None:
        ttl = CONTEXT_TTL if sources.certificate is not None else float("inf")
        others = [one for one in self._cached if one.sources != sources]
        self._cached = [_Cached(sources, self.clock.seconds() + ttl, context), *others[: MAX_CONTEXTS - 1]]

    async def _load(self, sources: ContextSources) -> ServerContext:
        ca = await self.keys.load(sources.client_ca) if sources.client_ca is not None else None
        if sources.certificate is None:
            return server_context(self_signed(sources.hostname), ca)
        chain = await self.keys.load(sources.certificate)
        # A file that holds both is common: the key then stands with the chain.
        key = await self.keys.load(sources.key) if sources.key is not None else chain
        return server_context(Identity(chain, key), ca)


def facts(connection: SSL.Connection) -> TlsFacts:
    """What a finished handshake agreed on."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    names = () if certificate is None else certificate.subject
    return TlsFacts(
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "",
        tuple([f"{name.rfc4514_attribute_name}={_text(name.value)}" for name in names]),
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
