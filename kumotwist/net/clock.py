"""The clock that every part is given: wall time and delayed calls.

The real reactor and `twisted.internet.task.Clock` both have this shape; it is
the part of `IReactorTime` that we use, spelled so that mypy understands it
without a plugin. Time is Unix seconds.

Public: `Clock`, `DelayedCall`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


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
