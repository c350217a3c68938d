"""`kumo.uuid`: RFC 9562 identifiers.

Those that hold a time come from the worker's generator of spool ids: the next
one of a worker is always greater, and no two workers make the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID, uuid4

from attrs import frozen

from kumotwist.core.ids import SpoolId, unix_ticks
from kumotwist.lua.binding import Function, facade, text

#: Spool ids count 100 ns, UUIDs of version 7 milliseconds (RFC 9562 s5.7).
_TICKS_PER_MILLISECOND: Final = 10_000
#: Bits that hold the ticks within a millisecond: 12 of `rand_a` and the first two of `rand_b`.
_TICK_BITS: Final = 14
_RANDOM_BITS: Final = 60


@facade(
    "uuid",
    fields=("bytes", "hyphenated", "simple", "braced", "urn"),
    meta={"__tostring": "text", "__eq": "equals"},
)
@frozen
class Uuid:
    """One identifier and its spellings."""

    value: UUID

    @property
    def bytes(self) -> bytes:
        """The 16 bytes."""
        return self.value.bytes

    @property
    def hyphenated(self) -> str:
        """`69994630-3e27-11ef-91fc-cc28aa0a5c5a`."""
        return str(self.value)

    @property
    def simple(self) -> str:
        """32 hex digits."""
        return self.value.hex

    @property
    def braced(self) -> str:
        """`{69994630-3e27-11ef-91fc-cc28aa0a5c5a}`."""
        return f"{{{self.value}}}"

    @property
    def urn(self) -> str:
        """`urn:uuid:69994630-3e27-11ef-91fc-cc28aa0a5c5a`."""
        return self.value.urn

    def text(self) -> str:
        """The hyphenated form."""
        return self.hyphenated

    def equals(self, other: object) -> bool:
        """Whether both are the same identifier."""
        return isinstance(other, Uuid) and self.value == other.value


class UuidLibrary:
    """The functions of `kumo.uuid`; `ids` makes version 1 ids that differ between workers."""

    namespace = "uuid"

    def __init__(self, ids: Callable[[], SpoolId]) -> None:
        self._ids = ids

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        names = ("new_v1", "new_v4", "new_v6", "new_v7", "parse")
        return {name: getattr(self, name) for name in names}

    def new_v1(self) -> Uuid:
        """A new time-based identifier."""
        return Uuid(UUID(bytes=self._ids()))

    def new_v4(self) -> Uuid:
        """A new random identifier."""
        return Uuid(uuid4())

    def new_v6(self) -> Uuid:
        """A new time-based identifier that sorts by its time."""
        stamp = UUID(bytes=self._ids())
        time = stamp.time
        high = time >> 12 << 16 | 0x6000 | time & 0x0FFF
        return Uuid(UUID(int=high << 64 | stamp.int & 0xFFFF_FFFF_FFFF_FFFF))

    def new_v7(self) -> Uuid:
        """A new identifier that sorts by its Unix time, else random."""
        milliseconds, ticks = divmod(unix_ticks(self._ids()), _TICKS_PER_MILLISECOND)
        random = int.from_bytes(os.urandom(8), "big") >> (64 - _RANDOM_BITS)
        ticks_high, ticks_low = divmod(ticks, 1 << (_TICK_BITS - 12))
        high = milliseconds << 16 | 0x7000 | ticks_high
        return Uuid(UUID(int=high << 64 | 0x2 << 62 | ticks_low << _RANDOM_BITS | random))

    def parse(self, string: object) -> Uuid:
        """The identifier in a string: hyphenated, simple, braced or a URN."""
        source = text(string, "uuid")
        try:
            return Uuid(UUID(source))
        except ValueError:
            raise ValueError(f"not a UUID: {source!r}") from None
