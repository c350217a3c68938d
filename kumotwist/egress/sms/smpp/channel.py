"""The SMPP channel as the registry knows it.

Public: `SmppKind`, `SmppChannel`, `error_table`.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable, Iterable
from itertools import count
from typing import Final

from kumotwist.config.egress import UNSPECIFIED, SourceConfig
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.stats import Sample
from kumotwist.egress.services import Services
from kumotwist.egress.sms.smpp.account import Account
from kumotwist.egress.sms.smpp.classify import error_table, vendor_table
from kumotwist.egress.sms.smpp.inbox import Inbox
from kumotwist.egress.sms.smpp.opener import Opener
from kumotwist.egress.sms.smpp.options import SmppProtocol
from kumotwist.egress.sms.smpp.outcomes import Judge
from kumotwist.egress.sms.smpp.plan import Planner
from kumotwist.egress.sms.smpp.session import SmppSession, batch_size
from kumotwist.net.tasks import Tasks

__all__ = ["SmppChannel", "SmppKind", "error_table"]

#: Options that a bind depends on; queues that agree in them share it.
BIND_OPTIONS: Final = (
    "host", "port", "fallback_hosts", "tls", "system_id", "password", "system_type", "account", "bind",
    "address_range", "window", "max_submit_rate", "bind_timeout", "response_timeout", "enquire_link_interval",
    "receive_for", "throttle_patience", "max_rest", "default_alphabet", "id_format", "rest", "status",
)  # fmt: skip


class SmppChannel:
    """Implements `core.interfaces.Channel` for one set of options."""

    protocol_name: str = "smpp"
    delivers_at_once: bool = False

    def __init__(self, kind: SmppKind, options: SmppProtocol) -> None:
        self._kind = kind
        self._options = options
        # Not the same after each start: a handset may still wait for parts of then.
        references = count(secrets.randbelow(0x10000))
        self._planner = Planner(options, lambda: next(references))
        self._judge = Judge(vendor_table(options.status), options.on_unknown, options.rest)

    async def site_name(self, domain: str) -> str:  # noqa: ARG002
        """The SMSC and who we are there: its limits hold for all recipients together."""
        return f"{self._options.system_id}@{self._options.host}:{self._options.port}"

    def open(self, request: OpenRequest) -> SmppSession:
        """A session that is not yet connected."""
        kind, options = self._kind, self._options
        return SmppSession(
            lambda: kind.account(options, request.source),
            batch_size(options),
            self._planner,
            self._judge,
            kind.services.clock,
        )


class SmppKind:
    """Makes SMPP channels; the accounts and their binds are here."""

    options = SmppProtocol

    def __init__(self, services: Services) -> None:
        self.services = services
        self._tasks = Tasks()
        self._accounts: dict[tuple[Hashable, ...], Account] = {}

    def make(self, protocol: SmppProtocol) -> SmppChannel:
        """The channel for one set of options. Raises ConfigError."""
        return SmppChannel(self, protocol)

    def receive(self, protocol: SmppProtocol) -> None:
        """Be bound from now on, whether there is anything to send or not. Raises ConfigError."""
        if protocol.bind == "Transmitter":
            raise ConfigError("kumo.start_smpp_receiver: with option 'bind' Transmitter nothing is received")
        self.account(protocol, SourceConfig(name=UNSPECIFIED)).pin()

    def account(self, options: SmppProtocol, source: SourceConfig) -> Account:
        """The account that these options and this source go through."""
        where = (source.name, source.source_address)
        key = (where, *(getattr(options, name) for name in BIND_OPTIONS))
        account = self._accounts.get(key)
        if account is None:
            account = self._make(options, source, key)
            self._replace_others(account, where)
            self._accounts[key] = account
        account.is_retired = False
        return account

    def samples(self) -> Iterable[Sample]:
        """Binds and what is out on them."""
        for account in self._accounts.values():
            labels = (("account", account.name),)
            yield Sample("smpp_bound", float(account.link is not None), labels)
            yield Sample("smpp_outstanding", float(account.outstanding), labels)

    async def close(self) -> None:
        """Say goodbye on all binds."""
        accounts = list(self._accounts.values())
        self._accounts.clear()
        for account in accounts:
            await account.close()
        await self._tasks.close()

    def _make(self, options: SmppProtocol, source: SourceConfig, key: tuple[Hashable, ...]) -> Account:
        services = self.services
        name = options.account or options.system_id
        inbox = Inbox(options, name, services.receipts, services.sms, services.clock)

        def forget(account: Account) -> None:
            self._accounts.pop(key, None)
            self._tasks.spawn(f"unbinding {name}", account.close())

        return Account(Opener(services, options, source, name), inbox, self._tasks, forget)

    def _replace_others(self, account: Account, where: Hashable) -> None:
        """The policy has changed: binds by the old options go as soon as they can, for providers count them."""
        options = account.options
        for key, other in list(self._accounts.items()):
            given = other.options
            is_same = (given.host, given.port, given.system_id) == (options.host, options.port, options.system_id)
            if is_same and key[0] == where and given.bind == options.bind:
                if other.is_pinned:
                    account.pin()
                other.retire()
