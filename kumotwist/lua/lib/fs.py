"""`kumo.fs`: files and directories, on threads so that a slow disk holds up nobody else."""

from __future__ import annotations

import glob
import itertools
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kumotwist.lua.binding import Function, duration, text
from kumotwist.lua.lib.asyncfile import AsyncFile, open_file
from kumotwist.net.blocking import BlockingThreads
from kumotwist.net.clock import Clock

#: Names that one glob or directory may have.
MAX_NAMES: Final = 100_000
#: Seconds that a glob's result is kept, KumoMTA's default; and results kept.
GLOB_TTL: Final = 60.0
MAX_GLOBS: Final = 256


class FsLibrary:
    """The functions of `kumo.fs`."""

    namespace = "fs"

    def __init__(self, threads: BlockingThreads, clock: Clock) -> None:
        self._threads = threads
        self._clock = clock
        self._globs: OrderedDict[tuple[str, str], tuple[float, Sequence[str]]] = OrderedDict()

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"glob": self.glob, "open": self.open, "read_dir": self.read_dir}

    async def glob(self, pattern: object, relative_to: object = None, ttl_seconds: object = None) -> Sequence[str]:
        """The absolute names that match, or names below `relative_to`; kept for `ttl_seconds`, 60 by default."""
        key = (text(pattern, "pattern"), "" if relative_to is None else text(relative_to, "relative_to"))
        ttl = GLOB_TTL if ttl_seconds is None else duration(ttl_seconds, "ttl_seconds")
        now = self._clock.seconds()
        until, names = self._globs.get(key, (0.0, ()))
        if now < until:
            return names
        found = await self._threads.run(_glob, *key)
        self._globs[key] = (now + ttl, found)
        self._globs.move_to_end(key)
        if len(self._globs) > MAX_GLOBS:
            self._globs.popitem(last=False)
        return found

    async def open(self, filename: object, mode: object = None) -> AsyncFile:
        """An open file, for mode `r`, `w`, `a`, `r+`, `w+` or `a+`; `b` may be added."""
        name = text(filename, "filename")
        return await open_file(self._threads, name, "r" if mode is None else text(mode, "mode"))

    async def read_dir(self, path: object) -> Sequence[str]:
        """The absolute names of all that is in a directory."""
        return await self._threads.run(_read_dir, text(path, "path"))


class FsAliases:
    """The names that these functions had before `kumo.fs`, in `kumo` itself."""

    namespace = ""

    def __init__(self, files: FsLibrary) -> None:
        self._files = files

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"glob": self._files.glob, "read_dir": self._files.read_dir}


def _glob(pattern: str, relative_to: str) -> Sequence[str]:
    """Directories that are missing or closed to us are passed over, as KumoMTA does."""
    base = os.path.join(os.path.abspath(relative_to), "") if relative_to else ""
    matches = itertools.islice(glob.iglob(os.path.abspath(pattern), recursive=True), MAX_NAMES + 1)
    return sorted(_name.removeprefix(base) for _name in _checked(matches, pattern))


def _read_dir(path: str) -> Sequence[str]:
    directory = os.path.abspath(path)
    with os.scandir(directory) as entries:
        names = itertools.islice((os.path.join(directory, entry.name) for entry in entries), MAX_NAMES + 1)
        return sorted(_checked(names, path))


def _checked(names: Iterable[str], where: str) -> Sequence[str]:
    """The names, when they are not too many and all UTF-8. Raises ValueError."""
    found = list(names)
    if len(found) > MAX_NAMES:
        raise ValueError(f"{where}: more than {MAX_NAMES} names")
    for name in found:
        if not name.isascii() and "\udc80" <= max(name) <= "\udcff":
            raise ValueError(f"{where}: a name is not UTF-8: {name.encode('utf-8', 'surrogateescape')!r}")
    return found
