"""Free space and inodes where the spool and the logs live, for whoever decides about new mail.

Asked often, looks seldom: the file systems are asked again after `INTERVAL`.

Public: `Place`, `SpaceWatch`. What can go wrong: a path that cannot be asked
counts as full, since nothing could be written there either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, field, frozen
from twisted.logger import Logger

from kumotwist.core.stats import Sample
from kumotwist.net.clock import Clock

log: Final = Logger()

#: Seconds between two looks, as KumoMTA does: at 1 GB/s, 5 GB.
INTERVAL: Final = 5.0
#: What KumoMTA says to clients (semantics g.2).
REFUSAL: Final = "disk is too full"


@frozen
class Floor:
    """The least that must be free: a share of the whole, or a count."""

    percent: float | None = None
    count: int = 0

    @classmethod
    def parse(cls, spec: str | int) -> Floor:
        """Read `"10%"` or a number. Raises ValueError."""
        text = str(spec).strip()
        share = text.removesuffix("%").strip()
        try:
            if share != text and 0 <= float(share) <= 100:
                return cls(percent=float(share))
            if share == text and int(text.replace("_", "")) >= 0:
                return cls(count=int(text.replace("_", "")))
        except ValueError:
            pass
        raise ValueError(f"{spec!r} is no amount to keep free; write it like '10%' or 1000000000")

    def is_met(self, free: int, total: int) -> bool:
        """Whether `free` of `total` is enough; a file system that has none of it (inodes, say) is no trouble."""
        if total == 0:
            return True
        return free * 100 >= self.percent * total if self.percent is not None else free >= self.count


@frozen(kw_only=True)
class Place:
    """A path to watch; `name` says in metrics what it is for."""

    name: str
    path: str
    min_free_space: Floor = Floor(percent=10.0)
    min_free_inodes: Floor = Floor(percent=10.0)


@define(eq=False)
class SpaceWatch:
    """Knows whether there is room at all of `places`."""

    places: Sequence[Place]
    clock: Clock
    _looked_at: float = field(default=float("-inf"), init=False)
    _full: Place | None = field(default=None, init=False)

    def refusal(self) -> str | None:
        """Why no mail can be taken, or None."""
        now = self.clock.seconds()
        if not 0 <= now - self._looked_at < INTERVAL:
            self._looked_at = now
            self._look()
        return REFUSAL if self._full is not None else None

    def _look(self) -> None:
        full = next((place for place in self.places if not _has_room(place)), None)
        if full is not None and self._full is None:
            log.error("{path} has too little free space or inodes; no mail is accepted", path=full.path)
        if full is None and self._full is not None:
            log.info("{path} has enough free space again", path=self._full.path)
        self._full = full

    def samples(self) -> Iterable[Sample]:
        """What is free now, by place."""
        for place in self.places:
            try:
                found = os.statvfs(place.path)
            except OSError:
                continue
            label = (("name", place.name),)
            yield Sample("disk_free_bytes", float(found.f_bavail * found.f_frsize), label)
            yield Sample("disk_free_percent", _percent(found.f_bavail, found.f_blocks), label)
            yield Sample("disk_free_inodes", float(found.f_favail), label)
            yield Sample("disk_free_inodes_percent", _percent(found.f_favail, found.f_files), label)


def _has_room(place: Place) -> bool:
    try:
        found = os.statvfs(place.path)
    except OSError as error:
        log.error("cannot see how much is free at {path}: {error}", path=place.path, error=error)
        return False
    space = place.min_free_space.is_met(found.f_bavail, found.f_blocks)
    if place.min_free_space.percent is None:
        space = place.min_free_space.is_met(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return space and place.min_free_inodes.is_met(found.f_favail, found.f_files)


def _percent(free: int, total: int) -> float:
    return round(100.0 * free / total, 2) if total else 100.0
