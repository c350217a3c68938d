"""Segments of a process that was killed become whole files again."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest
import zstandard

from kumotwist.records.repair import mend
from kumotwist.records.segments import SegmentOptions, SegmentWriter, mark_leftovers

NOW = 1795462177.25
#: Lines that do not compress to nothing, enough for several blocks.
CHANCE = random.Random(1)
LINES = [CHANCE.randbytes(CHANCE.randrange(10, 400)).hex().encode() + b"\n" for _ in range(3000)]


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """A segment as kill -9 leaves it, and where its writes ended."""
    directory = tmp_path_factory.mktemp("torn")
    writer = SegmentWriter(directory, "", SegmentOptions(max_size=10**9))
    ends = []
    for start in range(0, len(LINES), 500):
        writer.write(LINES[start : start + 500], NOW)
        (path,) = directory.iterdir()
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    writer.close()
    return content, ends


def mended(path):
    handle = os.open(path, os.O_RDWR)
    try:
        return mend(handle)
    finally:
        os.close(handle)


def read(path):
    """As strict as the command: an error unless the frame is whole."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="Debian's zstd is not installed")
def test_the_start_after_a_kill_makes_a_whole_file(tmp_path, torn):
    """zstdcat prints every line that was written, and has nothing to complain of."""
    content, _ = torn
    path = tmp_path / "20261123-192937.250000"
    path.write_bytes(content)
    assert subprocess.run(["zstdcat", path], capture_output=True).returncode != 0
    mark_leftovers(tmp_path)
    done = subprocess.run(["zstdcat", path], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(LINES)
    assert not path.stat().st_mode & 0o222


def test_a_cut_anywhere_loses_only_what_was_being_written(tmp_path, torn):
    """Power fails at any octet: what earlier writes brought to the disk is read, and mending twice changes nothing."""
    content, ends = torn
    path = tmp_path / "segment"
    cuts = [*range(6, 40), *(end + offset for end in ends for offset in (-5, -1, 0, 1, 2, 3, 4))]
    for cut in (cut for cut in cuts if cut <= len(content)):
        path.write_bytes(content[:cut])
        assert mended(path)
        written = sum(end <= cut for end in ends) * 500
        found = read(path)
        assert found.startswith(b"".join(LINES[:written]))
        assert b"".join(LINES).startswith(found)
        assert not mended(path)


@pytest.mark.parametrize("content", [b"", b"\x28\xb5", b"{}\n" * 100])
def test_what_is_no_segment_is_left_alone(tmp_path, content):
    """Other files in the log directory, and a segment without even a header, stay as they are."""
    path = tmp_path / "other"
    path.write_bytes(content)
    assert not mended(path)
    assert path.read_bytes() == content


def test_frames_with_a_checksum_are_left_alone(tmp_path):
    """An end that would not fit the checksum is worse than none."""
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(b"x" * 1000)
    path = tmp_path / "other"
    path.write_bytes(packed[:-6])
    assert not mended(path)
    assert path.read_bytes() == packed[:-6]
