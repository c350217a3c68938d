"""All libraries of a policy but the core ones of `kumo` itself, put together in one place.

Public: `standard_libraries`, `Services`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen

from kumotwist.config.records import AcctLogConfig
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import KeyLoader, Limits
from kumotwist.lua.binding import Library
from kumotwist.lua.lib.aaa import AaaLibrary
from kumotwist.lua.lib.cidr import CidrLibrary
from kumotwist.lua.lib.digest import DigestLibrary
from kumotwist.lua.lib.dkim import DkimLibrary
from kumotwist.lua.lib.dns import DnsLibrary, resolver_maker
from kumotwist.lua.lib.domain_map import DomainMapLibrary
from kumotwist.lua.lib.encode import EncodeLibrary
from kumotwist.lua.lib.fs import FsAliases, FsLibrary
from kumotwist.lua.lib.http import HttpLibrary
from kumotwist.lua.lib.memocache import MemoCaches
from kumotwist.lua.lib.memoize import MemoizeLibrary
from kumotwist.lua.lib.regex import RegexLibrary
from kumotwist.lua.lib.regex_set_map import RegexSetMapLibrary
from kumotwist.lua.lib.secrets import SecretsLibrary
from kumotwist.lua.lib.serde import SerdeAliases, SerdeLibrary
from kumotwist.lua.lib.sqlite import SqliteLibrary
from kumotwist.lua.lib.string import StringLibrary
from kumotwist.lua.lib.throttle import ThrottleLibrary
from kumotwist.lua.lib.time import SleepAlias, TimeLibrary
from kumotwist.lua.lib.uuid import UuidLibrary
from kumotwist.lua.redact import Redactor
from kumotwist.net.blocking import BlockingThreads, ThreadReactor
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.tasks import Tasks

#: Threads for file work of policies: more would only queue at the disk; and calls that may wait for them.
FILE_THREADS = 4
MAX_FILE_CALLS = 10_000


@frozen(kw_only=True)
class Services:
    """What the libraries stand on.

    `epoch` tells the present epoch of the policy; `declare_acct_log` takes
    what `kumo.aaa.configure_acct_log` was given. Whoever builds this closes
    `transports` and `file_threads` at shutdown.
    """

    reactor: ThreadReactor
    tasks: Tasks
    keys: KeyLoader
    limits: Limits
    resolver: ConfigurableResolver
    ids: Callable[[], SpoolId]
    epoch: Callable[[], int]
    declare_acct_log: Callable[[AcctLogConfig], None]
    redactor: Redactor | None = None
    transports: HttpTransports = field()
    file_threads: BlockingThreads = field()
    #: Apart, so that waits for another's transaction hold up no file.
    database_threads: BlockingThreads = field()

    @transports.default
    def _own_transports(self) -> HttpTransports:
        return HttpTransports(self.reactor)

    @file_threads.default
    def _own_threads(self) -> BlockingThreads:
        return BlockingThreads(self.reactor, "policy files", FILE_THREADS, MAX_FILE_CALLS)

    @database_threads.default
    def _own_database_threads(self) -> BlockingThreads:
        return BlockingThreads(self.reactor, "policy databases", FILE_THREADS, MAX_FILE_CALLS)

    async def close(self) -> None:
        """Close idle HTTP connections and end the threads."""
        await self.transports.close()
        await self.file_threads.close()
        await self.database_threads.close()


def standard_libraries(services: Services) -> Sequence[Library]:
    """One of each; they serve every epoch of the policy."""
    serde, files, times = (
        SerdeLibrary(),
        FsLibrary(services.file_threads, services.reactor),
        TimeLibrary(services.reactor),
    )
    caches = MemoCaches(services.reactor, services.tasks)
    return (
        AaaLibrary(services.keys, services.declare_acct_log),
        CidrLibrary(),
        DigestLibrary(services.keys),
        DkimLibrary(services.keys, services.reactor),
        DnsLibrary(services.resolver, resolver_maker(services.reactor, services.reactor)),
        DomainMapLibrary(),
        EncodeLibrary(),
        files,
        FsAliases(files),
        HttpLibrary(services.transports),
        MemoizeLibrary(caches, services.epoch),
        RegexLibrary(),
        RegexSetMapLibrary(),
        SecretsLibrary(services.keys, services.redactor),
        serde,
        SerdeAliases(serde),
        SleepAlias(times),
        SqliteLibrary(services.database_threads),
        StringLibrary(),
        ThrottleLibrary(services.limits, services.reactor),
        times,
        UuidLibrary(services.ids),
    )
