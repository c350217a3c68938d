"""A Lua runtime with chosen libraries, for tests that speak Lua as a policy does."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kumotwist.lua.binding import Library
from kumotwist.lua.bridge import Bridge
from kumotwist.lua.convert import HostClass
from kumotwist.lua.engine import Settings


class LuaBox:
    """One runtime; `run` runs a piece of Lua as a handler of its own."""

    def __init__(self, *libraries: Library, classes: Mapping[type, HostClass] | None = None) -> None:
        self._libraries = libraries
        self._classes = classes or {}

    async def run(self, source: str, *arguments: object) -> object:
        """What the Lua chunk returns: one value, a tuple of several, None for none. `...` are the arguments."""
        bridge = Bridge(Settings(), self._classes)
        for library in self._libraries:
            bridge.engine.install(library.namespace, library.functions())
        await bridge.main(
            f"local kumo = require 'kumo'; kumo.on('test', function(...) {source}\nend)".encode(), "test.lua"
        )
        results = await bridge.fire("test", *arguments)
        return results[0] if len(results) == 1 else tuple(results) or None

    def now(self, source: str, *arguments: object) -> object:
        """The same for a chunk that does not wait."""
        work = Deferred.fromCoroutine(self.run(source, *arguments))
        assert work.called, "the chunk waits"
        outcome: list[object] = []
        work.addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]
