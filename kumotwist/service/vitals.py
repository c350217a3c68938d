"""What this process uses of the machine: memory and processor.

Public: `Vitals` (a `StatSource`), `resident_memory`. The numbers of all
workers are added up; the supervisor, which takes no message, is not counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from kumotwist.core.stats import Sample

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@define(eq=False)
class Vitals:
    """`poll` works out the processor's use since the last look; both functions give seconds."""

    now: Callable[[], float] = time.monotonic
    cpu_time: Callable[[], float] = time.process_time
    _looked: float = field(init=False)
    _used: float = field(init=False)
    _percent: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._looked, self._used = self.now(), self.cpu_time()

    def poll(self) -> None:
        """Look at the clocks; to be called every few seconds."""
        now, used = self.now(), self.cpu_time()
        if now > self._looked:
            self._percent = 100.0 * (used - self._used) / (now - self._looked)
        self._looked, self._used = now, used

    def samples(self) -> Iterable[Sample]:
        """Memory and processor of this process.

        KumoMTA's `memory_usage_rust` is what its allocator has given out. Here
        Python, Lua and RocksDB have an allocator each; what they hold together
        is the anonymous part of resident memory.
        """
        yield Sample("memory_usage", resident_memory())
        yield Sample("memory_usage_rust", _anonymous_memory())
        yield Sample("process_cpu_usage_sum", self._percent)
        yield Sample("process_cpu_usage_normalized", self._percent / (os.cpu_count() or 1))


def resident_memory() -> int:
    """Octets of this process in memory."""
    return _statm()[1] * _PAGE


def _anonymous_memory() -> int:
    """Octets in memory that are no part of a file: heaps and stacks."""
    _, resident, shared, *_ = _statm()
    return (resident - shared) * _PAGE


def _statm() -> list[int]:
    with open("/proc/self/statm", "rb") as statm:
        return [int(number) for number in statm.read().split()]
