"""Answers of policy that are kept for a while: pools, sources, refusals.

Each name is asked for once however many wait; an answer lasts as long as it
says, an error for a minute, and both end when the policy is loaded anew, so a
mended policy takes effect at once.

Public: `Answers`, `FAILURE_TTL`. What can go wrong: whatever policy raises,
raised to everybody who asks within that minute.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError

from kumotwist.net.clock import Clock
from kumotwist.net.flight import SingleFlight

#: Seconds that a failure is kept (KumoMTA).
FAILURE_TTL: Final = 60.0

V = TypeVar("V")


class Epochal(Protocol):
    """Something that is loaded anew now and then."""

    @property
    def epoch(self) -> int: ...


@frozen
class _Answer(Generic[V]):
    value: V | None
    error: Exception | None
    until: float
    epoch: int


@define(eq=False)
class Answers(Generic[V]):
    """The answers to one question, by name; the `capacity` most recently used are kept."""

    ask: Callable[[str], Awaitable[V]]
    ttl_of: Callable[[V], float]
    capacity: int
    policy: Epochal
    clock: Clock
    flight: SingleFlight[str, V]
    _kept: OrderedDict[str, _Answer[V]] = field(factory=OrderedDict, init=False)

    def fresh(self, name: str) -> V | None:
        """A kept answer that is fresh, without asking; None when there is none."""
        kept = self._kept.get(name)
        if kept is None or kept.epoch != self.policy.epoch or self.clock.seconds() >= kept.until:
            return None
        return kept.value

    def forget_old(self) -> None:
        """Let go of what an earlier policy said."""
        for name in [name for name, kept in self._kept.items() if kept.epoch != self.policy.epoch]:
            del self._kept[name]

    async def get(self, name: str) -> V:
        """The answer, a kept one if it is fresh. Raises what policy raised."""
        kept = self._kept.get(name)
        if kept is not None and kept.epoch == self.policy.epoch and self.clock.seconds() < kept.until:
            self._kept.move_to_end(name)
            if kept.error is not None:
                raise kept.error.with_traceback(None)
            if kept.value is not None:
                return kept.value
        return await self.flight.run(name, lambda: self._ask(name))

    async def _ask(self, name: str) -> V:
        epoch = self.policy.epoch
        try:
            value = await self.ask(name)
        except CancelledError:
            raise
        except Exception as error:
            self._keep(name, _Answer(None, error, self.clock.seconds() + FAILURE_TTL, epoch))
            raise
        ttl = self.ttl_of(value)
        if ttl > 0:
            self._keep(name, _Answer(value, None, self.clock.seconds() + ttl, epoch))
        else:
            self._kept.pop(name, None)
        return value

    def _keep(self, name: str, answer: _Answer[V]) -> None:
        self._kept[name] = answer
        self._kept.move_to_end(name)
        if len(self._kept) > self.capacity:
            self._kept.popitem(last=False)
