"""What a worker has to do at its stop, the last made first. Public: `Closing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kumotwist.service import lifecycle

log: Final = Logger()


@define(eq=False)
class Closing:
    """Steps of the stop, entered as parts are made; `reactor` is Twisted's."""

    reactor: Any
    _steps: list[tuple[str, Callable[[], Awaitable[object]]]] = field(factory=list, init=False)

    def enter(self, what: str, close: Callable[[], Awaitable[object]]) -> None:
        """Have `close` called at the stop, after all that is made later."""
        self._steps.append((what, close))

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Have `call` called now and every so many seconds, until the stop comes to it."""
        loop = LoopingCall(call)
        loop.clock = self.reactor
        loop.start(seconds).addErrback(lambda failure: log.failure("a regular look failed", failure))

        async def stop() -> None:
            if loop.running:
                loop.stop()

        self.enter("a regular look", stop)

    async def close(self) -> None:
        """Take everything down; each step even if another fails."""
        while self._steps:
            what, close = self._steps.pop()
            try:
                await close()
            except Exception:
                log.failure("{what} did not close cleanly", what=what)
                lifecycle.exit_with(1)
