"""How much mail the disks still take, known at every message and not only at every look.

A look (`poll`) reads the file systems; between two looks every message takes
its octets off what the last one found. A disk that fills faster than anyone
looks is so refused before it is full, at any size and rate. When the count
runs out a look is taken at once, so nothing is refused that still fits.

Public: `MinFree`, `Disk`, `DiskSpace`. What can go wrong: other programs that
fill the disk between two looks, and quotas, which no look shows; then a write
fails, and the spool says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from math import inf
from operator import itemgetter
from typing import Final

from attrs import define, field, frozen

from kumotwist.core.errors import SpoolFull
from kumotwist.core.stats import Sample

_SIZE: Final = re.compile(r"([\d_,]+)\s*([kmgt]?i?b?)\Z", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
#: Octets that a message writes beside its body: its record in the spool and two log records,
#: about 1 KiB each as measured, and the blocks that they begin.
OVERHEAD: Final = 4096


@frozen
class MinFree:
    """The least that must be free: a share of the whole, or a number."""

    share: float | None = None
    number: int = 0

    @classmethod
    def parse(cls, text: str | int) -> MinFree:
        """Read `"10%"`, `"500MB"` or a number. Raises ValueError."""
        spec = str(text).strip()
        if spec.endswith("%"):
            share = float(spec[:-1]) / 100
            if not 0 <= share <= 1:
                raise ValueError(f"{text!r} is not a share; write it like '10%'")
            return cls(share)
        match = _SIZE.match(spec)
        if match is None:
            raise ValueError(f"{text!r} is no free space; write it like '10%' or '500MB'")
        return cls(None, int(re.sub("[_,]", "", match[1])) * _FACTORS[match[2].lower().rstrip("b").rstrip("i")])

    def least(self, total: int) -> float:
        """How much of `total` must be free."""
        return self.number if self.share is None else self.share * total

    def is_met(self, free: int, total: int) -> bool:
        """Whether `free` of `total` is enough; file systems without such a count always have enough."""
        return total <= 0 or free >= self.least(total)


def _nothing() -> int:
    return 0


@frozen(eq=False)
class Disk:
    """A directory and what must be free on its file system; `name` is what metrics call it.

    `owed` tells how many octets more the spool needs there for what it has
    taken before: its write buffers and the copies that compaction makes.
    """

    path: str
    space: MinFree = MinFree(0.10)
    inodes: MinFree = MinFree(0.10)
    owed: Callable[[], int] = _nothing
    name: str = ""

    def samples(self) -> Iterable[Sample]:
        """What is free now, by KumoMTA's names; nothing of a file system that does not count it."""
        try:
            stat = os.statvfs(self.path)
        except OSError:
            return
        counted = (
            ("disk_free_bytes", "disk_free_percent", stat.f_bavail, stat.f_blocks, stat.f_frsize),
            ("disk_free_inodes", "disk_free_inodes_percent", stat.f_favail, stat.f_files, 1),
        )
        for name, share, free, total, unit in counted:
            if total > 0:
                yield Sample(name, free * unit, (("name", self.name),))
                yield Sample(share, free * 100 // total, (("name", self.name),))

    def room(self) -> float:
        """Octets that may be written now, not above zero when there are too few; looks at the disk.

        A directory that is not there is the business of whoever writes to it.
        """
        try:
            stat = os.statvfs(self.path)
        except OSError:
            return inf
        if not self.inodes.is_met(stat.f_favail, stat.f_files):
            return 0
        total = stat.f_blocks * stat.f_frsize
        return stat.f_bavail * stat.f_frsize - self.space.least(total) - self.owed() if total > 0 else inf


@define(eq=False)
class DiskSpace:
    """What may be written to all of `disks`, which `sharers` processes like this one write to.

    `make_room` is called when the room gets scarce or a message has none, and may be called often.
    """

    disks: Sequence[Disk] = ()
    sharers: int = 1
    make_room: Callable[[], object] = field(default=_nothing)
    _room: float = field(default=inf, init=False)
    _being_written: int = field(default=0, init=False)
    _scarcest: Disk | None = field(default=None, init=False)
    _has_refused: bool = field(default=False, init=False)

    @property
    def is_full(self) -> bool:
        """Whether not even a small message fits."""
        return self._room <= OVERHEAD

    def samples(self) -> Iterable[Sample]:
        """What is free on each, once for each name."""
        for disk in {disk.name: disk for disk in self.disks}.values():
            yield from disk.samples()

    def poll(self) -> None:
        """Look at the disks."""
        looks = [(disk.room(), disk.owed(), disk) for disk in self.disks]
        room, _, self._scarcest = min(looks, default=(inf, 0, None), key=itemgetter(0))
        # What is on its way to the disk is not seen there yet.
        self._room = room / self.sharers - self._being_written
        # In time: writing out what is owed takes as much room again until the log before it can go.
        if self.is_full or any(owed and room < owed for room, owed, _ in looks):
            self.make_room()

    def take(self, octets: int) -> None:
        """Count a message of so many octets that is about to be written. Raises SpoolFull when it has no room."""
        cost = _cost(octets)
        if cost > self._room:
            self.poll()
            if cost > self._room:
                self._has_refused = True
                # However much is left: deleted mail may hold what this message lacks.
                self.make_room()
                raise SpoolFull("the disk of the spool is too full")
        self._room -= cost
        self._being_written += cost

    def shortage(self) -> str | None:
        """The directory whose disk has no room, or had none for a message since this was last asked; else None."""
        is_short, self._has_refused = self.is_full or self._has_refused, False
        return self._scarcest.path if is_short and self._scarcest is not None else None

    def written(self, octets: int) -> None:
        """A message that was taken is on disk, or will never be."""
        self._being_written -= _cost(octets)

    def may_write(self, octets: int) -> bool:
        """Whether so much that can also wait may be written now; it is counted if so."""
        cost = 2 * octets
        if cost > self._room:
            self.poll()
            if cost > self._room:
                return False
        self._room -= cost
        return True


def _cost(octets: int) -> int:
    """Once in the spool's log, and once more when its write buffers go to tables and the log is still there."""
    return 2 * octets + OVERHEAD
