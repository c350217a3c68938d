"""Finds the test files of a directory and runs their cases, each in a world and a Lua of its own.

Public: `files_of`, `run`. A file that cannot be loaded is a failed case of that name.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import KumotwistError
from kumotwist.core.message import Message
from kumotwist.lua.address import ENVELOPE_ADDRESS
from kumotwist.lua.engine import Settings, search_paths
from kumotwist.lua.lib.encode import EncodeLibrary
from kumotwist.lua.lib.regex import RegexLibrary
from kumotwist.lua.lib.serde import SerdeAliases, SerdeLibrary
from kumotwist.lua.lib.string import StringLibrary
from kumotwist.lua.message import message_class
from kumotwist.lua.program import Program, ProgramSettings
from kumotwist.spool.memory import MemoryStore
from kumotwist.trial.policytest.declared import Case, TestLibrary
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.library import TestWorld
from kumotwist.trial.policytest.pretend import START, PretendClock
from kumotwist.trial.policytest.result import Outcome, Result, shortened
from kumotwist.trial.policytest.world import World

#: What test files are called.
PATTERNS: Final = ("*_test.lua", "*.test.lua")
#: Real seconds that a case may take unless the command says otherwise. Ours: those of the shipped policies take 0.1.
PATIENCE: Final = 60.0
#: Lines of the policy's log that a failure shows.
_MAX_LOG: Final = 20
#: Stands for a case's name when a file is only looked at.
_LOADING: Final = "(loading)"
_PLACE: Final = re.compile(r"(.+?):(\d+): (.*)", re.DOTALL)


def files_of(place: Path) -> list[Path]:
    """The test files below a directory, or the one file that it is, in the order of their names."""
    if place.is_file():
        return [place]
    return sorted({one for pattern in PATTERNS for one in place.rglob(pattern) if one.is_file()})


def run(
    files: Sequence[Path],
    wanted: str = "",
    tell: Callable[[Outcome], object] = lambda _: None,
    patience: float = PATIENCE,
    begin: Callable[[str], object] = lambda _: None,
) -> Result:
    """Run every case whose name has `wanted` in it; `begin` and `tell` hear of each as it begins and ends.

    `patience` is how many real seconds a case may take.
    """
    result = Result()
    for file in files:
        for outcome in _run_file(file, wanted, result, patience, begin):
            result.outcomes.append(outcome)
            tell(outcome)
    return result


def _run_file(
    file: Path, wanted: str, result: Result, patience: float, begin: Callable[[str], object]
) -> Iterator[Outcome]:
    begin(shortened(file))
    probe = _CaseRun(file, _LOADING, patience)
    loaded = probe.run()
    if not loaded.has_passed:
        yield loaded
        return
    # By name: what a file makes in a loop over a table has no order.
    for name in [case.name for case in probe.library.cases if wanted in case.name]:
        begin(f"{shortened(file)}: {name}")
        case = _CaseRun(file, name, patience)
        yield case.run()
        if case.world is not None:
            result.cover(case.world.lines())


class _CaseRun:
    """One case: the file is loaded anew for each, so that none sees what another left behind."""

    def __init__(self, file: Path, name: str, patience: float) -> None:
        self._clock = PretendClock(patience=patience)
        self.library = TestLibrary()
        self.world: World | None = None
        self._file = file
        self._shown = shortened(file)
        self._name = name
        self._turns: deque[Deferred[None]] = deque()

    def run(self) -> Outcome:
        """What became of it; of `_LOADING`, whether the file can be loaded."""
        outcome = Outcome(self._shown, self._name)
        began = time.perf_counter()
        with _logged(outcome.log):
            try:
                clock, store = self._clock, MemoryStore()
                self._drive(self._load(clock, store))
                if self._name != _LOADING:
                    self._run_case(clock, store)
            except (KumotwistError, ValueError) as error:
                outcome.failure, outcome.place = self._told(str(error))
        outcome.seconds = time.perf_counter() - began
        return outcome

    async def _load(self, clock: PretendClock, store: MemoryStore) -> None:
        path, cpath = search_paths(self._file)
        serde = SerdeLibrary()
        settings = ProgramSettings(
            engine=Settings(path=path, cpath=cpath),
            classes={Message: message_class(store, clock.seconds), EnvelopeAddress: ENVELOPE_ADDRESS},
            libraries=(self.library, EncodeLibrary(), RegexLibrary(), serde, SerdeAliases(serde), StringLibrary()),
            stats={},
        )
        try:
            self._file.open("rb").close()
        except OSError as error:
            raise Failed(f"cannot read the test file: {error.strerror}") from None
        program = Program(settings)
        await program.run_file(Path(self._shown))
        if program.sources:
            event = next(iter(program.sources))
            raise Failed(
                f"{program.source_of(event)}: this is a policy, or a test file with a handler of its own: it registers "
                f"'{event}'; a test file names its policy with kumo.test.policy 'policy.lua'"
            )
        if self.library.policy is None:
            raise Failed("the file names no policy; kumo.test.policy 'policy.lua' does")
        if not self.library.cases:
            raise Failed("the file has no case; kumo.test.case(name, function(t) ... end) makes one")

    def _run_case(self, clock: PretendClock, store: MemoryStore) -> None:
        case = next((one for one in self.library.cases if one.name == self._name), None)
        if case is None or self.library.policy is None:
            raise Failed("the file makes this case only some of the time")
        found = case.surroundings
        clock.rightNow = START if found.start is None else found.start
        path = Path(shortened(self._file.parent / self.library.policy))
        with _environment(found.env):
            self.world = world = World(path, clock, store, found.env)
            try:
                found.furnish(world)
                world.start()
                world.unscripted.check()
                self._drive(self._called(case, world))
                world.check()
            finally:
                world.close()

    async def _called(self, case: Case, world: World) -> None:
        await case.run(TestWorld(world, self._leave))

    async def _leave(self) -> None:
        """Wait until the Lua of the test does not run."""
        turn: Deferred[None] = Deferred()
        self._turns.append(turn)
        await turn

    def _drive(self, work: object) -> None:
        """Run `work` to its end, turn by turn. Raises what it raises."""
        deferred: Deferred[object] = Deferred.fromCoroutine(work)  # type: ignore[arg-type]
        problems: list[BaseException] = []

        def keep(failure: Failure) -> None:
            problems.append(failure.value or Failed("no reason"))

        deferred.addErrback(keep)
        while self._turns:
            self._clock.check_patience()
            self._turns.popleft().callback(None)
        if problems:
            raise problems[0]
        if not deferred.called:
            deferred.cancel()
            raise Failed("the test waits for what never comes")

    def _told(self, text: str) -> tuple[str, str]:
        """A failure and its place, which for a file that is no Lua is the file."""
        match = _PLACE.match(text)
        if match is None:
            return text, self._shown
        # Lua cuts the front of long names.
        is_this = match[1].startswith("...") and self._shown.endswith(match[1][3:])
        return match[3], f"{self._shown if is_this else match[1]}:{match[2]}"


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These environment variables for as long as the block runs; policies read them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Collect what the policy logs and what goes wrong: to be shown with a failure."""

    def observe(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        is_of_policy = event.get("log_namespace") == "lua"
        # What a file or the function of a test raised is told as the failure.
        is_news = (is_of_policy or level >= LogLevel.warn) and event.get("event") not in ("callback", "main")
        if is_news and len(lines) < _MAX_LOG:
            lines.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
