"""The shards of a spool: fixed directories, each claimed by one process at a time.

A spool directory has `shard-00` to `shard-15`. Worker `k` of `n` claims shard
`k` and every nth after it, writes new messages to the first and serves what
lies in the rest, so `n` may change between two starts without moving a
message. A claim is a `flock` on `shard-NN.lock`: the kernel drops it with the
process, however that ends.

Public: `SHARDS`, `shards_of`, `shard_path`, `Claims`, `SpoolInUse`. What can
go wrong: `SpoolInUse` when another process holds a shard, which may pass;
`ConfigError` when the directory cannot be used, or when it was made by a
version with other shards.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from kumotwist.core.errors import ConfigError

#: Shards in a spool. Fixed for its life, so it bounds the workers: ours, four times a common core count.
SHARDS: Final = 16

_FORMAT_FILE: Final = "format"
_FORMAT: Final = f"kumotwist spool 1, {SHARDS} shards\n"


class SpoolInUse(ConfigError):
    """Another process holds a shard; the text says which."""


def shards_of(worker: int, workers: int) -> tuple[int, ...]:
    """The shards of worker number `worker` (from 0) of `workers`; never none, never shared.

    Raises ConfigError when there are more workers than shards.
    """
    if not 1 <= workers <= SHARDS:
        raise ConfigError(f"the spool has {SHARDS} shards, so there can be 1 to {SHARDS} workers, not {workers}")
    return tuple(range(worker, SHARDS, workers))


def shard_path(directory: Path, shard: int) -> Path:
    """Where shard number `shard` lives."""
    return directory / f"shard-{shard:02d}"


def sync_directory(directory: Path) -> None:
    """Make names made in `directory` last."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@define(eq=False)
class Claims:
    """The shards that this process holds."""

    directory: Path
    _handles: list[int] = field(factory=list, init=False)

    def take(self, shards: Sequence[int]) -> None:
        """Claim all of `shards`, or none. Raises SpoolInUse naming who holds one, and ConfigError."""
        try:
            # Other people's mail: for nobody's eyes but ours, as with other mail servers' queues.
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_format(self.directory)
            for shard in shards:
                self._handles.append(_lock(self.directory / f"shard-{shard:02d}.lock"))
        except OSError as error:
            self.release()
            raise ConfigError(f"cannot use the spool {self.directory}: {error.strerror or error}") from error
        except ConfigError:
            self.release()
            raise

    def release(self) -> None:
        """Let go of all."""
        handles, self._handles = self._handles, []
        for handle in handles:
            os.close(handle)


def _check_format(directory: Path) -> None:
    path = directory / _FORMAT_FILE
    try:
        found = path.read_text()
    except FileNotFoundError:
        fresh = directory / f"{_FORMAT_FILE}.{os.getpid()}"
        fresh.write_text(_FORMAT)
        fresh.replace(path)
        sync_directory(directory)
        return
    if found != _FORMAT:
        raise ConfigError(f"{path} says {found.strip()!r}, this version knows {_FORMAT.strip()!r}")


def _lock(path: Path) -> int:
    """An open, locked handle whose file names our process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise SpoolInUse(f"the spool is in use: {path} is held by process {holder}") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, b"%d\n" % os.getpid(), 0)
    return handle
