"""Opens one SMTP connection to one candidate: TCP, banner, EHLO, STARTTLS, AUTH.

Public: `Link`, `Opener`. A candidate that cannot be used raises `HostFailed`
with its part of the summary that the message's response will show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError

from kumotwist.config.egress import PathConfig
from kumotwist.core.errors import ConfigError, LocalProtocolError, SecretUnavailable
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.outcome import Peer
from kumotwist.egress import sources
from kumotwist.egress.esmtp.brokentls import BrokenTls
from kumotwist.egress.esmtp.plan import port_of
from kumotwist.egress.esmtp.tlsmode import Course, course, falls_back
from kumotwist.egress.esmtp.trouble import HostFailed, WireTrouble
from kumotwist.egress.esmtp.wire import FAREWELL, SmtpWire
from kumotwist.egress.services import Services
from kumotwist.net.ending import why_ended
from kumotwist.net.mx import Candidate
from kumotwist.net.tls_client import ClientIdentity, TlsFacts
from kumotwist.proto.smtp import client_commands
from kumotwist.proto.smtp.client_commands import Command
from kumotwist.proto.smtp.client_replies import Reply


@frozen
class Link:
    """A connection that is ready for mail. `addr` is `name/ip:port` for texts."""

    wire: SmtpWire
    candidate: Candidate
    addr: str
    peer: Peer


@frozen
class Opener:
    """Opens the connections of one session."""

    services: Services
    request: OpenRequest
    broken_tls: BrokenTls
    session_id: str

    async def open(self, candidate: Candidate) -> Link:
        """A link to `candidate`. Raises HostFailed; cancelling closes what was opened."""
        path = self.request.path
        try:
            return await self._attempt(candidate, is_clear=False)
        except HostFailed as failure:
            if not (failure.is_tls and falls_back(path)):
                raise
            first = failure
        # KumoMTA goes on in clear text on the same connection, in whatever state the handshake left it.
        try:
            return await self._attempt(candidate, is_clear=True)
        except HostFailed as failure:
            raise HostFailed(f"{first}; then in clear text: {failure}", is_tls=True) from None

    async def _attempt(self, candidate: Candidate, is_clear: bool) -> Link:
        addr = candidate.at(port_of(candidate, self.request))
        wire, proxied = await self._connect(candidate, addr)
        try:
            facts = await self._greet(wire, candidate, addr, is_clear)
            await self._authenticate(wire, addr, facts)
        except (HostFailed, CancelledError):
            wire.abort()
            raise
        return Link(wire, candidate, addr, self._peer(wire, candidate, facts, proxied))

    async def _connect(self, candidate: Candidate, addr: str) -> tuple[SmtpWire, str | None]:
        """The wire, and the `ip:port` that a proxy in front of it connects from."""
        request = self.request
        wire = SmtpWire(self.services.clock, timeouts_of(request.path))
        context = f"connect to {addr} and read initial banner"
        try:
            proxied = await sources.connect(
                self.services.reactor,
                wire,
                candidate.address,
                port_of(candidate, request),
                request.source,
                request.path.connect_timeout,
                self.services.keys,
            )
        except CancelledError:
            raise
        except Exception as error:  # Twisted's connect errors share no useful base
            raise HostFailed(f"{context}: {why_ended(error)}") from None
        await self._say(wire, client_commands.banner(), 220, context)
        return wire, proxied

    # -- EHLO and TLS ----------------------------------------------------------------------------

    async def _greet(self, wire: SmtpWire, candidate: Candidate, addr: str, is_clear: bool) -> TlsFacts | None:
        path, site = self.request.path, self.request.site
        await self._hello(wire, f"{addr}: EHLO after banner")
        is_offered = wire.capabilities.has_starttls
        chosen = Course.CLEAR if is_clear else course(path.enable_tls, is_offered, self.broken_tls.has(site, path))
        if chosen is Course.REFUSE:
            raise HostFailed(f"tls policy is {path.enable_tls} but STARTTLS is not advertised by {addr}")
        if chosen is Course.CLEAR:
            return None
        try:
            return await self._start_tls(wire, candidate, addr, chosen is Course.VERIFIED)
        except HostFailed as failure:
            if failure.is_tls:
                self.broken_tls.remember(site, path)
            raise

    async def _start_tls(self, wire: SmtpWire, candidate: Candidate, addr: str, verifies: bool) -> TlsFacts | None:
        path = self.request.path
        command = client_commands.starttls()
        reply = await self._ask(wire, command, f"{addr}: STARTTLS")
        if reply.code != 220:
            if path.enable_tls == "OpportunisticInsecure" and wire.is_usable:
                return None
            _rejected(f"{addr}: STARTTLS", reply)
        identity = await self._identity()
        is_insecure = path.enable_tls == "OpportunisticInsecure"
        try:
            attempt = self.services.tls.attempt(candidate.name, verifies, identity)
        except ConfigError as error:
            raise HostFailed(str(error)) from None
        try:
            facts = await wire.start_tls(attempt)
        except WireTrouble as trouble:
            if is_insecure:
                text = f"{addr}: EHLO after OpportunisticInsecure STARTTLS handshake status: failed: {trouble}"
            else:
                text = f"TLS handshake with {addr} failed: {trouble}"
            raise HostFailed(text, is_tls=True) from None
        after = "OpportunisticInsecure STARTTLS handshake status: OK" if is_insecure else "STARTTLS"
        try:
            await self._hello(wire, f"{addr}: EHLO after {after}")
        except HostFailed as failure:
            raise HostFailed(str(failure), is_tls=True) from None
        return facts

    async def _identity(self) -> ClientIdentity | None:
        path, keys = self.request.path, self.services.keys
        if path.tls_certificate is None or path.tls_private_key is None:
            return None
        try:
            return ClientIdentity(await keys.load(path.tls_certificate), await keys.load(path.tls_private_key))
        except SecretUnavailable as problem:
            raise HostFailed(f"fetching tls_certificate and tls_private_key: {problem}") from None

    # -- AUTH ------------------------------------------------------------------------------------

    async def _authenticate(self, wire: SmtpWire, addr: str, facts: TlsFacts | None) -> None:
        path = self.request.path
        user = path.smtp_auth_plain_username
        if user is None:
            return
        if facts is None and not path.allow_smtp_auth_plain_without_tls:
            raise HostFailed(f"TLS is not enabled and AUTH PLAIN is required. Skipping ({addr})")
        if facts is not None and not facts.is_verified and not path.allow_smtp_auth_plain_without_valid_certificate:
            raise HostFailed(f"AUTH PLAIN is required and the certificate does not verify. Skipping ({addr})")
        password = b""
        if path.smtp_auth_plain_password is not None:
            try:
                # A key file that was made with an editor ends in a line break, which no password does.
                password = (await self.services.keys.load(path.smtp_auth_plain_password)).rstrip(b"\r\n")
            except SecretUnavailable as problem:
                raise HostFailed(f"fetching smtp_auth_plain_password: {problem}") from None
        context = f"authenticating as {user} via SMTP AUTH PLAIN to {addr}"
        await self._say(wire, client_commands.auth_plain(user, password), 235, context)

    # -- one command -----------------------------------------------------------------------------

    async def _hello(self, wire: SmtpWire, context: str) -> None:
        path, request = self.request.path, self.request
        name = path.ehlo_domain or request.source.ehlo_domain or self.services.hostname
        try:
            command = client_commands.hello(name, path.use_lmtp)
        except LocalProtocolError as error:
            raise HostFailed(f"ehlo_domain {name!r}: {error}") from None
        await self._say(wire, command, 250, context)

    async def _say(self, wire: SmtpWire, command: Command, wanted: int, context: str) -> None:
        reply = await self._ask(wire, command, context)
        if reply.code != wanted:
            wire.abort()
            _rejected(context, reply)

    async def _ask(self, wire: SmtpWire, command: Command, context: str) -> Reply:
        try:
            await wire.run(command)
        except CancelledError:
            wire.abort()
            raise
        except WireTrouble as trouble:
            raise HostFailed(f"{context}: {trouble}") from None
        assert command.reply is not None
        return command.reply

    def _peer(self, wire: SmtpWire, candidate: Candidate, facts: TlsFacts | None, proxied: str | None) -> Peer:
        return Peer(
            candidate.name,
            candidate.address,
            "LMTP" if self.request.path.use_lmtp else "ESMTP",
            proxied or _local_address(wire),
            facts.cipher if facts else None,
            facts.protocol_version if facts else None,
            facts.subject_name if facts else None,
            self.session_id,
            proxy=self.request.source.socks5_proxy_server if proxied is not None else None,
        )


def timeouts_of(path: PathConfig) -> Sequence[float]:
    """Seconds by `Step`."""
    return (
        path.banner_timeout,
        path.ehlo_timeout,
        path.starttls_timeout,
        path.auth_timeout,
        path.rset_timeout,
        path.mail_from_timeout,
        path.rcpt_to_timeout,
        path.data_timeout,
        path.data_dot_timeout,
        FAREWELL,
    )


def _rejected(context: str, reply: Reply) -> NoReturn:
    raise HostFailed(f"{context}: Command rejected {reply.response(None).to_line()}")


def _local_address(wire: SmtpWire) -> str | None:
    host = wire.local_address
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    return f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else None
