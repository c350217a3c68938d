"""What memoized functions remember: one cache per name for the whole process, outliving the policy that filled it.

Public: `MemoCaches`, `MemoCache`, `Pending`. What can go wrong:
the errors of the functions themselves, kept for `FAILURE_TTL`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.config.library import MemoizeConfig
from kumotwist.core.errors import KumotwistError, PolicyError, PolicyTimeout
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks

log: Final = Logger()

#: Seconds that a failed population is kept and told to every caller: KumoMTA's.
FAILURE_TTL: Final = 60.0
#: Populations that are tried when `retry_on_populate_timeout` is set: KumoMTA's.
MAX_TRIES: Final = 3
#: Caches by name: a policy names them in its text, so hundreds at most.
MAX_CACHES: Final = 1024

Populate = Callable[[], Awaitable[object]]


class Pending(KumotwistError):
    """There is no result at hand: it must be waited for."""


@frozen
class _Result:
    value: object
    error: Exception | None
    expires: float


@define(eq=False)
class MemoCache:
    """The results of one function, by key."""

    options: MemoizeConfig
    clock: Clock
    tasks: Tasks
    _results: OrderedDict[object, _Result] = field(factory=OrderedDict, init=False)
    _flight: SingleFlight[object, object] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._flight = SingleFlight(self.tasks.spawn, f"memoized {self.options.name}")

    def __len__(self) -> int:
        return len(self._results)

    def peek(self, key: object, populate: Populate) -> object:
        """The result that is at hand; a stale one, where allowed, is made anew beside.

        Raises Pending when `obtain` must be awaited, and the error of a
        population that failed lately.
        """
        result = self._results.get(key)
        if result is None:
            raise Pending
        if self.clock.seconds() >= result.expires:
            if not self.options.allow_stale_reads or result.error is not None:
                raise Pending
            if not self._flight.is_flying(key):
                self.tasks.spawn(f"memoized {self.options.name}", self._refresh(key, populate))
        self._results.move_to_end(key)
        if result.error is not None:
            raise result.error
        return result.value

    async def obtain(self, key: object, populate: Populate) -> object:
        """The result of `populate()`, called once however many ask meanwhile."""
        return await self._flight.run(key, lambda: self._make(key, populate))

    async def _refresh(self, key: object, populate: Populate) -> None:
        try:
            await self.obtain(key, populate)
        except KumotwistError as error:
            log.warn("memoized {name} could not be refreshed: {error}", name=self.options.name, error=error)

    async def _make(self, key: object, populate: Populate) -> object:
        stale = self._results.get(key)
        try:
            value = await self._populated(populate)
        except KumotwistError as error:
            if stale is None or stale.error is not None or not self.options.allow_stale_reads:
                self._keep(key, _Result(None, error, self.clock.seconds() + FAILURE_TTL))
            raise
        self._keep(key, _Result(value, None, self.clock.seconds() + self.options.ttl))
        return value

    async def _populated(self, populate: Populate) -> object:
        tries = MAX_TRIES if self.options.retry_on_populate_timeout else 1
        for _ in range(tries - 1):
            try:
                return await self._once(populate)
            except _PopulateTimeout:
                continue
        return await self._once(populate)

    async def _once(self, populate: Populate) -> object:
        work = Deferred.fromCoroutine(_awaited(populate))
        if work.called and not work.paused:
            return await work
        bound = self.options.populate_timeout
        deadline = self.clock.callLater(bound, work.cancel)
        try:
            return await work
        except CancelledError:
            if deadline.active():
                raise
            raise _PopulateTimeout(f"memoized {self.options.name}: no result within {bound:g} s") from None
        finally:
            if deadline.active():
                deadline.cancel()

    def _keep(self, key: object, result: _Result) -> None:
        self._results[key] = result
        self._results.move_to_end(key)
        if len(self._results) > self.options.capacity:
            self._results.popitem(last=False)


class _PopulateTimeout(PolicyTimeout):
    """The function took longer than `populate_timeout`."""


async def _awaited(populate: Populate) -> object:
    return await populate()


@define(eq=False)
class MemoCaches:
    """All caches of the process by name; one serves every epoch of the policy."""

    clock: Clock
    tasks: Tasks
    _caches: dict[str, MemoCache] = field(factory=dict, init=False)

    def cache(self, wanted: MemoizeConfig) -> MemoCache:
        """The cache of that name; a new one when the options have changed. Raises PolicyError."""
        known = self._caches.get(wanted.name)
        if known is not None and known.options == wanted:
            return known
        if known is None and len(self._caches) >= MAX_CACHES:
            raise PolicyError(f"more than {MAX_CACHES} memoize caches; the name must not be made from data")
        made = self._caches[wanted.name] = MemoCache(wanted, self.clock, self.tasks)
        return made
