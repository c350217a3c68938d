"""Who was in the hands of policy when a process ended: a page of shared memory that outlives it.

While a handler runs for messages that are in the spool, their ids stand in a
file that is mapped into memory: a few octets are copied, nothing is written to
disk, and the kernel keeps the page when the process is killed. The successor
reads it. Only the power going off loses it, and that is no message's fault.

Public: `Witness`, `Note`, `read_notes`, `take_over`. What can go wrong: ConfigError for a directory that cannot be
written; nothing else stops a start.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from kumotwist.core.errors import ConfigError
from kumotwist.core.ids import SpoolId
from kumotwist.core.message import Message

log: Final = Logger()

#: One page. Behind the count and the event it holds 251 ids, more than a usual batch.
_SIZE: Final = 4096
_EVENT: Final = slice(2, 66)
_IDS: Final = 66
_MOST: Final = (_SIZE - _IDS) // 16
_NOBODY: Final = b"\0\0"
_NAME: Final = "in-policy-{}"


@frozen
class Note:
    """What one process was doing when it ended."""

    event: str
    spool_ids: Sequence[SpoolId]


class Witness:
    """Implements `core.interfaces.Witness` for one worker. Before `open` nothing is noted: policy loads first."""

    def __init__(self) -> None:
        self._page: mmap.mmap | bytearray = bytearray(_SIZE)

    def open(self, directory: Path, index: int) -> None:
        """Begin with a clean page in `directory`. Raises OSError."""
        path = directory / _NAME.format(index)
        # A predecessor that still drains keeps its page.
        path.unlink(missing_ok=True)
        with open(path, "wb") as file:
            file.write(bytes(_SIZE))
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), _SIZE)

    def begin(self, event: str, messages: Sequence[Message]) -> None:
        """Policy is about to run for `messages`."""
        page, ids = self._page, b"".join([message.id for message in messages[:_MOST]])
        page[_EVENT] = event.encode()[:64].ljust(64, b"\0")
        page[_IDS : _IDS + len(ids)] = ids
        # Last: what it counts is there.
        page[0:2] = (len(ids) // 16).to_bytes(2, "big")

    def end(self) -> None:
        """It has returned."""
        self._page[0:2] = _NOBODY


def take_over(witness: Witness, directory: Path, index: int, count: int) -> list[Note]:
    """What the processes before us ended with; from now on our own end is witnessed. Raises ConfigError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        notes = read_notes(directory, index, count)
        witness.open(directory, index)
    except OSError as error:
        raise ConfigError(f"--state-dir {directory}: {error.strerror}") from error
    return notes


def read_notes(directory: Path, index: int, count: int) -> list[Note]:
    """What the predecessors of worker `index` of `count` left; the first also reads of those that have no successor."""
    paths = [directory / _NAME.format(index)]
    if index == 0:
        paths += [path for path in directory.glob(_NAME.format("*")) if _number(path) >= count]
    notes = []
    for path in paths:
        try:
            note = _read(path.read_bytes())
            if path != paths[0]:
                path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warn("cannot read {path}: {error}", path=str(path), error=error)
            continue
        if note is not None:
            notes.append(note)
    return notes


def _read(page: bytes) -> Note | None:
    count = int.from_bytes(page[:2], "big")
    if not 0 < count <= _MOST or len(page) < _SIZE:
        return None
    ids = [SpoolId(page[at : at + 16]) for at in range(_IDS, _IDS + 16 * count, 16)]
    return Note(page[_EVENT].rstrip(b"\0").decode(errors="replace"), ids)


def _number(path: Path) -> int:
    tail = path.name.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else -1
