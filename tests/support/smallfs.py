"""A small file system in memory, for tests of full disks. Needs root and the right to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_file_system(place: Path, mebibytes: int) -> Iterator[Path]:
    """`place`, with a file system of its own; skips the test where nothing may be mounted."""
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root to be mounted")
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], timeout=30, check=True)


def free(place: Path) -> int:
    """Octets that are free."""
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize
