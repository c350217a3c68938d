"""The class of a message where it takes more than the message to tell: mailbox providers, and functions of policy.

Nobody on the hot path waits for DNS or Lua: `known` answers from the message
and from memory, or not at all, and a message without an answer takes the path
that may wait (`Outset.find`), which asks `find`. Whom a domain's mail
exchanger belongs to is remembered; a function is asked for every message.

Public: `Classes`, `Classed`, `classed_alone`, `MailHosts`, `no_hosts`. Nothing is raised: a domain that cannot be
looked up is a class by itself. A function that fails leaves its message in the class of all, is told in the diagnostic
log with file and line, and counted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.config.routes import ClassFunction, RouteTableConfig
from kumotwist.core.errors import KumotwistError, Rejection, ResolveError
from kumotwist.core.message import Message, ReadOnlyMessage
from kumotwist.core.stats import Sample
from kumotwist.net.clock import Clock
from kumotwist.queue.routes.classes import MAX_NAME, class_of, domain_of, stands_in_header
from kumotwist.queue.routes.mailboxes import provider_of_host

log: Final = Logger()

#: The most preferred mail exchangers of a domain; none when it has no MX records. Raises ResolveError.
MailHosts: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]

#: Seconds for which a domain's provider is remembered. Ours: who moves house keeps his records for as long, and for
#: an hour a few messages teach the wrong class.
PROVIDER_TTL: Final = 3600.0
#: The same when the question failed: as long as the resolver keeps failures (KumoMTA).
FAILURE_TTL: Final = 300.0
#: Domains remembered, the most recently used; some 15 MB when full. As many as the resolver keeps answers.
MAX_DOMAINS: Final = 65_536
#: Seconds between two lines about the same table's function: it may fail for every message.
_TOLD_EVERY: Final = 60.0
#: Tables whose failures are counted apart. As many as are remembered (`queue.routetables`).
_MAX_TABLES: Final = 128


@frozen
class Classed:
    """The class of a message, and why it is that of all when a function did not tell."""

    name: str
    problem: str = ""


async def no_hosts(_domain: str) -> Sequence[str]:
    """Nobody is known to take any domain's mail."""
    return ()


@define(eq=False)
class Classes:
    """Tells classes. Without `mail_hosts` nothing is looked up: what is not well known is a class by itself."""

    clock: Clock
    mail_hosts: MailHosts = no_hosts
    _providers: OrderedDict[str, tuple[str, float]] = field(factory=OrderedDict, init=False)
    _failures: Counter[str] = field(factory=Counter, init=False)
    _told: dict[str, float] = field(factory=dict, init=False)

    def known(self, config: RouteTableConfig, message: Message) -> str | None:
        """The class, if nobody has to be asked, and the message read for it; None otherwise."""
        if stands_in_header(config, message):
            return None
        name = class_of(config, message)
        return self._remembered(domain_of(message)) if name is None and isinstance(config.class_, str) else name

    async def find(self, config: RouteTableConfig, message: Message) -> str:
        """The class; a function's failure is logged and counted."""
        found = await self.ask(config, message)
        if found.problem:
            self._note(config.name, found.problem)
        return found.name

    async def ask(self, config: RouteTableConfig, message: Message) -> Classed:
        """The class, for those who only look."""
        name = class_of(config, message) if stands_in_header(config, message) else self.known(config, message)
        if name is not None:
            return Classed(name)
        if isinstance(config.class_, ClassFunction):
            return await _told_by(config.class_, message)
        return Classed(await self._provider(domain_of(message)))

    def samples(self) -> Iterator[Sample]:
        """Failures of functions, by table."""
        for table, count in self._failures.items():
            yield Sample("total_route_class_failures", count, (("table", table),))

    def _remembered(self, domain: str) -> str | None:
        known = self._providers.get(domain)
        if known is None or self.clock.seconds() >= known[1]:
            return None
        self._providers.move_to_end(domain)
        return known[0]

    async def _provider(self, domain: str) -> str:
        """By the exchanger, and remembered; the domain itself without one."""
        name, ttl = domain, PROVIDER_TTL
        try:
            hosts = await self.mail_hosts(domain)
            name = provider_of_host(hosts[0])[:MAX_NAME] if hosts else domain
        except CancelledError:
            raise
        except ResolveError:
            ttl = FAILURE_TTL
        self._providers[domain] = (name, self.clock.seconds() + ttl)
        self._providers.move_to_end(domain)
        if len(self._providers) > MAX_DOMAINS:
            self._providers.popitem(last=False)
        return name

    def _note(self, table: str, problem: str) -> None:
        if table in self._failures or len(self._failures) < _MAX_TABLES:
            self._failures[table] += 1
        now = self.clock.seconds()
        if now - self._told.get(table, -_TOLD_EVERY) >= _TOLD_EVERY:
            self._told = {name: at for name, at in self._told.items() if now - at < _TOLD_EVERY}
            self._told[table] = now
            log.error(
                "route table {table}: {problem}; the message counts in the class of all", table=table, problem=problem
            )


async def classed_alone(config: RouteTableConfig, message: Message) -> Classed:
    """The class without any question to DNS: a domain that is not well known is a class by itself."""
    name = class_of(config, message)
    if name is None and isinstance(config.class_, ClassFunction):
        return await _told_by(config.class_, message)
    return Classed(domain_of(message) if name is None else name)


async def _told_by(function: ClassFunction, message: Message) -> Classed:
    """What policy's function says, as a class."""
    view = ReadOnlyMessage.of(message)
    try:
        results = await function.run(view)
    except CancelledError:
        raise
    except Rejection as rejection:
        return Classed("", f"{function} rejects with {rejection}; a class is no place for that")
    except KumotwistError as error:
        return Classed("", f"{function} failed: {error}")
    finally:
        view.release_body()
    value = results[0] if results else None
    if value is None:
        return Classed("")
    if isinstance(value, str):
        return Classed(value[:MAX_NAME])
    return Classed("", f"{function} must return a string or nil, it returned {_described(value)}")


def _described(value: object) -> str:
    if isinstance(value, bytes):
        return "a string that is not UTF-8"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a table" if isinstance(value, (list, dict)) else "a function or object"
