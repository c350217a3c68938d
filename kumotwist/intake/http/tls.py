"""TLS around the HTTP listener.

The certificate may change while we run: each connection gets the context of
the moment, and one that is due for renewal is renewed in the background while
the last good one serves.

Public: `with_tls`. What can go wrong: `ConfigError` when there is no usable
certificate at the start; later the log says so.
"""

from __future__ import annotations

from typing import Final, cast

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.errors import ConfigError, SecretUnavailable
from kumotwist.net.httpserver import HttpSite
from kumotwist.net.tasks import Tasks
from kumotwist.net.tls import ContextSources, ServerContext, ServerTls

log: Final = Logger()


async def with_tls(
    site: HttpSite, config: HttpListenerConfig, tls: ServerTls, tasks: Tasks, hostname: str
) -> TLSMemoryBIOFactory:
    """`site` behind TLS as `config` says. Raises ConfigError."""
    sources = ContextSources(config.tls_certificate, config.tls_private_key, None, hostname)
    try:
        first = await tls.context(sources)
    except (SecretUnavailable, ConfigError) as error:
        raise ConfigError(f"the HTTP listener on {config.listen} has no certificate: {error}") from error
    context = _Renewing(tls, sources, tasks, first)
    # All are what is asked for, by zope.interface or by shape, which mypy does not see.
    return TLSMemoryBIOFactory(
        cast("IOpenSSLServerConnectionCreator", context),
        False,
        cast("IProtocolFactory", site),
        cast("IReactorTime", site.clock),
    )


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class _Renewing:
    """Asked by Twisted for each connection."""

    tls: ServerTls
    sources: ContextSources
    tasks: Tasks
    last: ServerContext
    _is_renewing: bool = field(default=False, init=False)

    def serverConnectionForTLS(self, _: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection in the context of the moment."""
        ready = self.tls.ready(self.sources)
        if ready is not None:
            self.last = ready
        elif not self._is_renewing:
            self._is_renewing = True
            self.tasks.spawn("renew the HTTP listener's certificate", self._renew())
        return SSL.Connection(self.last.getContext(), None)

    async def _renew(self) -> None:
        try:
            self.last = await self.tls.context(self.sources)
        except (SecretUnavailable, ConfigError) as error:
            log.error("the HTTP listener's certificate cannot be renewed: {error}", error=error)
        finally:
            self._is_renewing = False
