"""The reactor of worker processes: epoll, without a log context per event.

Twisted wraps each readable and writable event in a logging context that names
the transport. Our diagnostics never use it, and it costs some 5 us an event,
of which a relayed message causes about eight. An error that escapes an event
is logged and costs the connection at most, as with Twisted's own.

Public: `LeanReactor`, `install`.
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger

log: Final = Logger()


class LeanReactor(EPollReactor):
    """Twisted's epoll reactor with a shorter way from event to transport."""

    _poller: Any
    _selectables: dict[int, Any]
    _disconnectSelectable: Any  # noqa: N815 (Twisted's name)

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and serve them; as the base class does but for the log context."""
        selectables = self._selectables
        serve: Any = self._doReadOrWrite
        # One event for each descriptor at the most, as in the base class.
        for fd, event in self._poller.poll(-1 if timeout is None else timeout, len(selectables)):
            selectable = selectables.get(fd)
            if selectable is None:
                continue
            try:
                if event == EPOLLIN:
                    # Nearly all are this one, so they go without the questions that the others ask.
                    why = selectable.doRead()
                    if why:
                        self._disconnectSelectable(selectable, why, True)
                else:
                    serve(selectable, fd, event)
            except Exception as error:
                log.failure("an event of {selectable} failed", selectable=selectable)
                self._disconnectSelectable(selectable, error, True)

    doIteration = doPoll  # noqa: N815 (Twisted's name)


def install() -> None:
    """Make it the process's reactor; before anything imports another."""
    make: Any = LeanReactor
    installReactor(make())
