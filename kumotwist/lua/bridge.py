"""Drives handlers: runs them, awaits what they wait for, resumes them, and tells how they ended.

A handler that never waits is one call into Lua and back, without a Deferred.
One that waits hands out an operation; it is awaited here and its result goes
back in. Nothing enters Lua while it runs: whoever comes meanwhile (an
operation that itself runs policy) waits for its turn.

Public: `Bridge`, `Kept`. Raises Rejection, PolicyError and PolicyTimeout; the
Lua traceback goes to the log once, here, and is never part of the error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger, LogLevel

from kumotwist.core.errors import PolicyError, PolicyTimeout, Rejection
from kumotwist.core.interfaces import Witness
from kumotwist.core.message import Message
from kumotwist.lua.convert import HostClass
from kumotwist.lua.engine import Engine, Entry, Outcome, Settings

log: Final = Logger()

# Statuses of an outcome, as threads.lua numbers them.
DONE: Final = 0
WAITING: Final = 1
ERROR: Final = 2
REJECTED: Final = 3
TIMEOUT: Final = 4


class Kept:
    """A Lua function or table that Python holds; Lua lets go of it when this object goes."""

    __slots__ = ("_engine", "number")

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self.number = number

    def __del__(self) -> None:
        self._engine.release(self.number)


class KeptFunction(Kept):
    """A Lua function as Python sees it: `binding.LuaFunction`."""

    __slots__ = ("_bridge", "place")

    def __init__(self, engine: Engine, number: int, place: str, bridge: Bridge) -> None:
        super().__init__(engine, number)
        self._bridge = bridge
        self.place = place

    async def __call__(self, *arguments: object) -> tuple[object, ...]:
        """Run it as a handler of its own."""
        return tuple(await self._bridge.call(self, *arguments))


class NoWitness:
    """Nobody remembers: for policies that handle no mail."""

    def begin(self, event: str, messages: Sequence[Message]) -> None:
        """Nothing is noted."""

    def end(self) -> None:
        """Nothing is noted."""


NO_WITNESS: Final = NoWitness()


class Bridge:
    """Runs handlers in one runtime."""

    def __init__(self, settings: Settings, classes: Mapping[type, HostClass], witness: Witness = NO_WITNESS) -> None:
        """`witness` is told which messages of the spool a handler has in hand while it runs."""
        self.engine = Engine(settings, classes, self._function)
        self.running = 0
        #: Takes secrets out of a text that leaves policy for people.
        self.clean = settings.redactor.clean
        self._witness = witness

    def _function(self, engine: Engine, number: int, place: str) -> KeptFunction:
        return KeptFunction(engine, number, place, self)

    async def main(self, source: bytes, path: str) -> None:
        """Run the policy itself. Raises PolicyError with file and line."""
        await self._settle("main", self.engine.main(source, path))

    async def enter(self, event: str, entry: Entry, *arguments: object) -> list[object]:
        """Run a prepared way in (`Engine.entry`); the values that its handlers returned."""
        engine = self.engine
        if engine.is_inside:
            await engine.turn()
        engine.event = event
        first = arguments[0] if arguments else None
        if first.__class__ is Message and not first.is_body_dirty:
            return await self._settle(event, *self._watched(event, arguments, partial(engine.enter, entry, *arguments)))
        outcome = engine.enter(entry, *arguments)
        if outcome == DONE:
            return []
        return await self._settle(event, outcome)

    async def fire(self, event: str, *arguments: object) -> list[object]:
        """Run the handlers of `event` with arguments of any kind; the values that they returned."""
        await self.engine.turn()
        enter = partial(self.engine.fire, event, False, arguments)
        return await self._settle(event, *self._watched(event, arguments, enter))

    async def fire_and_keep(self, event: str, *arguments: object) -> Kept:
        """The same for a handler that must return a table, which stays in Lua."""
        await self.engine.turn()
        self.engine.event = event
        results = await self._settle(event, self.engine.fire(event, True, arguments))
        number = results[0] if results else None
        if isinstance(number, int):
            return Kept(self.engine, number)
        kind = results[1] if len(results) > 1 else "nothing"
        raise PolicyError(f"the handler of '{event}' must return a table, it returned {kind}")

    async def call(self, function: Kept, *arguments: object) -> list[object]:
        """Call a Lua function that we hold."""
        await self.engine.turn()
        enter = partial(self.engine.call, "callback", function.number, arguments)
        return await self._settle("callback", *self._watched("callback", arguments, enter))

    async def call_method(self, kept: Kept, event: str, name: str, *arguments: object) -> list[object]:
        """Call a method of a table that we hold; an error when it has none of that name."""
        await self.engine.turn()
        enter = partial(self.engine.call_method, event, kept.number, name, arguments)
        return await self._settle(event, *self._watched(event, arguments, enter))

    async def call_optional_method(self, kept: Kept, event: str, name: str) -> None:
        """The same without arguments, and nothing happens when there is no such method."""
        await self.engine.turn()
        self.engine.event = event
        await self._settle(event, self.engine.call_method(event, kept.number, name, (), is_optional=True))

    def _watched(
        self, event: str, arguments: Sequence[object], enter: Callable[[], Outcome]
    ) -> tuple[Outcome, Sequence[Message]]:
        """The outcome of `enter()`, and the messages of the spool that it has in hand: should it never return."""
        self.engine.event = event
        messages = _in_hand(arguments)
        if not messages:
            return enter(), ()
        self._witness.begin(event, messages)
        try:
            return enter(), messages
        finally:
            self._witness.end()

    async def _settle(self, event: str, outcome: Outcome, messages: Sequence[Message] = ()) -> list[object]:
        self.running += 1
        try:
            while True:
                if isinstance(outcome, int):
                    return []
                if outcome[0] != WAITING:
                    return self._ended(event, outcome)
                outcome = await self._proceed(outcome[1], event, messages)
        finally:
            self.running -= 1

    async def _proceed(self, operation: int, event: str, messages: Sequence[Message]) -> Outcome:
        """Await an operation and resume its handler; gives up the handler when we are cancelled."""
        engine = self.engine
        waiting = engine.crossing.take(operation)
        try:
            tokens = engine.crossing.answer(await waiting)
        except (CancelledError, GeneratorExit):
            engine.drop(operation)
            raise
        except Exception as error:
            tokens = engine.crossing.refusal(error)
        await engine.turn()
        return self._watched(event, messages, partial(engine.resume, operation, tokens))[0]

    def _hint(self, text: str) -> str:
        """What was meant by a call of a function that is not there, as far as a name of ours is close to it."""
        missing = _NO_FUNCTION.search(text)
        if missing is None:
            return ""
        names = self.engine.crossing.names
        close = difflib.get_close_matches(missing[1].rpartition(".")[2], names, n=1, cutoff=0.75)
        return f"; did you mean '{names[close[0]]}'?" if close else ""

    def _ended(self, event: str, outcome: tuple[object, ...]) -> list[object]:
        status = outcome[0]
        if status == DONE:
            return self.engine.crossing.decode(outcome[1:])
        if status == REJECTED:
            raise _rejection(self.clean, *outcome[1:])
        text, trace = (self.clean(_text(part)) for part in outcome[1:3])
        text += self._hint(text)
        # Who loads a policy says why that failed, once.
        level = LogLevel.debug if event in _LOADING else LogLevel.error
        log.emit(level, "policy failed in {event}: {text}\n{trace}", event=event, text=text, trace=trace)
        raise (PolicyTimeout if status == TIMEOUT else PolicyError)(text)


#: What runs while a policy is loaded; the error ends the load, and names file and line.
_LOADING: Final = frozenset({"main", "pre_init", "init"})
#: How Lua says that what was called is not there.
_NO_FUNCTION: Final = re.compile(r"attempt to call a nil value \((?:field|method|function) '([\w.]+)'\)")


def _in_hand(arguments: Sequence[object]) -> Sequence[Message]:
    """The messages among the arguments of a handler that the spool has: one, some, or a list of them."""
    return [
        one
        for argument in arguments
        for one in (argument if isinstance(argument, list) else (argument,))
        if isinstance(one, Message) and not one.is_body_dirty
    ]


def _text(octets: object) -> str:
    return octets.decode(errors="replace") if isinstance(octets, bytes) else str(octets)


def _rejection(
    clean: Callable[[str], str], code: object, text: object, disconnect: object = False, follow: object = False
) -> Rejection:
    assert isinstance(code, int)
    return Rejection(code, clean(_text(text)), bool(disconnect), bool(follow))
