"""Single flight: one piece of work per key, however many wait for it.

Used wherever a miss is expensive and many ask at once: secrets, memoized Lua
functions, DNS. The work belongs to nobody who waits, so a caller that is
cancelled neither stops nor fails it.

Public: `SingleFlight`. What can go wrong: whatever the work raises, raised in
every caller that waited for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@define(eq=False)
class SingleFlight(Generic[K, V]):
    """What is under way, by key; `spawn` is that of `net.tasks.Tasks`."""

    spawn: Callable[[str, Coroutine[Deferred[Any], Any, None]], Deferred[None]]
    name: str
    _waiting: dict[K, list[Deferred[V]]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def is_flying(self, key: K) -> bool:
        """Whether work for `key` is under way."""
        return key in self._waiting

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of `work()`, or of the work for `key` that is already under way.

        May be cancelled; the work goes on. Raises what the work raises.
        """
        mine: Deferred[V] = Deferred(lambda one: self._forget(key, one))
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(mine)
        else:
            waiting = self._waiting[key] = [mine]
            self.spawn(self.name, self._fly(key, work)).addBoth(self._abandon, key, waiting)
        return await mine

    async def _fly(self, key: K, work: Callable[[], Awaitable[V]]) -> None:
        try:
            result = await work()
        except Exception as error:  # CancelledError too: it is for those who wait
            for one in self._waiting.pop(key, ()):
                one.errback(error)
        else:
            for one in self._waiting.pop(key, ()):
                one.callback(result)

    def _abandon(self, _: object, key: K, waiting: list[Deferred[V]]) -> None:
        """Fail whoever still waits for work that was never run: nothing is started at shutdown."""
        if self._waiting.get(key) is waiting:
            for one in self._waiting.pop(key):
                one.errback(CancelledError())

    def _forget(self, key: K, one: Deferred[V]) -> None:
        if one in self._waiting.get(key, ()):
            self._waiting[key].remove(one)
