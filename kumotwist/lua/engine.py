"""One Lua 5.4 runtime, opened, hardened and bounded: the only place that touches lupa.

The Lua side lives in the *.lua files beside this one, read once and run in
this order: harden (takes everything dangerous away), values (the border),
shown (what a raised table says), threads (handlers, budget), environment (what
a policy sees), events (kumo.on and the ways in). `Engine` holds their entry points; `lua.bridge` drives them.

lupa's hazards, and where they are met: a Python exception would reach Lua as
an object (convert.Crossing.host catches all); an error or lack of memory while
Python pushes values outside of a protected call would end the process (the
real globals are empty and unreachable, and a reserve of memory is kept);
entering Lua while it runs would wipe its stack (`enter` refuses).

Public: `Engine`, `Settings`, `search_paths`. Raises PolicyError.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.core.errors import PolicyError
from kumotwist.lua.binding import Function, LuaFunction, prefix_of
from kumotwist.lua.convert import Crossing, HostClass
from kumotwist.lua.redact import Redactor
from kumotwist.lua.tokens import MARKERS

log: Final = Logger()

#: Name of our own chunks in tracebacks, and how the Lua side knows them.
SOURCE: Final = b"=[kumotwist]"
#: Memory that stays free of policy values: what Python may push without asking. A registry that doubles at
#: 100,000 objects needs 4 MiB; message bodies are asked for (Crossing.results).
MEMORY_RESERVE: Final = 32 << 20
DEFAULT_MEMORY: Final = 512 << 20
DEFAULT_CPU_BUDGET: Final = 2.0
#: Seconds in one go after which policy is said to hold everything up. Ours: a client notices, and no computing of a
#: handler takes half of that.
SLOW: Final = 0.5
#: What runs while the daemon starts holds nobody up.
_AT_START: Final = frozenset({"main", "pre_init", "init"})

#: What an entry point returns: a status alone, or a tuple that begins with one (threads.lua).
Outcome: TypeAlias = "int | tuple[Any, ...]"
Entry: TypeAlias = Callable[..., Outcome]

#: Our own `policy-extras` modules.
EXTRAS: Final = Path(__file__).parent / "extras"
#: Where KumoMTA's own packages put their Lua files. Ours come before those in `share`, which stand on functions that
#: only KumoMTA has, and behind what the operator has put beside the policy.
KUMOMTA_PATHS: Final = (
    "/opt/kumomta/etc/policy/?.lua",
    "/opt/kumomta/etc/policy/?/init.lua",
    f"{EXTRAS}/?.lua",
    "/opt/kumomta/share/?.lua",
    "/opt/kumomta/share/?/init.lua",
)


@frozen(kw_only=True)
class Settings:
    """What a runtime is made with."""

    path: str = ""
    cpath: str = ""
    version: str = ""
    is_validating: bool = False
    multiple: Sequence[str] = ()
    memory: int = DEFAULT_MEMORY
    cpu_budget: float = DEFAULT_CPU_BUDGET
    #: For tests of policies: note which lines run, and give `math.random` the same course each time.
    counts_lines: bool = False
    seed: int | None = None
    write: Callable[[str], object] = field(default=lambda text: _write(text))
    redactor: Redactor = field(factory=Redactor)


def search_paths(policy: Path) -> tuple[str, str]:
    """`package.path` and `package.cpath` for a policy file."""
    here = policy.resolve().parent
    directories = (here, Path("/usr/local/share/lua/5.4"), Path("/usr/share/lua/5.4"))
    patterns = [str(directory / tail) for directory in directories for tail in ("?.lua", "?/init.lua")]
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    c_directories = (here, Path("/usr/local/lib/lua/5.4"), Path(f"/usr/lib/{multiarch}/lua/5.4"))
    c_patterns = [str(directory / "?.so") for directory in c_directories]
    return ";".join((*KUMOMTA_PATHS, *patterns)), ";".join(c_patterns)


def _write(text: str) -> None:
    """What `print` does: to the real standard output, also where Twisted has made a log of `sys.stdout`."""
    stream = sys.__stdout__
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader has gone
            stream.write(text)
            stream.flush()


@cache
def _lupa() -> ModuleType:
    """Lupa's Lua 5.4, whose symbols are made global so that Lua modules written in C find the API in it."""
    import lupa.lua54 as lupa

    ctypes.CDLL(lupa.__file__, mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    module: ModuleType = lupa
    return module


@cache
def _chunk(name: str) -> bytes:
    return resources.files("kumotwist.lua").joinpath(f"{name}.lua").read_bytes()


def _refuse_attribute(_object: object, name: object, _is_setting: bool) -> object:
    """Lupa's attribute filter, the third line of defence: nothing has attributes."""
    raise AttributeError(name)


class Engine:
    """A runtime with its entry points. Ends when nothing refers to it any more."""

    def __init__(
        self, settings: Settings, classes: Mapping[type, HostClass], function: Callable[[Engine, int, str], LuaFunction]
    ) -> None:
        """`classes`: facades of classes that cannot be decorated; `function` makes the object for a Lua function."""
        lupa = _lupa()
        self._errors: tuple[type[Exception], ...] = (lupa.LuaError,)
        self._memory_error: type[Exception] = lupa.LuaMemoryError
        self._runtime = lupa.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            attribute_filter=_refuse_attribute,
            max_memory=settings.memory,
        )
        self._used: Callable[[], int] = self._runtime.get_memory_used
        self._soft_limit = max(settings.memory - MEMORY_RESERVE, settings.memory // 2)
        self._is_inside = False
        #: What runs, or ran last; set by whoever enters.
        self.event = "main"
        self._turns: list[Deferred[None]] = []
        self._released: list[int] = []
        self.crossing = Crossing(
            classes, lambda number, place: function(self, number, place), self._has_memory, self._used, self._soft_limit
        )
        self._open(settings)
        self._keys = {kind: self._define(kind) for kind in classes}

    # -- opening ------------------------------------------------------------------------------------

    def _run(self, name: str, *arguments: object) -> Any:
        return self._runtime.compile(_chunk(name), name=SOURCE, mode=b"t")(*arguments)

    def _table(self, values: Mapping[str, object]) -> Any:
        names = ", ".join(values)
        fields = ", ".join(f"{name} = {name}" for name in values)
        return self._runtime.execute(f"local {names} = ... return {{ {fields} }}".encode(), *values.values())

    def _open(self, settings: Settings) -> None:
        as_function = self._runtime.globals().python.as_function
        raw = self._run("harden", as_function, MARKERS[0], SOURCE)
        values = self._run("values", raw, self._table({one.name: one for one in MARKERS}), self.crossing.stash)
        threads = self._run(
            "threads",
            raw,
            values,
            self._run("shown", raw),
            self.crossing.abandon,
            time.thread_time,
            float(settings.cpu_budget),
            settings.counts_lines,
        )
        options = self._table(
            {
                "path": settings.path.encode(),
                "cpath": settings.cpath.encode(),
                "version": settings.version.encode(),
                "is_validating": settings.is_validating,
                "seed": settings.seed,
                "multiple": self._table(dict.fromkeys(settings.multiple, True) or {"none": True}),
            }
        )
        write = self.crossing.host(_line_writer(settings.write, settings.redactor), "print")
        environment = self._run("environment", raw, threads, options, write)
        events = self._run("events", raw, values, threads, environment, options)
        self._lua_define = values.define
        self._lua_continue, self._lua_spare, self._lua_lines = threads.continue_, threads.spare, threads.lines
        self._lua_entry, self._lua_fire, self._lua_main = events.entry, events.fire, events.main
        self._lua_call, self._lua_call_method = events.call, events.call_method
        self._lua_install, self._lua_registered, self._lua_release = events.install, events.registered, events.release

    def _define(self, kind: type) -> int:
        key, tokens = self.crossing.define(kind)
        self._lua_define(*tokens)
        return key

    def install(self, namespace: str, functions: Mapping[str, Function]) -> None:
        """Put functions into `kumo`, or where `namespace` says (`binding.Library`)."""
        prefix = prefix_of(namespace)
        self.crossing.names.update((name, prefix + name) for name in functions)
        self._lua_install(namespace.encode(), *self.crossing.functions(functions, prefix))

    # -- memory -------------------------------------------------------------------------------------

    def _has_memory(self, octets: int) -> bool:
        if self._used() + octets <= self._soft_limit:
            return True
        self._runtime.gccollect()
        return self._used() + octets <= self._soft_limit

    @property
    def memory_used(self) -> int:
        """Octets that Lua holds."""
        return self._used()

    @property
    def spare(self) -> int:
        """Idle coroutines."""
        return int(self._lua_spare())

    # -- ways in ------------------------------------------------------------------------------------

    @property
    def is_inside(self) -> bool:
        """Whether Lua is running right now, so that nothing else may enter."""
        return self._is_inside

    async def turn(self) -> None:
        """Wait until Lua is not running. Call it before `enter` when `is_inside`."""
        while self._is_inside:
            turn: Deferred[None] = Deferred()
            self._turns.append(turn)
            await turn

    def enter(self, entry: Entry, *arguments: object) -> Outcome:
        """Call an entry point; it returns when the handler has ended or waits.

        Raises PolicyError when Lua is out of memory.
        """
        if self._is_inside:
            raise RuntimeError("Lua was entered while it runs")
        if self._used() > self._soft_limit and not self._has_memory(0):
            raise PolicyError("the policy has used up its memory")
        if self._released:
            self._let_go()
        self._is_inside = True
        started = time.monotonic()
        try:
            return entry(*arguments)
        except self._memory_error:
            raise PolicyError("not enough memory for the policy") from None
        except self._errors as error:
            raise PolicyError(str(error)) from None
        finally:
            self._is_inside = False
            if time.monotonic() - started > SLOW and self.event not in _AT_START:
                self._report_slow(time.monotonic() - started)
            if self._turns:
                self._next_turns()

    def _report_slow(self, seconds: float) -> None:
        log.warn(
            "{event} held everything up for {seconds:.1f} s: no mail moved meanwhile. os.execute, io.popen, reading of "
            "pipes and long computing do that; functions of kumo that wait do not",
            event=self.event,
            seconds=seconds,
        )

    def _let_go(self) -> None:
        released, self._released = self._released[:200], self._released[200:]
        self._lua_release(*released)

    def _next_turns(self) -> None:
        turns, self._turns = self._turns, []
        for turn in turns:
            turn.callback(None)

    def release(self, number: int) -> None:
        """Python no longer needs what Lua keeps under `number`; safe to call at any time."""
        self._released.append(number)

    def entry(self, event: str, *kinds: type | None) -> Entry:
        """The way in for an event with up to three leading arguments that are facades (their class) or scalars."""
        keys = [self._keys[kind] if kind is not None else 0 for kind in kinds]
        entry: Entry = self._lua_entry(event.encode(), *keys)
        return entry

    def main(self, source: bytes, path: str) -> Outcome:
        """Run the policy itself."""
        return self.enter(self._lua_main, source, b"@" + path.encode())

    def fire(self, event: str, keeps: bool, arguments: Iterable[object]) -> Outcome:
        """Run the handlers of an event with arguments of any kind; with `keeps` Lua keeps the table returned."""
        return self.enter(self._lua_fire, event.encode(), keeps, *self.crossing.encode(*arguments)[1:])

    def call(self, event: str, number: int, arguments: Iterable[object]) -> Outcome:
        """Call a Lua function that Python holds."""
        return self.enter(self._lua_call, event.encode(), number, *self.crossing.encode(*arguments)[1:])

    def call_method(
        self, event: str, number: int, name: str, arguments: Iterable[object], is_optional: bool = False
    ) -> Outcome:
        """Call a method of a table that Lua keeps; without the method an error, or nothing when `is_optional`."""
        tokens = self.crossing.encode(*arguments)[1:]
        return self.enter(self._lua_call_method, event.encode(), number, name.encode(), is_optional, *tokens)

    def resume(self, operation: int, tokens: Sequence[object]) -> Outcome:
        """Give a waiting handler the result of its operation."""
        return self.enter(self._lua_continue, operation, *tokens)

    def drop(self, operation: int) -> None:
        """The handler that waits for `operation` is not wanted any more; safe to call at any time."""
        self._released.append(-operation)

    def lines(self) -> dict[str, list[int]]:
        """The lines that ran, by file, in no order; nothing unless `counts_lines`."""
        (found,) = self.crossing.decode(self._lua_lines())
        assert isinstance(found, dict)
        return {source.removeprefix("@"): lines for source, lines in found.items() if source.startswith("@")}

    def registered(self) -> dict[str, list[str]]:
        """Where the handlers of each event were registered; no more may be from now on."""
        found = self._lua_registered()
        (events,) = self.crossing.decode(found)
        assert isinstance(events, dict)
        return events


def _line_writer(write: Callable[[str], object], redactor: Redactor) -> Callable[[object], None]:
    def write_line(line: object) -> None:
        write(redactor.clean(line.decode(errors="replace") if isinstance(line, bytes) else str(line)) + "\n")

    return write_line
