"""How many connections each worker has, in memory that all of them see.

The workers share one accept queue, and whichever the system happens to run
takes what is there: of twenty connections one worker may get all. A
connection stays where it landed, so that is half the machine lost. Therefore
a worker that has more connections than another leaves a new one to it, for a
moment (`listeners.FairPort`).

Each worker writes its own number and reads the others'; a number that is a
moment old does no harm, so nothing is locked.

Public: `Board` (the supervisor's view), `Seat` (a worker's). Nothing can go
wrong; a worker that is not there counts as full.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

#: Octets of one number.
_SIZE: Final = 4
#: The number of a worker that takes no connections: nobody waits for it.
_ABSENT: Final = (1 << 31) - 1


class Board:
    """The numbers of `workers` processes; `fd` is what another process attaches to."""

    __slots__ = ("_counts", "fd")

    def __init__(self, fd: int, workers: int) -> None:
        self.fd = fd
        self._counts = memoryview(mmap.mmap(fd, workers * _SIZE)).cast("i")

    @classmethod
    def make(cls, workers: int) -> Board:
        """A new one, on which everybody is absent."""
        fd = os.memfd_create("kumotwist-connections")
        os.ftruncate(fd, workers * _SIZE)
        board = cls(fd, workers)
        for index in range(workers):
            board.clear(index)
        return board

    def clear(self, index: int) -> None:
        """Worker `index` is gone."""
        self._counts[index] = _ABSENT

    def write(self, index: int, count: int) -> None:
        """Worker `index` has `count` connections."""
        self._counts[index] = count

    def least(self) -> int:
        """The smallest number."""
        return min(self._counts)


class Seat:
    """One worker's place on `board`; absent until `take`."""

    __slots__ = ("_board", "_count", "_index", "_is_taken")

    def __init__(self, board: Board, index: int) -> None:
        self._board = board
        self._index = index
        self._count = 0
        self._is_taken = False

    @property
    def has_more_than_others(self) -> bool:
        """Whether another worker has fewer connections than we."""
        return self._count > self._board.least()

    def take(self) -> None:
        """We take connections from now on."""
        self._is_taken = True
        self._write()

    def leave(self) -> None:
        """We take no more."""
        self._is_taken = False
        self._board.clear(self._index)

    def opened(self) -> None:
        """One connection more."""
        self._count += 1
        self._write()

    def closed(self) -> None:
        """One less."""
        self._count -= 1
        self._write()

    def _write(self) -> None:
        if self._is_taken:
            self._board.write(self._index, self._count)
