"""The SMTP channel as the registry knows it.

Public: `EsmtpKind`, `EsmtpChannel`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.stats import Sample
from kumotwist.egress.esmtp.brokentls import BrokenTls
from kumotwist.egress.esmtp.connect import Opener
from kumotwist.egress.esmtp.session import EsmtpSession
from kumotwist.egress.services import Services
from kumotwist.net import mx


class EsmtpChannel:
    """Implements `core.interfaces.Channel` for one `SmtpProtocol`."""

    protocol_name: str = "smtp_client"
    delivers_at_once: bool = False

    def __init__(self, kind: EsmtpKind, protocol: SmtpProtocol) -> None:
        self._kind = kind
        self._protocol = protocol

    async def site_name(self, domain: str) -> str:
        """The site of the domain's mail exchangers, or of the hosts that policy lists."""
        if self._protocol.mx_list:
            return mx.listed_site(self._protocol.mx_list)
        return (await mx.exchangers(self._kind.services.resolver, domain)).site

    def open(self, request: OpenRequest) -> EsmtpSession:
        """A session that is not yet connected."""
        kind = self._kind
        opener = Opener(kind.services, request, kind.broken_tls, str(uuid.uuid4()))
        return EsmtpSession(opener, self._protocol, request)


class EsmtpKind:
    """Makes SMTP channels; what they share is here."""

    options = SmtpProtocol

    def __init__(self, services: Services) -> None:
        self.services = services
        self.broken_tls = BrokenTls(services.clock)

    def make(self, protocol: SmtpProtocol) -> EsmtpChannel:
        """The channel for one way of finding hosts."""
        return EsmtpChannel(self, protocol)

    def samples(self) -> Sequence[Sample]:
        """No numbers: the queue counts connections and messages."""
        return ()
