"""Where HTTP connections go, whom they trust, and from when on something may have been sent over them.

twisted.web asks for an endpoint at each request; these are kept, because a
new one for https costs a TLS context, which is milliseconds of reading trust
roots.

Public: `Endpoints`, `Lender`. What can go wrong: a certificate that does not verify fails
the handshake, and with it the attempt to connect.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, cast

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.client import URI, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from kumotwist.net.publicaddress import PublicEndpoint
from kumotwist.net.securedendpoint import SecuredEndpoint

#: Endpoints kept; a policy that speaks to more hosts than this only pays for new contexts.
CAPACITY: Final = 256
#: Seconds for one TCP connection to come about; the request's time-out bounds the whole.
CONNECT_TIMEOUT: Final = 30.0


@implementer(IAgentEndpointFactory)
@define(eq=False)
class Endpoints:
    """Endpoints by scheme, host and port, shared by all clients with the same trust.

    `trust_root` is an authority, None for the platform's. With `verify` off any certificate
    is taken. Without `allow_private` only public addresses are connected to.
    """

    reactor: Any  # what HostnameEndpoint asks for: time, TCP and name resolution
    verify: bool = True
    trust_root: Certificate | None = None
    allow_private: bool = True
    _kept: OrderedDict[tuple[bytes, bytes, int], IStreamClientEndpoint] = field(factory=OrderedDict, init=False)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint to connect to for `uri`, which is http or https."""
        key = (uri.scheme, uri.host, uri.port)
        endpoint = self._kept.get(key)
        if endpoint is None:
            endpoint = self._kept[key] = self._make(uri)
            if len(self._kept) > CAPACITY:
                self._kept.popitem(last=False)
        return endpoint

    def _make(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        make = HostnameEndpoint if self.allow_private else PublicEndpoint
        plain = cast("IStreamClientEndpoint", make(self.reactor, host, uri.port, timeout=CONNECT_TIMEOUT))
        if uri.scheme != b"https":
            return plain
        creator = optionsForClientTLS(host, self.trust_root) if self.verify else _AnyCertificate(host)
        secured = SecuredEndpoint(cast("IOpenSSLClientConnectionCreator", creator), plain)
        return cast("IStreamClientEndpoint", secured)


@define(eq=False)
class Lender:
    """A pool as one request sees it. Until it has lent a connection, nothing of the request can have left us."""

    _pool: HTTPConnectionPool
    has_lent: bool = field(default=False, init=False)

    @property
    def persistent(self) -> bool:
        """As the pool has it."""
        return bool(self._pool.persistent)

    def getConnection(self, key: object, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """A connection that is kept, or a new one."""
        found: Deferred[Any] = self._pool.getConnection(key, endpoint)
        return found.addCallback(self._note)

    def _note(self, connection: object) -> object:
        self.has_lent = True
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _AnyCertificate:
    """TLS that hides the words and proves nothing about the peer."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(protocol)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection
