"""Finding what the logs have of one message."""

import json
import os

import pytest_twisted
from attrs import define

from kumotwist.config.records import LocalLogConfig, RecordOptions
from kumotwist.core.ids import IdGenerator
from kumotwist.records.search import LogSearch
from kumotwist.records.segments import SegmentOptions, SegmentWriter

NOW = 1795462177.25
NEW_ID = IdGenerator(lambda: NOW)


@define
class Inline:
    """Threads that are none."""

    async def run(self, function, *args):
        return function(*args)


def record(spool_id, kind, when, **more):
    line = {"type": kind, "id": spool_id.hex(), "event_time": f"2026-11-23T19:29:{when:02d}.000000000Z", **more}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def write(directory, lines, when=NOW, suffix="", is_finished=True):
    """One segment; its path."""
    directory.mkdir(exist_ok=True)
    before = set(directory.iterdir())
    writer = SegmentWriter(directory, suffix, SegmentOptions(max_size=10**9))
    for line in lines:
        writer.write([line], when)
    if is_finished:
        writer.close()
    (path,) = set(directory.iterdir()) - before
    os.utime(path, (when + 60, when + 60))
    return path, writer


def search(*directories, **options):
    return LogSearch(tuple(directories), Inline(), **options)


@pytest_twisted.ensureDeferred
async def test_what_all_workers_wrote_in_its_order(tmp_path):
    """Several segments, finished and in progress, in several directories: one story."""
    mine, other = NEW_ID(), NEW_ID()
    one = [record(mine, "Reception", 1), record(other, "Reception", 2), record(mine, "TransientFailure", 3)]
    write(tmp_path / "log", one)
    two = [record(mine, "Delivery", 5), record(other, "Delivery", 6, response={"content": f"OK ids={mine.hex()}"})]
    _, writer = write(tmp_path / "log", two, NOW + 1, is_finished=False)
    write(tmp_path / "receipts", [record(mine, "Receipt", 7)], suffix=".receipts")
    found = await search(tmp_path / "log", tmp_path / "receipts", tmp_path / "none").records_of(mine)
    assert [one["type"] for one in found.records] == ["Reception", "TransientFailure", "Delivery", "Receipt"]
    assert found.is_complete
    writer.close()


@pytest_twisted.ensureDeferred
async def test_lines_wherever_they_are_cut(tmp_path):
    """A line may lie across the pieces in which a segment is read."""
    mine = NEW_ID()
    filler = [record(NEW_ID(), "Reception", 1, meta={"x": "y" * 700}) for _ in range(4000)]
    lines = [one for number, line in enumerate(filler) for one in ([record(mine, "Delayed", number % 60), line])]
    write(tmp_path, lines[:3000])
    found = await search(tmp_path).records_of(mine)
    assert len(found.records) == 60, "the same line twice is one record"


@pytest_twisted.ensureDeferred
async def test_segments_from_before_the_message_are_left_alone(tmp_path):
    """A year of logs costs nothing: what was last written before the message was made cannot know it."""
    mine = NEW_ID()
    old, _ = write(tmp_path, [record(mine, "Reception", 1)], NOW - 3600)
    os.utime(old, (NOW - 10, NOW - 10))
    assert (await search(tmp_path).records_of(mine)).records == ()
    os.utime(old, (NOW + 10, NOW + 10))
    assert len((await search(tmp_path).records_of(mine)).records) == 1


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_read(tmp_path):
    """Damaged segments, foreign files and lines of a template do not end the search; it says that it is incomplete."""
    mine = NEW_ID()
    write(tmp_path, [b"Delivery of %s\n" % mine.hex().encode(), record(mine, "Delivery", 1)])
    (tmp_path / "notes.txt").write_text(mine.hex())
    assert (await search(tmp_path).records_of(mine)).is_complete
    (tmp_path / "20261123-192938.000000").write_bytes(b"\x28\xb5\x2f\xfd" + b"damaged" * 100)
    found = await search(tmp_path).records_of(mine)
    assert [one["type"] for one in found.records] == ["Delivery"]
    assert not found.is_complete


@pytest_twisted.ensureDeferred
async def test_a_search_that_takes_too_long(tmp_path):
    """It ends, with what it found, and says that it did not get through."""
    write(tmp_path, [record(NEW_ID(), "Reception", 1)])
    assert not (await search(tmp_path, patience=-1.0).records_of(NEW_ID())).is_complete


def test_every_directory_of_the_policy(tmp_path):
    """Directories of single record types are searched, too."""
    logs = [
        LocalLogConfig(log_dir="/a", per_record={"Receipt": RecordOptions(log_dir="/b"), "Any": RecordOptions()}),
        LocalLogConfig(log_dir="/a"),
    ]
    assert [str(one) for one in LogSearch.of(logs, Inline()).directories] == ["/a", "/b"]
