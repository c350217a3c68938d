"""The messages of one request over HTTP, on their way to the disk.

Public: `Made`, `told`, `MAX_BATCH_OCTETS`, `SLICE`.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kumotwist.core.message import Message
from kumotwist.net.ending import in_words

#: One commit covers so many octets of one request. Ours: all of them are in memory until then.
MAX_BATCH_OCTETS: Final = 32 * 1024 * 1024
#: Recipients that are made without letting others have the reactor. Ours: some milliseconds.
SLICE: Final = 50
#: Characters of an error about one recipient. Ours: a client may name a thousand of them.
_MAX_ERROR: Final = 500


@frozen
class Made:
    """A message on its way to the disk: its place in the request and its queue."""

    position: int
    message: Message
    queue: str


def told(error: BaseException) -> str:
    """What the client hears of an error: its first line, in bounds."""
    lines = str(error).strip().splitlines() or [in_words(error)]
    return lines[0][:_MAX_ERROR]
