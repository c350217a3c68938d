"""Freed memory is kept for the next body, and given up when asked for."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from kumotwist.service.allocator import give_up_freed_memory, keep_freed_memory
from kumotwist.service.vitals import resident_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep = %(keep)s and keep_freed_memory()
for warm in (True, False):
    before = faults()
    for _ in range(50):
        bodies = [bytes(200 * 1024) for _ in range(20)]
        del bodies
high = resident_memory()
give_up_freed_memory()
print(faults() - before, high - resident_memory(), keep)
"""


def run(keep: bool) -> tuple[int, int, bool]:
    """Page faults of a thousand bodies, octets given up at the end, whether the setting was taken."""
    command = [sys.executable, "-c", PROGRAM % {"keep": keep}]
    faults, given, kept = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(faults), int(given), kept == "True"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_bodies_that_come_and_go_cost_no_page_faults() -> None:
    """A thousand bodies of 200 KiB use the same memory again, which goes back to the system on demand."""
    usual, _, _ = run(keep=False)
    faults, given, kept = run(keep=True)
    assert kept
    assert faults < usual / 4
    assert given > 2 << 20


def test_the_environment_goes_first(monkeypatch) -> None:
    """An operator who sets MALLOC_TRIM_THRESHOLD_ is not overruled."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert run(keep=True)[2] is False
