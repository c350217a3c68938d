"""Open files in the hands of a policy.

Public: `AsyncFile`, `open_file`. Each operation runs on a thread; a handler
awaits each, so they run one after another. Nothing is buffered here.
"""

from __future__ import annotations

import os
from typing import Final

from kumotwist.lua.binding import binary, facade, integer, octets, text
from kumotwist.net.blocking import BlockingThreads

#: Octets of one read: larger files are read in several.
MAX_READ: Final = 64 << 20
_CHUNK: Final = 1 << 20
_CREATE: Final = os.O_CREAT | os.O_CLOEXEC
_MODES: Final = {
    "r": os.O_RDONLY | os.O_CLOEXEC,
    "w": os.O_WRONLY | os.O_TRUNC | _CREATE,
    "a": os.O_WRONLY | os.O_APPEND | _CREATE,
    "r+": os.O_RDWR | _CREATE,
    "w+": os.O_RDWR | os.O_TRUNC | _CREATE,
    "a+": os.O_RDWR | os.O_APPEND | _CREATE,
}
_WHENCE: Final = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}
_CLOSED: Final = -1


@facade("async-file", methods=("close", "flush", "read", "seek", "write"))
class AsyncFile:
    """One open file; closed at the latest when the policy has let go of it."""

    def __init__(self, threads: BlockingThreads, descriptor: int) -> None:
        self._threads = threads
        self._descriptor = descriptor

    def __del__(self) -> None:
        if self._descriptor != _CLOSED:
            os.close(self._descriptor)

    async def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            await self._threads.run(os.close, descriptor)

    def flush(self) -> None:
        """Nothing is buffered: what was written is with the system."""

    async def read(self, size: object = None) -> bytes:
        """The next `size` octets, or fewer at the end of the file; without size all that is left."""
        if size is None:
            return await self._threads.run(_read_all, self._open())
        count = integer(size, "size")
        if not 0 <= count <= MAX_READ:
            raise ValueError(f"size must be 0 to {MAX_READ}, got {count}")
        return await self._threads.run(os.read, self._open(), count)

    @binary
    async def write(self, buffer: object) -> None:
        """Write the whole string, which may be binary."""
        await self._threads.run(_write_all, self._open(), octets(buffer, "buffer"))

    async def seek(self, whence: object = None, offset: object = None) -> int:
        """Move to `offset` from `set` (the start), `cur` (here, the default) or `end`; the new position."""
        origin = "cur" if whence is None else text(whence, "whence")
        if origin not in _WHENCE:
            raise ValueError(f"whence must be set, cur or end, got {origin!r}")
        distance = 0 if offset is None else integer(offset, "position")
        return await self._threads.run(os.lseek, self._open(), distance, _WHENCE[origin])

    def _open(self) -> int:
        if self._descriptor == _CLOSED:
            raise ValueError("the file is closed")
        return self._descriptor


async def open_file(threads: BlockingThreads, name: str, mode: str) -> AsyncFile:
    """Open `name`; every mode but `r` makes the file where there is none. Raises OSError, ValueError."""
    flags = _MODES.get(mode.replace("b", "", 1))
    if flags is None:
        raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode!r}")
    return AsyncFile(threads, await threads.run(os.open, name, flags, 0o666))


def _read_all(descriptor: int) -> bytes:
    parts, size = [], 0
    while data := os.read(descriptor, _CHUNK):
        parts.append(data)
        size += len(data)
        if size > MAX_READ:
            raise ValueError(f"more than {MAX_READ} octets are left; read the file in pieces")
    return b"".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
