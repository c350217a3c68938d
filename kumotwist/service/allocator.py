"""What malloc does with freed memory: bodies come and go, so it is kept for the next one.

glibc hands the end of its heap back to the system as soon as 128 KiB of it
are free, and asks for it again a moment later; each page then costs a fault
and is filled with zeros. With bodies of 100 KiB that was 42 faults and 150
microseconds per message saved (`tests/bench/spool.py`: 390 against 240 us a
message; 1 KiB bodies are not concerned), and two to four times the faults of a
relay with few sessions. What is kept back is given up when memory is short.

A limit on malloc's arenas was tried, too, and changed nothing.

Public: `keep_freed_memory`, `give_up_freed_memory`. With another C library
than glibc both do nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

# mallopt(3)
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: Octets of freed heap that are kept. Ours: the bodies that are on the wire at a busy moment.
_KEPT: Final = 64 << 20
#: Blocks from this size on are given back at once; the most that glibc allows.
_LARGE: Final = 32 << 20


def keep_freed_memory() -> bool:
    """Set malloc up for a process that moves messages; whether it took it. The environment's MALLOC_* go first."""
    mallopt = _function("mallopt")
    if mallopt is None or "MALLOC_TRIM_THRESHOLD_" in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    return mallopt(_M_MMAP_THRESHOLD, _LARGE) == 1 and mallopt(_M_TRIM_THRESHOLD, _KEPT) == 1


def give_up_freed_memory() -> None:
    """Give what is free back to the system; takes milliseconds."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library is another one."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    found: Callable[..., int] = getattr(library, name)
    return found
