"""Finding the records of one message in the local logs.

All workers of a machine write into the same directories, so whoever is asked
reads what all of them wrote, segments in progress included. The id of a
message tells when it was made: segments that were finished before it are left
alone. What is read at a time is bounded; a search that did not get through
says so.

Public: `LogSearch`, `Found`. What can go wrong: `Overload` when searches wait
already; a segment that cannot be read is left out, and the search is then not
complete.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import zstandard
from attrs import define, field, frozen

from kumotwist.config.records import LocalLogConfig
from kumotwist.core.ids import SpoolId, created_at
from kumotwist.core.json import JsonObject

#: Seconds of reading for one search. Ours: half a gigabyte or so of compressed segments.
PATIENCE: Final = 10.0
#: Records of one message. Ours: twenty retries a day over the longest `max_age` that is in use.
MAX_RECORDS: Final = 1_000
#: Octets that are decompressed at a time.
_PIECE: Final = 1024 * 1024
#: Octets of one line. Ours: a record with every header and a complaint's original message.
_MAX_LINE: Final = 4 * 1024 * 1024
#: Seconds by which the file system's clock may be behind ours.
_SLACK: Final = 2.0
_STAMP: Final = re.compile(r"\d{8}-\d{6}\.\d{6}")


class Threads(Protocol):
    """Where blocking work runs; `net.blocking.BlockingThreads` is one."""

    async def run(self, function: Any, *args: Any) -> Any:
        """The result of `function(*args)`."""
        ...


@frozen
class Found:
    """The records of a message, oldest first; all that the logs have when `is_complete`."""

    records: tuple[JsonObject, ...]
    is_complete: bool


@define(eq=False)
class LogSearch:
    """Searches the directories of all local logs."""

    directories: tuple[Path, ...]
    threads: Threads
    patience: float = field(default=PATIENCE)

    @classmethod
    def of(cls, logs: Iterable[LocalLogConfig], threads: Threads) -> LogSearch:
        """For what the policy configured."""
        found: dict[str, None] = {}
        for one in logs:
            found.update(dict.fromkeys([one.log_dir, *[per.log_dir for per in one.per_record.values() if per.log_dir]]))
        return cls(tuple([Path(name) for name in found]), threads)

    async def records_of(self, spool_id: SpoolId) -> Found:
        """What the logs have about a message. Raises Overload."""
        found: Found = await self.threads.run(self._search, spool_id)
        return found

    def _search(self, spool_id: SpoolId) -> Found:
        deadline = time.monotonic() + self.patience
        wanted = spool_id.hex()
        records: dict[bytes, JsonObject] = {}
        is_complete = True
        for path in self._segments(created_at(spool_id)):
            try:
                for line in _lines_with(path, wanted.encode(), deadline):
                    record = _record(line, wanted)
                    if record is not None:
                        # Two logs may have the same one.
                        records.setdefault(line, record)
            except (OSError, zstandard.ZstdError):
                is_complete = False
            if time.monotonic() > deadline or len(records) > MAX_RECORDS:
                is_complete = False
                break
        in_order = sorted(records.values(), key=lambda record: str(record.get("event_time", "")))
        return Found(tuple(in_order[:MAX_RECORDS]), is_complete)

    def _segments(self, since: float) -> Sequence[Path]:
        """The segments that were written to since then, by the time at which they were begun."""
        found: list[tuple[str, Path]] = []
        for directory in self.directories:
            try:
                entries = list(directory.iterdir())
            except OSError:
                continue
            for path in entries:
                stamp = _STAMP.search(path.name)
                try:
                    if stamp is not None and path.stat().st_mtime >= since - _SLACK:
                        found.append((stamp[0], path))
                except OSError:
                    # It has just been moved away.
                    continue
        return [path for _, path in sorted(found)]


def _lines_with(path: Path, wanted: bytes, deadline: float) -> Iterator[bytes]:
    """The lines of a segment that have `wanted` in them; a segment in progress as far as it is written."""
    rest = b""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        while time.monotonic() <= deadline:
            piece = reader.read(_PIECE)
            data = rest + piece
            end = data.rfind(b"\n") + 1
            yield from _in(data[:end], wanted)
            rest = data[end:] if len(data) - end <= _MAX_LINE else b""
            if not piece:
                return


def _in(lines: bytes, wanted: bytes) -> Iterator[bytes]:
    at = lines.find(wanted)
    while at >= 0:
        end = lines.find(b"\n", at)
        yield lines[lines.rfind(b"\n", 0, at) + 1 : end]
        at = lines.find(wanted, end)


def _record(line: bytes, wanted: str) -> JsonObject | None:
    """The record in a line, if it is about the message and not one that merely names it."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        # A log with a template of its own.
        return None
    return found if isinstance(found, dict) and found.get("id") == wanted else None
