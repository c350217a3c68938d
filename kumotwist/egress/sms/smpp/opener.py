"""Opens a bind: looks the SMSC up, connects from the source's address, does TLS, introduces us.

Public: `Opener`, `Bound`, `BindFailed`. A password that is refused is read once
more past every cache: it may have been changed a moment ago.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from kumotwist.config.egress import SourceConfig
from kumotwist.core.errors import ConfigError, LocalProtocolError, ResolveError, SecretUnavailable
from kumotwist.core.outcome import Peer
from kumotwist.egress import sources
from kumotwist.egress.services import Services
from kumotwist.egress.sms.smpp.classify import Fault, classify
from kumotwist.egress.sms.smpp.link import Link, LinkOwner, LinkTrouble
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.net.clock import DelayedCall
from kumotwist.net.ending import why_ended
from kumotwist.net.tls_client import TlsFacts
from kumotwist.proto.smpp.bind import BindMode, Credentials
from kumotwist.proto.smpp.commands import Status
from kumotwist.proto.smpp.session import Rules

#: Refusals of a bind that time mends: an earlier one of ours has not ended for the SMSC yet.
_PASSING: Final = (Status.ESME_RALYBND,)


class BindFailed(Exception):
    """There is no bind. `is_account`: our account is refused, not the connection."""

    def __init__(self, text: str, is_account: bool = False) -> None:
        super().__init__(text)
        self.is_account = is_account


@frozen
class Bound:
    """A link that is bound, and who is at its other end."""

    link: Link
    peer: Peer


@frozen
class Endpoint:
    """A place to connect to; `str()` is `host/address:port`, the address once."""

    host: str
    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.host == self.address else f"{host}/{self.address}:{self.port}"


@frozen(eq=False)
class Opener:
    """Opens the binds of one account from one source."""

    services: Services
    options: SmppProtocol
    source: SourceConfig
    account: str

    async def open(self, mode: BindMode, owner: LinkOwner) -> Bound:
        """Raises BindFailed; cancelling closes what was opened."""
        password = await self._password(is_fresh=False)
        try:
            return await self._anywhere(mode, owner, password)
        except BindFailed as failure:
            if not failure.is_account:
                raise
            changed = await self._password(is_fresh=True)
            if changed == password:
                raise
        return await self._anywhere(mode, owner, changed)

    async def _password(self, is_fresh: bool) -> str:
        """The password, white space around it cut: files end in a line break."""
        keys = self.services.keys
        try:
            octets = await (keys.refresh if is_fresh else keys.load)(self.options.password)
            return octets.decode("latin-1").strip()
        except SecretUnavailable as error:
            raise BindFailed(f"password: {error}", is_account=error.permanent) from None

    async def _anywhere(self, mode: BindMode, owner: LinkOwner, password: str) -> Bound:
        """At the first of the SMSC's hosts and addresses that lets us."""
        options = self.options
        failures: list[str] = []
        for host, port in (
            (options.host, options.port),
            *(_place(one, options.port) for one in options.fallback_hosts),
        ):
            try:
                addresses = await self._addresses(host)
            except ResolveError as error:
                failures.append(f"{host}: {error}")
                continue
            for address in addresses:
                try:
                    return await self._at(Endpoint(host, address, port), mode, owner, password)
                except BindFailed as failure:
                    if failure.is_account:
                        raise
                    failures.append(str(failure))
        raise BindFailed("; ".join(failures) or f"{options.host} has no address")

    async def _addresses(self, host: str) -> Sequence[str]:
        if sources.is_address(host):
            return (host,)
        found = list(await self.services.resolver.addresses(host))
        random.shuffle(found)
        return found

    async def _at(self, where: Endpoint, mode: BindMode, owner: LinkOwner, password: str) -> Bound:
        """Within `bind_timeout`, all steps together."""
        options = self.options
        rules = Rules(
            window=options.window,
            response_timeout=options.response_timeout,
            enquire_interval=options.enquire_link_interval,
        )
        link = Link(self.services.clock, rules, owner)
        work = Deferred.fromCoroutine(self._bind(link, where, mode, password))
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            work.cancel()

        timer: DelayedCall = self.services.clock.callLater(options.bind_timeout, give_up)
        try:
            facts = await work
        except CancelledError:
            link.abort()
            if not is_late:
                raise
            raise BindFailed(f"{where}: no bind in {options.bind_timeout:g} seconds") from None
        except LinkTrouble as trouble:
            link.abort()
            is_account = trouble.status not in _PASSING and _is_for_good(trouble.status)
            raise BindFailed(f"{where}: {trouble}", is_account) from None
        finally:
            if timer.active():
                timer.cancel()
        return Bound(link, self._peer(link, where, facts))

    async def _bind(self, link: Link, where: Endpoint, mode: BindMode, password: str) -> TlsFacts | None:
        """Raises LinkTrouble, BindFailed."""
        options, services = self.options, self.services
        try:
            await sources.connect(
                services.reactor, link, where.address, where.port, self.source, options.bind_timeout, services.keys
            )
        except CancelledError:
            raise
        except Exception as error:  # Twisted's connect errors share no useful base
            raise LinkTrouble(f"cannot connect: {why_ended(error, 'the SMSC')}") from None
        facts = None
        if options.tls != "Disabled":
            try:
                facts = await link.start_tls(services.tls.attempt(where.host, options.tls == "Required"))
            except LinkTrouble as trouble:
                raise LinkTrouble(f"TLS failed: {trouble}") from None
        try:
            await link.bind(mode, Credentials(options.system_id, password, options.system_type), options.address_range)
        except (ConfigError, LocalProtocolError) as problem:
            link.abort()
            raise BindFailed(str(problem), is_account=True) from None
        return facts

    def _peer(self, link: Link, where: Endpoint, facts: TlsFacts | None) -> Peer:
        return Peer(
            where.host,
            where.address,
            "SMPP",
            link.local_address,
            facts.cipher if facts else None,
            facts.protocol_version if facts else None,
            facts.subject_name if facts else None,
            channel="smpp",
            account=self.account,
        )


def _is_for_good(status: int | None) -> bool:
    return status is not None and classify(status, {}) in (Fault.ACCOUNT, Fault.PERMANENT)


def _place(written: str, port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[address]:port`."""
    host, colon, digits = written.rpartition(":")
    if colon and digits.isdecimal() and (":" not in host or host.endswith("]")):
        return host.strip("[]"), int(digits)
    return written.strip("[]"), port
