"""Runs a coroutine up to its first wait, and on from there.

Policy handlers and saves mostly end without waiting, several times per
message, so this is on the hot path: no Deferred is made for a coroutine that
does not wait, and none beyond the one that it waits for when it does (half
the cost of `Deferred.fromCoroutine`).

Public: `drive`, `Driven`. What can go wrong: nothing here; what the coroutine
raises goes to `failed`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Driven(Generic[T]):
    """A coroutine under way. Exactly one of `done` and `failed` is called, once."""

    __slots__ = ("_coroutine", "_done", "_failed", "_waiting", "has_ended")

    def __init__(
        self,
        coroutine: Coroutine[Deferred[Any], Any, T],
        done: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._failed = failed
        self._waiting: Deferred[Any] | None = None
        self.has_ended = False

    def cancel(self) -> None:
        """Cancel what it waits for; nothing when it has ended."""
        if self._waiting is not None:
            self._waiting.cancel()

    def abandon(self) -> None:
        """Let it run on by itself; neither `done` nor `failed` is called any more."""
        self._done = self._failed = _ignore

    def step(self, result: object = None) -> None:
        """Go on to the next wait or to the end; `result` is what was waited for."""
        self._waiting = None
        try:
            if isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                # The Deferred itself hands its result over.
                waiting = self._coroutine.send(None)
        except StopIteration as stop:
            self.has_ended = True
            self._done(stop.value)
        except BaseException as error:
            self.has_ended = True
            self._failed(error)
        else:
            self._waiting = waiting
            waiting.addBoth(self.step)


def _ignore(_: object) -> None:
    """The end that nobody waits for any more."""


def drive(
    coroutine: Coroutine[Deferred[Any], Any, T],
    done: Callable[[T], None],
    failed: Callable[[BaseException], None],
) -> Driven[T]:
    """Run `coroutine`; when it never waits, `done` or `failed` is called before this returns."""
    driven = Driven(coroutine, done, failed)
    driven.step()
    return driven
