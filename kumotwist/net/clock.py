"""The clock that every part is given: wall time and delayed calls.

The real reactor and `twisted.internet.task.Clock` both have this shape; it is
the part of `IReactorTime` that we use, spelled so that mypy understands it
without a plugin. Time is Unix seconds.

Public: `Clock`, `DelayedCall`, `sleep`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred


class DelayedCall(Protocol):
    """A call that is yet to come."""

    def cancel(self) -> None:
        """Make it not happen. Raises when it already has."""
        ...

    def active(self) -> bool:
        """Whether it is still to come."""
        ...


class Clock(Protocol):
    """Tells the time and calls back later."""

    def seconds(self) -> float:
        """Unix seconds."""
        ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> DelayedCall:  # noqa: A002
        """Call `callable(*args)` in `delay` seconds."""
        ...


def sleep(clock: Clock, seconds: float) -> Deferred[None]:
    """A Deferred that fires in `seconds`; cancel it to stop waiting. 0 gives everything else a turn."""
    call: DelayedCall | None = None

    def give_up(_: Deferred[None]) -> None:
        if call is not None:
            call.cancel()

    woken: Deferred[None] = Deferred(give_up)
    call = clock.callLater(seconds, woken.callback, None)
    return woken
