"""Log segments."""

import contextlib
import os
import shutil
import stat
import subprocess

import pytest
import zstandard
from support.smallfs import small_file_system

from kumotwist.records.segments import SegmentOptions, SegmentWriter, mark_leftovers

NOW = 1795462177.25


def read(path):
    with open(path, "rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()


def is_done(path):
    return not path.stat().st_mode & 0o222


def writer(tmp_path, header=b"", suffix="", **options):
    return SegmentWriter(tmp_path, suffix, SegmentOptions(**{"max_size": 10**9, **options}), header)


def test_a_segment_is_named_after_its_begin_and_done_when_closed(tmp_path):
    """Readers see by the permissions that a segment is complete."""
    one = writer(tmp_path, suffix=".bounce")
    one.write([b"a\n", b"b\n"], NOW)
    one.write([b"c\n"], NOW + 5)
    (path,) = tmp_path.iterdir()
    assert path.name == "20261123-192937.250000.bounce"
    assert not is_done(path)
    one.close()
    assert is_done(path)
    assert read(path) == b"a\nb\nc\n"
    one.close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="Debian's zstd is not installed")
def test_the_zstd_command_reads_segments_finished_or_not(tmp_path):
    """`zstdcat` shows what was logged so far, also after a crash."""
    one = writer(tmp_path)
    one.write([b"line %d\n" % number for number in range(1000)], NOW)
    (path,) = tmp_path.iterdir()
    expected = b"".join(b"line %d\n" % number for number in range(1000))
    assert subprocess.run(["zstd", "-dc", path], capture_output=True).stdout == expected
    one.close()
    done = subprocess.run(["zstd", "-dc", path], capture_output=True)
    assert (done.returncode, done.stdout) == (0, expected)


def test_segments_are_cut_at_a_record_when_full(tmp_path):
    """No record is torn; a record larger than a segment has one of its own."""
    one = writer(tmp_path, header=b"#head\n", max_size=10)
    lines = [b"1234\n", b"5678\n", b"90\n", b"x" * 30 + b"\n", b"end\n"]
    one.write(lines, NOW)
    one.close()
    parts = [read(path) for path in sorted(tmp_path.iterdir())]
    assert parts == [b"#head\n1234\n5678\n", b"#head\n90\n" + b"x" * 30 + b"\n", b"#head\nend\n"]
    assert all(is_done(path) for path in tmp_path.iterdir())


def test_segments_end_at_their_time(tmp_path):
    """After max_segment_duration the next record begins a new segment."""
    one = writer(tmp_path, duration=60.0)
    assert one.deadline is None
    one.write([b"a\n"], NOW)
    assert one.deadline == NOW + 60
    one.expire(NOW + 59)
    one.write([b"b\n"], NOW + 59)
    one.write([b"c\n"], NOW + 60)
    one.expire(NOW + 120)
    assert one.deadline is None
    assert [read(path) for path in sorted(tmp_path.iterdir())] == [b"a\nb\n", b"c\n"]


def test_two_writers_never_share_a_segment(tmp_path):
    """Workers that begin a segment in the same microsecond write different files."""
    writers = [writer(tmp_path) for _ in range(3)]
    for number, one in enumerate(writers):
        one.write([b"%d\n" % number], NOW)
    for one in writers:
        one.close()
    assert sorted(read(path) for path in tmp_path.iterdir()) == [b"0\n", b"1\n", b"2\n"]


def test_leftovers_are_marked_but_not_what_a_living_worker_writes(tmp_path):
    """After a crash readers get the torn segment; a neighbour's open one stays open."""
    living = writer(tmp_path, suffix=".living")
    living.write([b"a\n"], NOW)
    (tmp_path / "torn").write_bytes(b"x")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    mark_leftovers(tmp_path)
    modes = {path.name: bool(path.stat().st_mode & stat.S_IWUSR) for path in tmp_path.iterdir()}
    assert modes == {"20261123-192937.250000.living": True, "torn": False, ".hidden": True, "directory": True}
    living.close()


def test_a_disk_that_fails_loses_a_block_and_no_more(tmp_path, monkeypatch):
    """After an error the next block goes to a fresh segment."""
    one = writer(tmp_path)
    one.write([b"a\n"], NOW)
    os.close(one._segment.handle)
    one._segment.handle = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        one.write([b"lost\n"], NOW)
    one.write([b"b\n"], NOW + 1)
    one.close()
    first, second = sorted(tmp_path.iterdir())
    assert read(first) == b"a\n"
    assert read(second) == b"b\n"


@pytest.mark.privileged
def test_a_full_disk_leaves_no_empty_segment(tmp_path):
    """`zstdcat` fails at a file without content, so none stays behind."""
    with small_file_system(tmp_path / "disk", 1) as disk:
        with open(disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        one = writer(disk)
        with pytest.raises(OSError, match="No space left"):
            one.write([b"lost\n"], NOW)
        (disk / "filler").unlink()
        one.write([b"kept\n"], NOW + 1)
        one.close()
        (path,) = disk.glob("2*")
        assert read(path) == b"kept\n"
