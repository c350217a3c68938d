"""Policy, and what it may call. It is made first, since it declares the rest.

Public: `PolicyMeans`, `make_means`, `Thought`, `load_policy`. What can go wrong: ConfigError and PolicyError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from kumotwist.config.records import AcctLogConfig
from kumotwist.core.interfaces import Injector, MessageStore
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.lua.redact import Redactor
from kumotwist.net.dns import CachingResolver, system_client
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.secrets.store import KeyStore
from kumotwist.service.assembly.ground import Ground
from kumotwist.service.witness import Witness


@frozen(eq=False)
class PolicyMeans:
    """What policy is given to work with; `acct_logs` are those that it has declared so far."""

    resolver: ConfigurableResolver
    keys: KeyStore
    libraries: Services
    witness: Witness
    redactor: Redactor
    acct_logs: list[AcctLogConfig]


@frozen(eq=False)
class Thought:
    """The policy, and those of its means that others use, too."""

    policy: Policy
    resolver: ConfigurableResolver
    keys: KeyStore


def make_means(ground: Ground, policy: Callable[[], Policy]) -> PolicyMeans:
    """All there is before there is a policy; `policy` is asked for when it has been loaded."""
    reactor, redactor = ground.reactor, Redactor()
    acct_logs: list[AcctLogConfig] = []
    resolver = ConfigurableResolver(CachingResolver(system_client(reactor), reactor))
    keys = KeyStore(reactor, ground.tasks, os.environ, lambda name, args: policy().run_key_event(name, args))
    libraries = Services(
        reactor=reactor,
        tasks=ground.tasks,
        keys=keys,
        limits=ground.limits,
        resolver=resolver,
        ids=ground.ids,
        epoch=lambda: policy().epoch,
        declare_acct_log=acct_logs.append,
        redactor=redactor,
    )
    return PolicyMeans(resolver, keys, libraries, Witness(), redactor, acct_logs)


async def load_policy(
    ground: Ground,
    means: PolicyMeans,
    store: MessageStore,
    injector: Callable[[], Injector],
    set_log_filter: Callable[[str], object],
) -> Thought:
    """The policy, of which nothing has run but its main chunk."""
    services = PolicyServices(
        store=store,
        injector=injector,
        ids=ground.ids,
        clock=ground.reactor,
        tasks=ground.tasks,
        libraries=standard_libraries(means.libraries),
        bump_epoch=ground.house.spread_epoch,
        set_log_filter=set_log_filter,
        witness=means.witness,
        redactor=means.redactor,
    )
    policy = await Policy.load(Path(ground.settings.policy), services)
    return Thought(policy, means.resolver, means.keys)
