"""Running a policy without the daemon: what `kumotwist validate` and `script` do, and what `service.tryout` builds on.

Nothing is listened on, stored or sent; HTTP, DNS and secrets work, since
policies load their configuration with them.

Public: `validate`, `script`; `Offline` (a policy's surroundings) and `with_policy` for `service.tryout`. Exit status
0 when all is well, 1 when the policy is not, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner
from twisted.python import usage
from twisted.python.failure import Failure

from kumotwist.core.errors import ConfigError, KumotwistError, PolicyError, Rejection
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.egress.registry import Channels
from kumotwist.intake.smtp.imagined import ImaginedSession, Visitor
from kumotwist.lua import validate as checks
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.policy import Policy, PolicyServices
from kumotwist.net.dns import CachingResolver, system_client
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.mx import mail_hosts
from kumotwist.net.tasks import Tasks
from kumotwist.queue.classes import Classes
from kumotwist.queue.present import Present
from kumotwist.queue.throttle import LocalLimits
from kumotwist.secrets.store import KeyStore
from kumotwist.service import diagnostics, lifecycle
from kumotwist.service.options import DEFAULT_STATE_DIR, Options, Settings
from kumotwist.spool.memory import MemoryStore

log = Logger()

_LOG_FILTER: Final = "warn,lua=info"
#: Where what a handler fails with is in the answer, once.
_QUIET_FILTER: Final = f"{_LOG_FILTER},kumotwist.lua.bridge=off"


def validate(arguments: Sequence[str]) -> int:
    """Check a policy; notes, warnings and errors go to stderr, one a line."""
    return _run(arguments, _validated, _QUIET_FILTER)


def script(arguments: Sequence[str]) -> int:
    """Run the policy's `main` event with the arguments behind `--`."""
    return _run(arguments, _scripted, _LOG_FILTER)


def with_policy(policy: str, work: Callable[[Offline], Awaitable[int]]) -> int:
    """Do `work` with a policy that is loaded as it needs it; the exit status, 2 for a file that cannot be read."""
    try:
        Path(policy).open("rb").close()
    except (OSError, ValueError) as error:
        _say(f"cannot read the policy {policy}: {error.strerror if isinstance(error, OSError) else error}")
        return 2
    observer: Any = diagnostics.observer(None, _QUIET_FILTER)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    settings = Settings(policy=os.path.abspath(policy), state_dir=DEFAULT_STATE_DIR, workers=0)
    return _in_reactor(settings, work)


class _NoInjector:
    """There is no queue here."""

    async def inject(self, message: Message) -> None:
        """Refuse."""
        raise ConfigError(f"no message ({message.id.hex()}) can be injected without a running daemon")


class Offline:
    """A policy's surroundings when no daemon runs."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self.settings = settings
        self.reactor = reactor
        self.tasks = Tasks()
        self.policy: Policy | None = None
        ids = IdGenerator(reactor.seconds)
        self._keys = KeyStore(reactor, self.tasks, os.environ, self._key_event)
        self._libraries = Services(
            reactor=reactor,
            tasks=self.tasks,
            keys=self._keys,
            limits=LocalLimits(reactor),
            resolver=ConfigurableResolver(CachingResolver(system_client(reactor), reactor)),
            ids=ids,
            epoch=lambda: 0,
            declare_acct_log=lambda _: None,
        )
        self.services = PolicyServices(
            store=MemoryStore(),
            injector=_NoInjector,
            ids=ids,
            clock=reactor,
            tasks=self.tasks,
            libraries=standard_libraries(self._libraries),
            bump_epoch=lambda: None,
        )

    def channels(self, policy: Policy) -> Channels:
        """The channels as the daemon would have them; they are asked for names and never opened."""
        libraries = self._libraries
        transports = HttpTransports(self.reactor)
        hostname = socket.gethostname()
        return Channels(libraries.resolver, self._keys, policy, self.reactor, self.reactor, hostname, transports)

    def session(self, policy: Policy, visitor: Visitor) -> ImaginedSession:
        """What an SMTP client would find. Raises ConfigError when there is no such listener."""
        return ImaginedSession(policy, tuple(policy.declarations.esmtp_listeners), visitor, socket.gethostname())

    def present(self) -> Present:
        """Nothing is at work, but a mailbox's provider is looked up."""
        return Present(classed=Classes(self.reactor, partial(mail_hosts, self._libraries.resolver)).ask)

    async def load(self) -> Policy:
        """The policy, as a daemon would have it after its start. Raises PolicyError, ConfigError."""
        self.policy = policy = await Policy.load(Path(self.settings.policy), self.services, is_validating=True)
        await policy.pre_init()
        await policy.init()
        return policy

    async def close(self) -> None:
        """End what the policy has started."""
        await self.tasks.close()
        await self._keys.close()
        await self._libraries.close()

    async def _key_event(self, name: str, arguments: Sequence[Any]) -> bytes:
        if self.policy is None:
            raise PolicyError(f"the key event '{name}' cannot run before the policy is read")
        return await self.policy.run_key_event(name, arguments)


async def _validated(offline: Offline) -> int:
    path = Path(offline.settings.policy)
    report = await checks.validate(path, offline.services)
    for note in report.notes:
        _say(f"note: {note}")
    for warning in report.warnings:
        _say(f"warning: {warning}")
    for error in report.errors:
        _say(f"error: {error}")
    if report.is_valid:
        sys.stdout.write(f"{path}: OK\n")
    return 0 if report.is_valid else 1


async def _scripted(offline: Offline) -> int:
    offline.policy = policy = await Policy.load(Path(offline.settings.policy), offline.services)
    await policy.pre_init()
    await policy.run_event("main", list(offline.settings.script_args))
    return 0


def _run(arguments: Sequence[str], work: Callable[[Offline], Awaitable[int]], log_filter: str) -> int:
    options = Options()  # type: ignore[no-untyped-call]  # Twisted does not type its parser
    try:
        before, separator, behind = _split(arguments)
        parse: Any = options.parseOptions
        parse([*before, *(["--script", "--", *behind] if separator else [])])
        observer: Any = diagnostics.observer(None, options.settings.diag_filter or log_filter)
    except (usage.UsageError, ConfigError) as error:
        _say(str(error))
        return 2
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    return _in_reactor(options.settings, work)


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], bool, Sequence[str]]:
    """What stands before and behind `--`."""
    if "--" not in arguments:
        return arguments, False, ()
    at = list(arguments).index("--")
    return arguments[:at], True, arguments[at + 1 :]


def _in_reactor(settings: Settings, work: Callable[[Offline], Awaitable[int]]) -> int:
    from twisted.internet import reactor

    running: Any = reactor
    status = [1]
    broken: list[BrokenPipeError] = []

    async def run() -> None:
        offline = Offline(settings, running)
        try:
            status[0] = await work(offline)
        except Rejection as rejection:
            _say(f"error: rejected with {rejection}")
        except KumotwistError as error:
            _say(f"error: {error}")
        except BrokenPipeError as error:
            broken.append(error)
        finally:
            await offline.close()

    def ended(result: object) -> None:
        if isinstance(result, Failure):
            log.failure("a defect of ours", result)
        running.stop()

    running.callWhenRunning(lambda: Deferred.fromCoroutine(run()).addBoth(ended))
    lifecycle.end_on_signals()
    running.run(installSignalHandlers=False)
    if broken:
        raise broken[0]
    return status[0]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
