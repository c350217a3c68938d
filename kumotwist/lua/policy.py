"""The policy in force: loads it, runs its events, reads it anew when its files change.

This is what the rest of the house knows of Lua: `Policy` implements
QueuePolicy, SmtpPolicy, HttpPolicy, SmsPolicy, RecordPolicy and LuaConnector of
`core.interfaces`. A reload that fails keeps the old program, and says so in
the log and in the metric `lua_load_failures`. `init` runs once only.

Public: `Policy`, `PolicyServices`. Raises PolicyError, Rejection, ConfigError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from attrs import field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import Injector, LuaConnection, MessageStore, Witness
from kumotwist.core.message import Message, ReadOnlyMessage
from kumotwist.core.queuename import QueueName
from kumotwist.core.stats import Sample
from kumotwist.lua.address import ENVELOPE_ADDRESS
from kumotwist.lua.binding import Library
from kumotwist.lua.bridge import NO_WITNESS
from kumotwist.lua.connection import CONNECTION
from kumotwist.lua.connector import Connection
from kumotwist.lua.convert import HostClass
from kumotwist.lua.corelib import CoreLibrary, CoreServices
from kumotwist.lua.declare import Declarations, TaskDeclaration
from kumotwist.lua.engine import DEFAULT_CPU_BUDGET, DEFAULT_MEMORY, Settings, search_paths
from kumotwist.lua.events import MULTIPLE
from kumotwist.lua.hooks.http import HttpHooks
from kumotwist.lua.hooks.queue import QueueHooks
from kumotwist.lua.hooks.records import RecordHooks
from kumotwist.lua.hooks.sms import SmsHooks
from kumotwist.lua.hooks.smtp import SmtpHooks
from kumotwist.lua.message import message_class
from kumotwist.lua.optionsview import OPTION_CLASSES
from kumotwist.lua.program import EventStats, Program, ProgramSettings
from kumotwist.lua.redact import Redactor
from kumotwist.lua.refused import refused_libraries, with_refused
from kumotwist.lua.reload import FileWatch, default_globs
from kumotwist.net.clock import Clock, sleep
from kumotwist.net.tasks import Tasks

log: Final = Logger()

#: Seconds between two looks at the policy's files. KumoMTA looks every 10 s.
WATCH_INTERVAL: Final = 2.0
#: Seconds for which files must be as they are before they are read, and how often that is looked for. Ours: who
#: copies a file over the policy writes it in pieces, and half a policy may well be one that loads.
SETTLED_AFTER: Final = 0.1
_MOST_LOOKS: Final = 50


@frozen(kw_only=True)
class PolicyServices:
    """What policies act on, and their bounds.

    `injector` is called when a message is injected: it may be made after the
    policy. `bump_epoch` is what `kumo.bump_config_epoch` does; none: `Policy.reload` of this process.
    """

    store: MessageStore
    injector: Callable[[], Injector]
    ids: IdGenerator
    clock: Clock
    tasks: Tasks
    libraries: Sequence[Library] = ()
    bump_epoch: Callable[[], object] | None = None
    set_log_filter: Callable[[str], object] = field(default=lambda _: None)
    memory: int = DEFAULT_MEMORY
    cpu_budget: float = DEFAULT_CPU_BUDGET
    watch_interval: float = WATCH_INTERVAL
    witness: Witness = NO_WITNESS
    counts_lines: bool = False
    seed: int | None = None
    redactor: Redactor = field(factory=Redactor)


class Policy(QueueHooks, SmtpHooks, HttpHooks, SmsHooks, RecordHooks):
    """The policy of this process. Make it with `Policy.load`."""

    def __init__(self, path: Path, services: PolicyServices, is_validating: bool = False) -> None:
        """Nothing is read yet: use `load`."""
        self.path = path
        self.declarations = Declarations()
        self._services = services
        self._epoch = 0
        self._stats: dict[str, EventStats] = {}
        self._loads = 0
        self._failures = 0
        self._is_reloading = False
        self._wants_reload = False
        self._is_validating = is_validating
        self.program = Program(self._program_settings(self.declarations))

    @classmethod
    async def load(cls, path: Path, services: PolicyServices, is_validating: bool = False) -> Policy:
        """Read the policy file. Raises PolicyError with file and line."""
        policy = cls(path, services, is_validating)
        await policy.program.run_main(path)
        policy._loads += 1
        return policy

    def _program_settings(self, declarations: Declarations) -> ProgramSettings:
        services = self._services
        search_path, cpath = search_paths(self.path)
        core = CoreLibrary(
            CoreServices(
                store=services.store,
                injector=services.injector,
                ids=services.ids,
                clock=services.clock,
                bump_epoch=services.bump_epoch or self.bump_epoch,
                set_log_filter=services.set_log_filter,
                clean=services.redactor.clean,
            ),
            declarations,
            self.start_task,
        )
        facade = with_refused(message_class(services.store, services.clock.seconds))
        classes: Mapping[type, HostClass] = {
            Message: facade,
            ReadOnlyMessage: facade,
            ConnectionMeta: CONNECTION,
            EnvelopeAddress: ENVELOPE_ADDRESS,
            **OPTION_CLASSES,
        }
        engine = Settings(
            path=search_path,
            cpath=cpath,
            version=f"kumotwist-{version('kumotwist')}",
            is_validating=self._is_validating,
            multiple=MULTIPLE,
            memory=services.memory,
            cpu_budget=services.cpu_budget,
            counts_lines=services.counts_lines,
            seed=services.seed,
            redactor=services.redactor,
        )
        libraries = (*refused_libraries(), *services.libraries, core)
        return ProgramSettings(
            engine=engine, classes=classes, libraries=libraries, stats=self._stats, witness=services.witness
        )

    # -- the program in force -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Grows each time that the policy was loaded anew."""
        return self._epoch

    async def pre_init(self) -> None:
        """Run the `pre_init` handlers, up to one that returns a value. Raises PolicyError."""
        await self.notify("pre_init")

    async def init(self) -> None:
        """Run `init`; nothing more can be declared afterwards. Raises PolicyError."""
        await self.notify("init")
        self.declarations.is_closed = True

    async def shutdown_logging(self) -> None:
        """Run `shutdown_logging`; errors are logged and ignored."""
        try:
            await self.notify("shutdown_logging")
        except (PolicyError, Rejection) as error:
            log.error("shutdown_logging failed: {error}", error=error)

    # -- events by name -----------------------------------------------------------------------------

    async def run_event(self, name: str, arguments: Sequence[object] = ()) -> object:
        """Run a handler that must exist; its first result. Raises PolicyError, Rejection."""
        results = await self.program.run_required(name, *arguments)
        return results[0] if results else None

    async def run_key_event(self, name: str, arguments: Sequence[object] = ()) -> bytes:
        """The string that a key source's event returned. Raises PolicyError."""
        value = await self.run_event(name, arguments)
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
        raise PolicyError(f"{self.program.source_of(name)}: '{name}' must return a string")

    async def connect(self, constructor: str, name: QueueName) -> LuaConnection:
        """Run a `custom_lua` constructor. Raises PolicyError or Rejection."""
        program = self.program
        kept = await program.run_and_keep(constructor, name.domain, name.tenant, name.campaign)
        return Connection(program.bridge, constructor, kept)

    def start_task(self, task: TaskDeclaration) -> None:
        """Run the event of a `kumo.spawn_task` beside everything else."""
        self._services.tasks.spawn(f"task {task.event_name}", self._run_task(task))

    async def _run_task(self, task: TaskDeclaration) -> None:
        try:
            await self.run_event(task.event_name, [list(task.args)])
        except CancelledError:
            raise
        except (PolicyError, Rejection) as error:
            log.error("task {name} ended: {error}", name=task.event_name, error=error)

    # -- reading it anew ----------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to look for changes of the files; ends with the `tasks`."""
        self._services.tasks.spawn("policy watch", self._watch())

    async def _watch(self) -> None:
        watch = FileWatch(self.declarations.config_monitor_globs or default_globs(self.path))
        while True:
            await sleep(self._services.clock, self._services.watch_interval)
            if watch.has_changed():
                for _ in range(_MOST_LOOKS):
                    await sleep(self._services.clock, SETTLED_AFTER)
                    if not watch.has_changed():
                        break
                await self.reload()

    def bump_epoch(self) -> None:
        """Read the policy anew, soon."""
        self._services.tasks.spawn("policy reload", self.reload())

    async def reload(self) -> None:
        """Read the policy anew; when that fails the old one stays, and the log says why."""
        if self._is_reloading:
            self._wants_reload = True
            return
        self._is_reloading = True
        try:
            await self._load_anew()
        finally:
            self._is_reloading = False
        if self._wants_reload:
            self._wants_reload = False
            await self.reload()

    async def _load_anew(self) -> None:
        ignored = Declarations()  # what its top level declares was acted upon at start
        program = Program(self._program_settings(ignored))
        try:
            await program.run_main(self.path)
        except CancelledError:
            raise
        except (PolicyError, Rejection) as error:
            self._failures += 1
            log.error("the policy has changed but cannot be loaded; the old one stays: {error}", error=error)
            return
        ignored.is_closed = True
        self._loads += 1
        self.program = program
        self._epoch += 1
        log.info("the policy was loaded anew, epoch {epoch}", epoch=self._epoch)

    # -- numbers ------------------------------------------------------------------------------------

    def samples(self) -> Iterable[Sample]:
        """Numbers about Lua, under KumoMTA's names where it has them."""
        bridge = self.program.bridge
        yield Sample("lua_load_count", self._loads)
        yield Sample("lua_count", bridge.running + bridge.engine.spare)
        yield Sample("lua_spare_count", bridge.engine.spare)
        yield Sample("lua_memory_bytes", bridge.engine.memory_used)
        yield Sample("lua_load_failures", self._failures)
        for event, stats in list(self._stats.items()):
            yield Sample("lua_event_started", stats.started, (("event", event),))
            yield Sample("lua_event_latency", stats.latency, (("event", event),))
