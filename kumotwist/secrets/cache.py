"""Secrets kept in memory so that mail does not wait for Vault, nor stop when Vault does.

A value is fresh for `TTL` (with jitter, so that workers do not ask in step);
after that it is still handed out at once while one refresh runs beside. When
the refresh fails the old value stays in use until `MAX_STALE`. Only "there is
no such secret" takes a value away at once: somebody removed it on purpose.

Public: `SecretCache`. What can go wrong: SecretUnavailable, itself kept for
`NEGATIVE_TTL` so that a flood of mail does not become a flood of reads.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, TypeVar

from attrs import define, field
from twisted.logger import Logger

from kumotwist.core.errors import SecretUnavailable
from kumotwist.core.json import JsonObject
from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight
from kumotwist.net.tasks import Tasks

V = TypeVar("V")

log: Final = Logger()

#: Seconds a value is fresh: KumoMTA reloads TLS and DKIM keys as often.
TTL: Final = 300.0
#: Part of TTL by which it varies.
JITTER: Final = 0.1
#: Seconds a failure is remembered, and between refreshes that fail.
NEGATIVE_TTL: Final = 5.0
#: Seconds between two reads that are asked for because a value was refused: many sessions hear
#: the refusal at once, and one read serves them all.
MIN_REREAD: Final = 1.0
#: Seconds a value may outlive its last refresh: the default `max_age` of a
#: message, after which no mail accepted before the outage is left.
MAX_STALE: Final = 604800.0
#: Secrets kept, the least recently used going first; far above any policy's use.
CAPACITY: Final = 1024


@define(eq=False)
class _Entry:
    value: JsonObject = field(repr=False)
    refresh_at: float
    expires_at: float
    read_at: float


@define(eq=False)
class SecretCache:
    """Values by key, each read by at most one call at a time."""

    clock: Clock
    tasks: Tasks
    ttl: float = TTL
    _entries: OrderedDict[Hashable, _Entry] = field(factory=OrderedDict, init=False, repr=False)
    _failures: OrderedDict[Hashable, tuple[float, SecretUnavailable]] = field(factory=OrderedDict, init=False)
    _flight: SingleFlight[Hashable, JsonObject] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._flight = SingleFlight(self.tasks.spawn, "secret refresh")

    async def get(self, key: Hashable, read: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """The value of `key`, by `read` when there is none; at once when there is. Raises SecretUnavailable."""
        now = self.clock.seconds()
        entry = self._entries.get(key)
        if entry is not None and now < entry.expires_at:
            self._entries.move_to_end(key)
            if now >= entry.refresh_at and not self._flight.is_flying(key):
                entry.refresh_at = now + NEGATIVE_TTL
                self.tasks.spawn("secret refresh", self._refresh(key, read))
            return entry.value
        until, failure = self._failures.get(key, (0.0, None))
        if failure is not None and now < until:
            raise SecretUnavailable(str(failure), failure.permanent)
        return await self._flight.run(key, lambda: self._fetch(key, read))

    def expire(self, key: Hashable) -> None:
        """Have the next `get` wait for a fresh value: the one we have was refused. Not oftener than MIN_REREAD.

        Should the source be out of reach then, the old value is gone: it was of no use.
        """
        entry = self._entries.get(key)
        if entry is not None and self.clock.seconds() - entry.read_at >= MIN_REREAD:
            del self._entries[key]

    async def _refresh(self, key: Hashable, read: Callable[[], Awaitable[JsonObject]]) -> None:
        try:
            await self._flight.run(key, lambda: self._fetch(key, read))
        except SecretUnavailable as error:
            log.warn("a secret could not be refreshed: {error}", error=error)

    async def _fetch(self, key: Hashable, read: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        try:
            value = await read()
        except SecretUnavailable as error:
            if error.permanent:
                self._entries.pop(key, None)
            _keep(self._failures, key, (self.clock.seconds() + NEGATIVE_TTL, error))
            raise
        now = self.clock.seconds()
        fresh = self.ttl * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, protects nothing
        _keep(self._entries, key, _Entry(value, now + fresh, now + max(fresh, MAX_STALE), now))
        self._failures.pop(key, None)
        return value


def _keep(kept: OrderedDict[Hashable, V], key: Hashable, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > CAPACITY:
        kept.popitem(last=False)
