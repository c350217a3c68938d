"""Spool ids: the name a message keeps from acceptance to its last record.

A spool id is a version 1 UUID (RFC 9562 s5.1) held as its 16 bytes, so the
time of creation can be read back out of it and ids sort roughly by age in the
spool. People and machines outside see 32 lower-case hex digits without dashes.

Public: `SpoolId`, `IdGenerator`, `created_at`, `unix_ticks`, `to_hex`, `from_hex`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NewType

SpoolId = NewType("SpoolId", bytes)

#: 100 ns intervals between the Gregorian reform and the Unix epoch, RFC 9562 s5.1.
_GREGORIAN_OFFSET: Final = 0x01B21DD213814000
_TICKS_PER_SECOND: Final = 10_000_000


def to_hex(spool_id: SpoolId) -> str:
    """The printed form: 32 hex digits."""
    return spool_id.hex()


def from_hex(text: str) -> SpoolId:
    """Read the printed form (dashes tolerated).

    Raises ValueError when `text` is not 16 bytes of hex.
    """
    raw = bytes.fromhex(text.replace("-", ""))
    if len(raw) != 16:
        raise ValueError(f"a spool id has 32 hex digits, got {text!r}")
    return SpoolId(raw)


def created_at(spool_id: SpoolId) -> float:
    """Unix seconds at which `spool_id` was made."""
    return unix_ticks(spool_id) / _TICKS_PER_SECOND


def unix_ticks(spool_id: SpoolId) -> int:
    """The same in units of 100 ns; no two ids of a generator have the same."""
    stamp = int.from_bytes(spool_id[:8], "big")
    ticks = (stamp & 0x0FFF) << 48 | (stamp >> 16 & 0xFFFF) << 32 | stamp >> 32
    return ticks - _GREGORIAN_OFFSET


class IdGenerator:
    """Makes ids that are unique on this machine and never repeat in a process.

    The node part is random with the multicast bit set (RFC 9562 s6.10), so
    two workers cannot collide; the tick part only ever grows, also when the
    wall clock steps back.
    """

    __slots__ = ("_last", "_now", "_tail")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` returns Unix seconds."""
        node = bytearray(os.urandom(6))
        node[0] |= 0x01
        sequence = int.from_bytes(os.urandom(2), "big") & 0x3FFF | 0x8000
        self._now = now
        self._last = 0
        self._tail = sequence.to_bytes(2, "big") + bytes(node)

    def __call__(self) -> SpoolId:
        """A new id."""
        ticks = int(self._now() * _TICKS_PER_SECOND) + _GREGORIAN_OFFSET
        if ticks <= self._last:
            ticks = self._last + 1
        self._last = ticks
        stamp = (ticks & 0xFFFFFFFF) << 32 | (ticks >> 32 & 0xFFFF) << 16 | (ticks >> 48) | 0x1000
        return SpoolId(stamp.to_bytes(8, "big") + self._tail)
