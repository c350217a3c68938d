"""Checking a policy without running the daemon: no port is opened, no file is made.

The policy is read, its `pre_init`, `init` and `validate_config` run with
`_VALIDATING_CONFIG` set, and the events that give configuration are asked for
sample domains. Public: `validate`, `Report`. Nothing is raised for what is
wrong with the policy: the report says it, with file and line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from copy import copy
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from attrs import define, field
from twisted.internet import defer
from twisted.internet.defer import Deferred

from kumotwist.config.catalog import CATALOG
from kumotwist.config.egress import PathConfig, PoolConfig
from kumotwist.config.listener import HttpListenerConfig, SmtpListenerConfig, host_and_port
from kumotwist.config.option import DOC_KEY, Doc
from kumotwist.config.queue import CustomLuaProtocol, Protocol, QueueConfig
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import ConfigError, PolicyError, Rejection
from kumotwist.core.queuename import QueueName, parse
from kumotwist.egress.api.options import CallOptions
from kumotwist.lua.events import suggest
from kumotwist.lua.keyfiles import missing_files
from kumotwist.lua.missing import missing_names
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.lua.unsetvariables import unset_variables
from kumotwist.lua.validatetls import TlsFiles

T = TypeVar("T")

#: What a policy calls to make the options objects.
_MAKERS: Final = {cls: name for name, cls in CATALOG.items()}
#: Asked for when the policy is checked; big providers, since policies treat these differently.
SAMPLE_DOMAINS: Final = ("example.com", "gmail.com", "yahoo.com", "outlook.com", "example.org!relay.example.net")
#: Queues of addresses that are no mailboxes, as the send API names them. A policy need not know them.
SAMPLE_KINDS: Final = (
    "sms",
    "push!fcm",
    "push!apns",
    "webpush",
    "chat!slack",
    "chat!teams",
    "chat!discord",
    "chat!telegram",
)
#: Where handlers of get_queue_config stand that answer for every queue, and those that this one leaves theirs.
_QUEUE_HELPER: Final = "policy-extras/queue.lua:"
_LOG_HOOKS: Final = "policy-extras/log_hooks.lua:"
#: Seconds that one handler may take; it may look up names or secrets.
HANDLER_TIMEOUT: Final = 20.0


@define
class Report:
    """What was found. The policy may be used when there are no `errors`; `notes` may well be meant."""

    errors: list[str] = field(factory=list)
    warnings: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)

    @property
    def is_valid(self) -> bool:
        """Whether the policy may be used."""
        return not self.errors

    def error(self, text: str) -> None:
        """Note an error once."""
        if text not in self.errors:
            self.errors.append(text)

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)


async def validate(path: Path, services: PolicyServices) -> Report:
    """Check the policy at `path`."""
    report = Report()
    check = _Check(report, services)
    policy = await check.attempt(lambda: Policy.load(path, services, is_validating=True))
    if policy is not None:
        await check.policy(policy)
    for text in missing_names(path):
        report.warn(text)
    unset = unset_variables(path, os.environ.get)
    if unset is not None:
        report.notes.append(unset)
    return report


class _Check:
    """One run of the checks."""

    def __init__(self, report: Report, services: PolicyServices) -> None:
        self._report = report
        self._constructors: set[str] = set()
        self._clock: Any = services.clock
        self._tls_files: TlsFiles
        #: Whether kumo.reject is a right answer.
        self._may_refuse = False

    async def attempt(self, make: Callable[[], Coroutine[Deferred[Any], Any, T]], what: str = "") -> T | None:
        """The result; None, and an error in the report, when it fails."""
        prefix = f"{what}: " if what else ""
        try:
            return await Deferred.fromCoroutine(make()).addTimeout(HANDLER_TIMEOUT, self._clock)
        except defer.TimeoutError:
            self._report.error(f"{prefix}takes longer than {HANDLER_TIMEOUT:g} s")
        except Rejection as rejection:
            if not self._may_refuse:
                self._report.error(f"{prefix}is rejected with {rejection}")
        except (PolicyError, ConfigError) as error:
            self._report.error(f"{prefix}{error}")
        return None

    async def policy(self, policy: Policy) -> None:
        """All checks of a policy that could be read."""
        await self.attempt(policy.pre_init)
        await self.attempt(policy.init)
        if policy.handles("validate_config"):
            await self.attempt(lambda: policy.notify("validate_config"))
        if policy.declarations.validation_failed:
            self._report.error("the policy called kumo.validation_failed()")
        self._declarations(policy)
        self._tls_files = TlsFiles(os.environ.get, policy.run_key_event, self._clock.seconds())
        declared = policy.declarations
        listeners: list[SmtpListenerConfig | HttpListenerConfig] = [*declared.esmtp_listeners, *declared.http_listeners]
        for listener in listeners:
            whose = f"{policy.program.source_of('init')}: {_MAKERS[type(listener)]} on {listener.listen}"
            await self._tls(whose, listener)
        for domain in SAMPLE_DOMAINS:
            await self._domain(policy, parse(domain))
        # A handler that fails or hangs has been told; to ask it more takes long and helps nobody.
        if self._report.is_valid:
            await self._kinds(policy)
        self._order(policy)
        self._events(policy)

    def _declarations(self, policy: Policy) -> None:
        declared = policy.declarations
        # A policy whose `init` fails did not come to its listeners.
        if not self._report.errors and not declared.esmtp_listeners and not declared.http_listeners:
            self._report.warn("the policy starts no listener: nothing can come in")
        self._addresses((*declared.esmtp_listeners, *declared.http_listeners))
        options = (*declared.spools.values(), *declared.esmtp_listeners, *declared.http_listeners, *declared.local_logs)
        for one in (*options, *declared.log_hooks):
            self._without_effect(one)
        for listener in (*declared.esmtp_listeners, *declared.http_listeners):
            self._key_files(_MAKERS[type(listener)], listener)
        for receiver in declared.smpp_receivers:
            self._key_files("kumo.start_smpp_receiver", receiver)
        for task in declared.tasks:
            if not policy.handles(task.event_name):
                self._report.error(f"kumo.spawn_task names the event '{task.event_name}', which has no handler")

    def _addresses(self, listeners: Iterable[SmtpListenerConfig | HttpListenerConfig]) -> None:
        taken: set[tuple[str, int]] = set()
        for listener in listeners:
            address = host_and_port(listener.listen)
            if address in taken:
                self._report.error(f"two listeners are to listen on {listener.listen}")
            if address[1]:
                taken.add(address)

    async def _tls(self, whose: str, options: SmtpListenerConfig | HttpListenerConfig | PathConfig) -> None:
        found = await self.attempt(lambda: self._tls_files.find(options), whose)
        for text in found.errors if found is not None else ():
            self._report.error(f"{whose}: {text}")
        for text in found.warnings if found is not None else ():
            self._report.warn(f"{whose}: {text}")

    def _without_effect(self, options: object) -> None:
        for name, reason in without_effect(options):
            self._report.warn(f"{_MAKERS[type(options)]}: option '{name}' has no effect: {reason}")

    def _key_files(self, whose: str, options: object) -> None:
        for name, problem in missing_files(options):
            self._report.warn(f"{whose}: option '{name}' {problem}")

    async def _kinds(self, policy: Policy) -> None:
        """Checks queues that are no mail's: those that the send API makes, and log hooks' by their usual name.

        A policy need not know them, and says so with kumo.reject; that a handler fails is told of the send API's.
        """
        hooks = [f"{hook.name}.log_hook" for hook in policy.declarations.log_hooks]
        failures: dict[str, list[str]] = {}
        began = self._clock.seconds()
        for name in (*SAMPLE_KINDS, *hooks):
            if self._clock.seconds() - began >= HANDLER_TIMEOUT:
                break
            for text in await self._kind(policy, parse(name)):
                failures.setdefault(text, []).append(name)
        for text, names in failures.items():
            made = [name for name in names if name in SAMPLE_KINDS]
            if made and policy.declarations.http_listeners:
                self._report.warn(f"queues of the send API ({', '.join(made)}): {text}")

    async def _kind(self, policy: Policy, name: QueueName) -> list[str]:
        """Checks what is given for one of these queues; the failures of handlers."""
        aside = copy(self)
        aside._report, aside._may_refuse = Report(), True
        config = await aside.attempt(lambda: policy.queue_config(name))
        if config is None:
            return aside._report.errors
        self._queue_options(policy, config, name.text)
        table_name = config.route_table
        if table_name is not None:
            what = f"route table '{table_name}'"
            table = await aside.attempt(lambda: policy.route_table(table_name), what)
            if table is not None:
                self._table_options(policy, table, what)
        return aside._report.errors

    def _queue_options(self, policy: Policy, config: QueueConfig, whose: str) -> None:
        where = f"{policy.program.source_of('get_queue_config')}: get_queue_config"
        self._key_files(where, config)
        self._addressee(where, "protocol", config.protocol)
        self._constructor(policy, "get_queue_config", config.protocol, whose)

    def _table_options(self, policy: Policy, table: RouteTableConfig, what: str) -> None:
        where = f"{policy.program.source_of('get_route_table')}: {what}"
        self._key_files(where, table)
        for number, route in enumerate(table.routes, 1):
            self._addressee(where, f"routes.{number}.protocol", route.protocol)
            self._constructor(policy, "get_route_table", route.protocol, f"route '{route.name}' of '{table.name}'")

    def _addressee(self, where: str, path: str, protocol: Protocol) -> None:
        """Finds an address that nobody will ever be called at, whatever else is right."""
        misled = protocol.misled() if isinstance(protocol, CallOptions) else None
        if misled is not None:
            self._report.error(f"{where}: option '{path}.{protocol.channel}.{misled[0]}' {misled[1]}")

    async def _domain(self, policy: Policy, name: QueueName) -> None:
        """Checks what a message to this queue would meet."""
        await self.attempt(lambda: policy.get_listener_domain(name.domain, "127.0.0.1:25", ConnectionMeta()))
        config = await self.attempt(lambda: policy.queue_config(name))
        if config is None:
            await self._pool(policy, name, None)
            return
        self._without_effect(config)
        self._queue_options(policy, config, name.domain)
        await self._pool(policy, name, config.egress_pool)
        if config.route_table is not None:
            await self._table(policy, name, config.route_table)

    async def _table(self, policy: Policy, name: QueueName, table_name: str) -> None:
        """Checks every way that a table has, and those of the stages of its fallback."""
        table = await self._ways(policy, name, table_name)
        for stage in table.fallback if table is not None else ():
            await self._ways(policy, name, stage.route_table, f", a stage of the fallback of '{table_name}'")

    async def _ways(
        self, policy: Policy, name: QueueName, table_name: str, whence: str = ""
    ) -> RouteTableConfig | None:
        what = f"route table '{table_name}'{whence}"
        table = await self.attempt(lambda: policy.route_table(table_name), what)
        if table is not None:
            self._table_options(policy, table, what)
        for route in table.routes if table is not None else ():
            if route.egress_pool is not None:
                await self._pool(policy, name, route.egress_pool)
        return table

    def _constructor(self, policy: Policy, event: str, protocol: Protocol, whose: str) -> None:
        if not isinstance(protocol, CustomLuaProtocol):
            return
        self._constructors.add(protocol.constructor)
        if not policy.handles(protocol.constructor):
            self._report.error(
                f"{policy.program.source_of(event)}: {event} names the constructor '{protocol.constructor}' for "
                f"{whose}, which has no handler"
            )

    async def _pool(self, policy: Policy, name: QueueName, pool_name: str | None) -> None:
        pool: PoolConfig | None = None
        if pool_name is not None:
            pool = await self.attempt(lambda: policy.egress_pool(pool_name), f"egress pool '{pool_name}'")
        sources = [entry.name for entry in pool.entries] if pool is not None else ["unspecified"]
        for source in sources:
            await self._source(policy, name.delivery_domain, source)

    async def _source(self, policy: Policy, domain: str, source: str) -> None:
        await self.attempt(lambda: policy.egress_source(source), f"egress source '{source}'")
        path = await self.attempt(lambda: policy.egress_path(domain, source, domain))
        if path is not None:
            self._without_effect(path)
            event = "get_egress_path_config"
            await self._tls(f"{policy.program.source_of(event)}: {event} for {domain}", path)
            self._key_files(f"{policy.program.source_of('get_egress_path_config')}: get_egress_path_config", path)

    def _order(self, policy: Policy) -> None:
        """Finds handlers that the queue helper leaves nothing to: the first that answers is the last that is asked."""
        sources = policy.program.sources.get("get_queue_config", ())
        helper = next((index for index, source in enumerate(sources) if _QUEUE_HELPER in source), len(sources))
        for source in sources[helper + 1 :]:
            if _LOG_HOOKS not in source:
                self._report.warn(
                    f"{source}: get_queue_config comes after policy-extras.queue, which answers for all queues that "
                    "its files cover: set the helper up last"
                )

    def _events(self, policy: Policy) -> None:
        used = set(self._constructors)
        used |= {task.event_name for task in policy.declarations.tasks}
        used |= {log.filter_event for log in policy.declarations.local_logs if log.filter_event is not None}
        for name, sources in policy.program.sources.items():
            warning = suggest(name, used)
            if warning is not None:
                self._report.warn(f"{sources[0]}: {warning}")


def without_effect(options: Any) -> Iterable[tuple[str, str]]:
    """The options of KumoMTA that were set to something but change nothing here, and why."""
    for one in attrs.fields(type(options)):
        doc = one.metadata.get(DOC_KEY)
        make = getattr(one.default, "factory", None)
        default = make() if make else one.default
        if isinstance(doc, Doc) and doc.no_effect and getattr(options, one.name) not in (default, *doc.harmless):
            yield one.name, doc.no_effect
