"""When a disk takes no more mail: counted between two looks, and looked at again when the count runs out."""

from __future__ import annotations

import math

import pytest
from attrs import define, field

from kumotwist.core.errors import SpoolFull
from kumotwist.service.diskspace import OVERHEAD, DiskSpace

KIB = 1024


@define(eq=False)
class CountedDisk:
    """A disk of so many free octets, which are told as they are looked at."""

    free: float
    debt: int = 0
    looks: list[float] = field(factory=list)

    def room(self) -> float:
        self.looks.append(self.free)
        return self.free - self.debt

    def owed(self) -> int:
        return self.debt


def test_mail_that_comes_between_two_looks_is_counted() -> None:
    """A burst is refused before the disk is full, however fast it comes."""
    disk = CountedDisk(2000 * KIB)
    space = DiskSpace([disk])
    space.poll()
    for _ in range(10):
        space.take(98 * KIB)
    with pytest.raises(SpoolFull):
        space.take(96 * KIB)
    assert disk.looks == [2000 * KIB] * 2


def test_nothing_is_refused_that_still_fits() -> None:
    """When the count runs out the disk is looked at again: it may have been emptied meanwhile."""
    disk = CountedDisk(200 * KIB)
    space = DiskSpace([disk])
    space.poll()
    space.take(90 * KIB)
    space.written(90 * KIB)
    space.take(90 * KIB)
    assert not space.is_full
    disk.free = 10 * KIB
    space.written(90 * KIB)
    with pytest.raises(SpoolFull):
        space.take(90 * KIB)
    space.take(2 * KIB)
    space.poll()
    assert space.is_full
    disk.free = 200 * KIB
    space.poll()
    assert not space.is_full


def test_what_is_on_its_way_to_the_disk_is_counted_twice_by_nobody() -> None:
    """A look does not see what is being written; it is taken off until it has been."""
    disk = CountedDisk(200 * KIB)
    space = DiskSpace([disk])
    space.poll()
    space.take(60 * KIB)
    with pytest.raises(SpoolFull):
        space.take(60 * KIB)
    space.written(60 * KIB)
    space.take(60 * KIB)


def test_several_processes_share_a_disk() -> None:
    """Four workers that take mail at once do not take more than there is."""
    spaces = [DiskSpace([CountedDisk(400 * KIB)], sharers=4) for _ in range(4)]
    for space in spaces:
        space.poll()
        space.take(50 * KIB - OVERHEAD)
        with pytest.raises(SpoolFull):
            space.take(1)


def test_room_is_made_before_it_is_needed() -> None:
    """Write buffers are written out while there is room for that, so that their log can go."""
    made: list[bool] = []
    disk = CountedDisk(100 * KIB, 30 * KIB)
    space = DiskSpace([disk], make_room=lambda: made.append(True))
    space.poll()
    assert not made
    disk.debt = 60 * KIB
    space.poll()
    assert made == [True]


def test_room_is_made_for_a_message_that_has_none() -> None:
    """Mail that has left frees its disk also where the spool owes it little, and a large message lacks much."""
    made: list[bool] = []
    disk = CountedDisk(100 * KIB, 1)
    space = DiskSpace([disk], make_room=lambda: made.append(True))
    space.poll()
    assert not made
    with pytest.raises(SpoolFull):
        space.take(60 * KIB)
    assert made
    made.clear()
    disk.free = OVERHEAD
    space.poll()
    assert made


def test_without_disks_there_is_room() -> None:
    """A daemon that knows of no disk refuses nothing."""
    space = DiskSpace()
    space.poll()
    space.take(1 << 40)
    assert space._room == math.inf
