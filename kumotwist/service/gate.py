"""Whether new messages can be taken, and if not, why.

Asked at every connection and every message, so the answer is kept ready:
`poll` looks at memory and disks every few seconds. The texts are KumoMTA's;
they follow "421 4.3.2 <host> " or stand in a 503.

Public: `Gate` (the `Gatekeeper`), `memory_limit`.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from kumotwist.core.stats import Sample
from kumotwist.service.allocator import give_up_freed_memory
from kumotwist.service.diskspace import DiskSpace
from kumotwist.service.vitals import resident_memory

#: Share of the memory limit above which nothing new is taken; KumoMTA's soft limit.
SOFT_LIMIT: Final = 0.75
#: Seconds between two looks at memory and disks.
POLL_INTERVAL: Final = 3.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

log: Final = Logger()


@define(eq=False)
class Gate:
    """Knows whether new messages can be taken."""

    memory_limit: int
    space: DiskSpace = field(factory=DiskSpace)
    is_healthy: Callable[[], bool] = field(default=lambda: True)
    memory_used: Callable[[], int] = resident_memory
    release_memory: Callable[[], object] = give_up_freed_memory
    _is_started: bool = field(default=False, init=False)
    _is_stopping: bool = field(default=False, init=False)
    _is_short: bool = field(default=False, init=False)
    _said: str | None = field(default=None, init=False)

    def refusal(self) -> str | None:
        """Why nothing can be taken now, or None. KumoMTA's order (semantics i.1)."""
        if self._is_stopping:
            return "shutting down"
        if self._is_short:
            return "load shedding"
        if self.space.is_full:
            return "disk is too full"
        if not self._is_started:
            return "waiting for spool startup"
        if not self.is_healthy():
            return "the spool is not accepting writes"
        return None

    def open(self) -> None:
        """The spool is there: messages may come."""
        self._is_started = True

    def shut(self) -> None:
        """The daemon stops: no new messages from now on."""
        self._is_stopping = True

    def poll(self) -> None:
        """Look at memory and disks; memory that is only kept for later is given up before mail is refused."""
        if self._uses_too_much():
            self.release_memory()
            self._is_short = self._uses_too_much()
        else:
            self._is_short = False
        self.space.poll()
        self._tell_operator()

    def _tell_operator(self) -> None:
        directory = self.space.shortage()
        reason = None if directory is None else f"the disk of {directory} is too full"
        if self._is_short:
            reason = f"{self.memory_used() >> 20} MiB of memory are in use, and the limit is {self.memory_limit >> 20}"
        if reason is None and self._said is not None:
            log.info("mail is taken again")
        elif reason is not None and self._said is None:
            log.warn("mail is refused: {reason}", reason=reason)
        self._said = reason

    def _uses_too_much(self) -> bool:
        return self.memory_used() > self.memory_limit * SOFT_LIMIT

    def samples(self) -> Iterable[Sample]:
        """Where load shedding begins, by memory and disk; KumoMTA's `memory_limit` is the soft limit, too."""
        yield Sample("memory_limit", int(self.memory_limit * SOFT_LIMIT))
        yield from self.space.samples()


def memory_limit() -> int:
    """Octets that all our processes may use: the least of control group, rlimit and machine."""
    limits = [os.sysconf("SC_PHYS_PAGES") * _PAGE, *_cgroup_limits()]
    for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def _cgroup_limits() -> Iterable[int]:
    """The limits of every control group above us, versions 1 and 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            base, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            text = _read(directory / name)
            if text.isdecimal():
                yield int(text)
            if directory == base:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
