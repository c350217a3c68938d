"""Log segments: zstd-compressed files that are written once and then marked as done.

A segment is named after the moment it was begun, `YYYYMMDD-HHMMSS.ffffff` in
UTC plus a suffix. Losing its write permission is the sign to readers that it
is complete. While it is being written it is locked, so that another worker
of the same house knows it is not a leftover.

All of this runs on the writer's thread and is given the time.

Public: `SegmentWriter`, `mark_leftovers`. What can go wrong: `OSError` from a
full or failing disk; the segment is given up and the next write begins a new
one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import zstandard
from attrs import define, field, frozen

from kumotwist.records.repair import mend

_MODE: Final = 0o644
_ANY_WRITE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@frozen(kw_only=True)
class SegmentOptions:
    """How segments are named, cut and compressed; `duration` is in seconds, None for no limit."""

    max_size: int
    prefix: str = ""
    duration: float | None = None
    level: int = 0


@define(eq=False)
class _Segment:
    path: Path
    handle: int
    compressor: zstandard.ZstdCompressionObj
    deadline: float | None
    size: int = 0

    def write(self, data: bytes) -> None:
        """Compress and hand to the system, so that a crash of ours loses none of it."""
        packed = self.compressor.compress(data) + self.compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        _write_all(self.handle, packed)
        self.size += len(data)

    def finish(self) -> None:
        try:
            _write_all(self.handle, self.compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
            os.fsync(self.handle)
            _mark(self.handle)
        finally:
            os.close(self.handle)


@define(eq=False)
class SegmentWriter:
    """Writes lines into the segments of one directory and suffix."""

    directory: Path
    suffix: str
    options: SegmentOptions
    header: bytes = b""
    _segment: _Segment | None = field(default=None, init=False)

    @property
    def deadline(self) -> float | None:
        """When the open segment is to be closed at the latest, if there is one and it has an end."""
        return self._segment.deadline if self._segment is not None else None

    def write(self, lines: Sequence[bytes], now: float) -> None:
        """Append `lines`, cutting segments where they become full. Raises OSError."""
        self.expire(now)
        start, segment = 0, self._segment
        while start < len(lines):
            if segment is None:
                segment = self._begin(now)
            end, room = start, self.options.max_size - segment.size
            while end < len(lines) and room > 0:
                room -= len(lines[end])
                end += 1
            self._append(segment, b"".join(lines[start:end]))
            if room <= 0:
                self.close()
                segment = None
            start = end

    def expire(self, now: float) -> None:
        """Close the open segment when its time is over."""
        if self._segment is not None and self._segment.deadline is not None and now >= self._segment.deadline:
            self.close()

    def close(self) -> None:
        """Finish the open segment and mark it as done."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.finish()

    def _begin(self, now: float) -> _Segment:
        path, handle = _create(self.directory, self.options.prefix, self.suffix, now)
        compressor = zstandard.ZstdCompressor(level=self.options.level or 3).compressobj()
        deadline = now + self.options.duration if self.options.duration is not None else None
        self._segment = segment = _Segment(path, handle, compressor, deadline)
        if self.header:
            self._append(segment, self.header)
            segment.size = 0
        return segment

    def _append(self, segment: _Segment, data: bytes) -> None:
        try:
            segment.write(data)
        except OSError:
            # What got through is a readable beginning; the next write starts a fresh file.
            self._segment = None
            os.close(segment.handle)
            _drop_if_empty(segment.path)
            raise


def mark_leftovers(directory: Path) -> None:
    """Mend and mark the segments that an earlier process left behind, except those that a living one writes."""
    for entry in os.scandir(directory):
        if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
            continue
        if not entry.stat(follow_symlinks=False).st_mode & _ANY_WRITE:
            continue
        try:
            handle = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mend(handle)
            _mark(handle)
        except OSError:
            # Locked: alive. Not ours to change: so be it.
            pass
        finally:
            os.close(handle)


def _create(directory: Path, prefix: str, suffix: str, now: float) -> tuple[Path, int]:
    """A new, locked file named after `now`; another worker may have taken the very microsecond."""
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    for _ in range(1000):
        path = directory / f"{prefix}{moment:%Y%m%d-%H%M%S.%f}{suffix}"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _MODE)
        except FileExistsError:
            moment += dt.timedelta(microseconds=1)
            continue
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path, handle
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(directory))


def _drop_if_empty(path: Path) -> None:
    """Take our file away when nothing got into it: tools that read zstd fail at it."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def _mark(handle: int) -> None:
    os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & ~_ANY_WRITE)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
