"""TLS as a client that upgrades a connection: names verified or only looked at, and the facts for the records.

Used by the SMTP channel behind STARTTLS. The chain is judged by OpenSSL against
the platform's roots, the name by service-identity (RFC 6125, RFC 9525), both
before a byte of ours goes out. In insecure mode nothing is refused, but what is
wrong with the certificate is still known.

Public: `ClientTls`, `TlsAttempt`, `TlsFacts`, `ClientIdentity`. Bad PEM raises
ConfigError; a certificate that is refused shows as `TlsAttempt.problem`.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from kumotwist.core.errors import ConfigError

#: Contexts kept: loading the platform's roots takes about 10 ms. One per client certificate and protocols. Ours.
MAX_CONTEXTS: Final = 64

_VERIFY_TEXTS: Final = {
    code: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, code in vars(SSL.X509VerificationCodes).items()
    if name.isupper() and isinstance(code, int)
}


@frozen
class ClientIdentity:
    """Certificate chain and key that we show to servers which ask for them, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@frozen
class TlsFacts:
    """What was agreed; `problem` is why the certificate does not prove the peer's name, None when it does."""

    cipher: str
    protocol_version: str
    subject_name: tuple[str, ...]
    problem: str | None

    @property
    def is_verified(self) -> bool:
        """Whether the peer proved to be the host we wanted."""
        return self.problem is None


@implementer(IOpenSSLClientConnectionCreator)
class TlsAttempt:
    """One handshake: give it to `transport.startTLS`, ask it afterwards."""

    def __init__(self, context: SSL.Context, host: str, is_verifying: bool) -> None:
        self._context = context
        self._host = host.rstrip(".")
        self._is_address = _is_address(self._host)
        self._is_verifying = is_verifying
        self._connection: SSL.Connection | None = None
        #: What OpenSSL or the name check found wrong with the certificate.
        self.problem: str | None = None

    def clientConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Called by Twisted when TLS starts."""
        connection = SSL.Connection(self._context, None)
        connection.set_verify(SSL.VERIFY_PEER, self._on_certificate)
        if not self._is_address:
            connection.set_tlsext_host_name(self._host.encode("ascii", "ignore"))
        self._connection = connection
        return connection

    def finish(self) -> TlsFacts | None:
        """After the handshake: the facts, or None when the certificate is refused for its name."""
        connection = self._connection
        if connection is None:
            return None
        if self.problem is None:
            self.problem = self._name_problem(connection)
        if self.problem is not None and self._is_verifying:
            return None
        return TlsFacts(
            connection.get_cipher_name() or "",
            connection.get_protocol_version_name(),
            _subject(connection),
            self.problem,
        )

    @property
    def protocol(self) -> str:
        """What was chosen of the protocols that we offered (ALPN, RFC 7301); empty for none."""
        return (
            "" if self._connection is None else self._connection.get_alpn_proto_negotiated().decode("ascii", "replace")
        )

    def _on_certificate(self, _connection: SSL.Connection, _cert: X509, error: int, _depth: int, is_good: int) -> bool:
        """OpenSSL's word on one certificate of the chain; whether to go on."""
        if not is_good and self.problem is None:
            self.problem = _VERIFY_TEXTS.get(error, f"verification error {error}")
        return bool(is_good) or not self._is_verifying

    def _name_problem(self, connection: SSL.Connection) -> str | None:
        try:
            if self._is_address:
                verify_ip_address(connection, self._host)
            else:
                verify_hostname(connection, self._host)
        except VerificationError:
            return f"certificate is not for {self._host}"
        except (CertificateError, ValueError) as error:
            return f"certificate cannot be read: {error}"
        return None


class ClientTls:
    """Makes handshakes; its contexts are built once and shared."""

    def __init__(self, extra_roots: Sequence[bytes] = ()) -> None:
        """`extra_roots` are PEM certificates trusted besides the platform's."""
        self._extra_roots = tuple(extra_roots)
        self._contexts: dict[tuple[bytes, tuple[bytes, ...]], SSL.Context] = {}

    def attempt(
        self,
        host: str,
        is_verifying: bool,
        identity: ClientIdentity | None = None,
        protocols: tuple[bytes, ...] = (),
    ) -> TlsAttempt:
        """A handshake with `host`, a name or an IP address, that offers `protocols` by ALPN.

        Raises ConfigError for a bad identity.
        """
        return TlsAttempt(self._context(identity, protocols), host, is_verifying)

    def _context(self, identity: ClientIdentity | None, protocols: tuple[bytes, ...]) -> SSL.Context:
        name = b"" if identity is None else hashlib.sha256(identity.certificate + identity.key).digest()
        context = self._contexts.get((name, protocols))
        if context is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            context = self._contexts[name, protocols] = self._make_context(identity)
            if protocols:
                context.set_alpn_protos(list(protocols))
        return context

    def _make_context(self, identity: ClientIdentity | None) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        # RFC 8996: nothing below TLS 1.2.
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_default_verify_paths()
        store = context.get_cert_store()
        for root in self._extra_roots:
            for certificate in x509.load_pem_x509_certificates(root):
                if store is not None:
                    store.add_cert(X509.from_cryptography(certificate))
        if identity is not None:
            _use_identity(context, identity)
        return context


def _use_identity(context: SSL.Context, identity: ClientIdentity) -> None:
    try:
        first, *chain = x509.load_pem_x509_certificates(identity.certificate)
        key = load_pem_private_key(identity.key, None)
        context.use_certificate(first)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)  # type: ignore[arg-type]  # pyOpenSSL names fewer key types than PEM can hold
        context.check_privatekey()
    except (ValueError, TypeError, SSL.Error):
        raise ConfigError("tls_certificate and tls_private_key are not a PEM certificate and its key") from None


def _subject(connection: SSL.Connection) -> tuple[str, ...]:
    certificate = connection.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return ()
    return tuple(f"{one.rfc4514_attribute_name}={_text(one.value)}" for one in certificate.subject)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
