"""`kumo.memoize`: functions that remember their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from kumotwist.config.library import MemoizeConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.lua.binding import Function, LuaFunction, callback
from kumotwist.lua.lib.memocache import MemoCache, MemoCaches, Pending
from kumotwist.lua.lib.plain import plain


class MemoizeLibrary:
    """`kumo.memoize`; `epoch` tells the present epoch of the policy."""

    namespace = ""

    def __init__(self, caches: MemoCaches, epoch: Callable[[], int]) -> None:
        self._caches = caches
        self._epoch = epoch

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"memoize": self.memoize}

    def memoize(self, function: object, params: object) -> Function:
        """A function that returns what `function` did for equal arguments, for `ttl`, one call at a time.

        The cache belongs to its `name` and outlives a change of the policy
        unless `invalidate_with_epoch` is set. An error is kept for 60 s. Tables
        come back as copies; several results come back as one list.
        """
        chosen = structure(MemoizeConfig, params, "kumo.memoize")
        if chosen.capacity < 1:
            raise ConfigError("kumo.memoize: option 'capacity' must be at least 1")
        epoch = self._epoch() if chosen.invalidate_with_epoch else 0
        return _Memoized(self._caches.cache(chosen), callback(function, "function"), epoch)


class _Memoized:
    """Answers from the cache at once, or hands back what the handler has to wait for."""

    __name__ = "memoized function"

    def __init__(self, cache: MemoCache, function: LuaFunction, epoch: int) -> None:
        self._cache = cache
        self._function = function
        self._epoch = epoch

    def __call__(self, *args: object) -> object:
        key = self._epoch, msgspec.json.encode(plain(list(args), "an argument of a memoized function"), order="sorted")

        async def populate() -> object:
            results = await self._function(*args)
            return results[0] if len(results) == 1 else list(results) or None

        try:
            return self._cache.peek(key, populate)
        except Pending:
            return self._cache.obtain(key, populate)
