"""Open files in the hands of a policy.

Public: `AsyncFile`, `open_file`. Each operation runs on a thread; operations
on one file run one after another, as the handler awaits each.
"""

from __future__ import annotations

import os
from io import BufferedRandom
from typing import Final, cast

from kumotwist.lua.binding import binary, facade, integer, octets, text
from kumotwist.net.blocking import BlockingThreads

#: Octets of one read: larger files are read in several.
MAX_READ: Final = 64 << 20
_MODES: Final = {"r": "rb", "w": "wb", "a": "ab", "r+": "r+b", "w+": "w+b", "a+": "a+b"}
_WHENCE: Final = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}


@facade("async-file", methods=("close", "flush", "read", "seek", "write"))
class AsyncFile:
    """One open file."""

    def __init__(self, threads: BlockingThreads, file: BufferedRandom) -> None:
        self._threads = threads
        self._file = file

    async def close(self) -> None:
        """Write what is buffered and close the file."""
        await self._threads.run(self._file.close)

    async def flush(self) -> None:
        """Write what is buffered."""
        await self._threads.run(self._file.flush)

    async def read(self, size: object = None) -> bytes:
        """The next `size` octets, or fewer at the end of the file; without size all that is left."""
        count = -1 if size is None else integer(size, "size")
        if size is not None and not 0 <= count <= MAX_READ:
            raise ValueError(f"size must be 0 to {MAX_READ}, got {count}")
        return await self._threads.run(_read, self._file, count)

    @binary
    async def write(self, buffer: object) -> None:
        """Write the whole string, which may be binary."""
        await self._threads.run(self._file.write, octets(buffer, "buffer"))

    async def seek(self, whence: object = None, offset: object = None) -> int:
        """Move to `offset` from `set` (the start), `cur` (here, the default) or `end`; the new position."""
        origin = "cur" if whence is None else text(whence, "whence")
        if origin not in _WHENCE:
            raise ValueError(f"whence must be set, cur or end, got {origin!r}")
        distance = 0 if offset is None else integer(offset, "position")
        return await self._threads.run(self._file.seek, distance, _WHENCE[origin])


async def open_file(threads: BlockingThreads, name: str, mode: str) -> AsyncFile:
    """Open `name`; `r+` makes the file where there is none. Raises OSError, ValueError for an unknown mode."""
    known = _MODES.get(mode.replace("b", "", 1))
    if known is None:
        raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode!r}")
    return AsyncFile(threads, await threads.run(_open, name, known))


def _open(name: str, mode: str) -> BufferedRandom:
    if mode == "r+b":
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return cast("BufferedRandom", os.fdopen(os.open(name, flags, 0o666), mode))
    return cast("BufferedRandom", open(name, mode))


def _read(file: BufferedRandom, size: int) -> bytes:
    data = file.read(size if size >= 0 else MAX_READ + 1)
    if len(data) > MAX_READ:
        raise ValueError(f"more than {MAX_READ} octets are left; read the file in pieces")
    return data
