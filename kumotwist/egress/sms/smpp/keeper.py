"""Keeps one bind: opens it when it is wanted, and again, with growing pauses, when it is lost.

Public: `Keeper`, `NoBind`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.core.outcome import Peer
from kumotwist.egress.sms.smpp.backoff import Backoff
from kumotwist.egress.sms.smpp.link import Link, LinkOwner
from kumotwist.egress.sms.smpp.opener import BindFailed, Bound, Opener
from kumotwist.net.tasks import Tasks
from kumotwist.proto.smpp.bind import BindMode

log: Final = Logger()


#: Seconds that a bind must have lasted for the next loss to be a new one. Ours: the longest pause but a few.
LASTING: Final = 60.0


#: Seconds of a pause whatever the options say: it must not spin. Ours.
_SHORTEST: Final = 0.01


class NoBind(Exception):
    """There is no bind now; it is tried again in `retry_after` seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Keeper:
    """One bind of an account."""

    def __init__(
        self, opener: Opener, mode: BindMode, owner: LinkOwner, tasks: Tasks, on_settled: Callable[[], object]
    ) -> None:
        """`on_settled` is called when a try to open it has ended, well or not."""
        self.mode = mode
        self._on_settled = on_settled
        self._opener = opener
        self._owner = owner
        self._tasks = tasks
        self._clock = opener.services.clock
        self._backoff = Backoff(opener.options.max_rest)
        self._bound: Bound | None = None
        self._is_opening = False
        self._waiters: list[Deferred[None]] = []
        self._retry_at = self._bound_at = 0.0
        self._why = ""

    @property
    def link(self) -> Link | None:
        """The link, when it is bound."""
        bound = self._bound
        return bound.link if bound is not None and bound.link.is_bound else None

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end, or was last."""
        return self._bound.peer if self._bound is not None else None

    def is_of(self, link: Link) -> bool:
        """Whether `link` is this bind's, bound or lost a moment ago."""
        return self._bound is not None and self._bound.link is link

    async def ready(self) -> Link:
        """The link, opened if there is none. Raises NoBind; may be cancelled, which leaves others that wait alone."""
        while (link := self.link) is None:
            wait = self._retry_at - self._clock.seconds()
            if wait > 0 and not self._is_opening:
                raise NoBind(self._why, wait)
            waiter: Deferred[None] = Deferred(self._waiters_without)
            self._waiters.append(waiter)
            self.open()
            await waiter
        return link

    def open(self) -> None:
        """Begin to open it, unless it is there, under way or resting after a failure."""
        if self._tasks.is_closing:
            self._rest("closing", 1.0)
            self._tell()
        elif self.link is None and not self._is_opening and self._clock.seconds() >= self._retry_at:
            self._is_opening = True
            self._tasks.spawn(f"smpp bind of {self._opener.account}", self._open())

    def next_try(self) -> float:
        """When `open` is to be called again in Unix seconds; infinity when there is nothing to open."""
        return inf if self.link is not None or self._is_opening else max(self._retry_at, self._clock.seconds())

    def lost(self, text: str) -> None:
        """The link is gone: leave the SMSC a moment, longer when binds do not last."""
        if self._clock.seconds() - self._bound_at >= LASTING:
            self._backoff.reset()
        self._rest(text, self._backoff.pause())

    async def close(self) -> None:
        """Say goodbye, if there is anybody to say it to, and return when the connection is closed."""
        if self._bound is not None:
            self._bound.link.unbind()
            await self._bound.link.closed

    async def _open(self) -> None:
        options = self._opener.options
        try:
            self._bound = await self._opener.open(self.mode, self._owner)
        except CancelledError:
            self._rest("closing", 0.0)
            raise
        except BindFailed as failure:
            pause = options.rest if failure.is_account else self._backoff.pause()
            log.warn(
                "no SMPP bind of {account}, next try in {pause:g} s: {problem}",
                account=self._opener.account,
                pause=pause,
                problem=failure,
            )
            self._rest(str(failure), pause)
        except Exception as error:
            # Whatever it is, it must not be tried again without a pause.
            log.failure("binding {account} failed", account=self._opener.account)
            self._rest(str(error), self._backoff.pause())
        else:
            self._bound_at = self._clock.seconds()
        finally:
            self._is_opening = False
            self._tell()
            self._on_settled()

    def _rest(self, text: str, pause: float) -> None:
        self._why = text
        self._retry_at = self._clock.seconds() + max(pause, _SHORTEST)

    def _tell(self) -> None:
        """Wake those who wait."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _waiters_without(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
