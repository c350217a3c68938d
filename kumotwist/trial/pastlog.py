"""What local logs tell of messages that have ended: who they were, and where they went.

Segments are read in the order in which they were begun, a piece at a time;
one that is in progress or torn is read as far as it goes. The record that ends
a message has all that there is to know about it, so nothing is kept for later.

Public: `PastLog`, `Ending`, `Place`, `ENDS`. What can go wrong: OSError for a
directory that cannot be read; a line that cannot be is counted, a segment named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from attrs import define, field, frozen

from kumotwist.core.json import JsonObject
from kumotwist.net.ending import in_words

#: Octets that are decompressed at a time.
_PIECE: Final = 1024 * 1024
#: Octets of one line. Ours: a record with every header and a complaint's original message.
_MAX_LINE: Final = 4 * 1024 * 1024
#: What the name of a segment begins with; those of the accounting log do not.
_STAMP: Final = re.compile(r"\d{8}-\d{6}\.\d{6}")
#: Records that end a message, for a recipient at least.
ENDS: Final = frozenset(("Delivery", "Bounce", "Expiration", "AdminBounce"))


@frozen
class Place:
    """Where a message leaves; `table` and `route` are "" without a route table."""

    channel: str
    table: str
    route: str
    source: str

    def __str__(self) -> str:
        way = f" by {self.table}/{self.route}" if self.table else ""
        return f"{self.channel}{way} from {self.source}"

    def is_like(self, other: Place) -> bool:
        """Whether only the table differs, or that there is one."""
        is_named_so = not self.table or not other.table or self.route == other.route
        return is_named_so and (self.channel, self.source) == (other.channel, other.source)


class Ending(msgspec.Struct, gc=False):
    """A record that ends a message, as far as it matters here. Decoding it raises ValidationError."""

    type: str
    id: str = ""
    sender: str = ""
    recipient: str | list[str] = ""
    queue: str = ""
    site: str = ""
    egress_pool: str | None = None
    egress_source: str | None = None
    route_table: str = ""
    route: str = ""
    reception_protocol: str | None = None
    meta: dict[str, Any] = {}
    headers: dict[str, Any] = {}

    @property
    def recipients(self) -> list[str]:
        """The recipients that it is about."""
        return [self.recipient] if isinstance(self.recipient, str) else self.recipient

    @property
    def place(self) -> Place | None:
        """Where it went; None when it ended before it was on its way."""
        _, at, channel = self.site.rpartition("@")
        return Place(channel, self.route_table, self.route, self.egress_source or "") if at else None

    @property
    def origin(self) -> tuple[str, ...]:
        """What chose the place: messages of one origin differ in it by a draw only."""
        pinned = self.meta.get("route")
        if self.route_table:
            return (self.route_table, pinned if isinstance(pinned, str) else "")
        return ("", self.site.rpartition("@")[2], self.egress_pool or "")


@define(eq=False)
class PastLog:
    """The segments of one or more directories, and what could not be read of them."""

    segments: tuple[Path, ...]
    records: Counter[str] = field(factory=Counter)
    segments_read: int = 0
    damaged_lines: int = 0
    #: What could not be read to its end, and why.
    damaged: dict[Path, str] = field(factory=dict)
    has_meta: bool = False
    has_headers: bool = False

    @classmethod
    def of(cls, *directories: Path) -> PastLog:
        """All segments in these. Raises OSError."""
        found = [path for directory in directories for path in directory.iterdir() if _is_segment(path)]
        return cls(tuple(sorted(found, key=lambda path: path.name)))

    def endings(self) -> Iterator[Ending]:
        """The records that end messages, oldest segment first. Blocks."""
        for path in self.segments:
            try:
                for line in _lines(path):
                    ending = self._ending(line)
                    if ending is not None:
                        yield ending
            except EOFError as error:
                self.damaged[path] = str(error)
            except OSError as error:
                self.damaged[path] = error.strerror or in_words(error)
            except zstandard.ZstdError:
                self.damaged[path] = "damaged, or no Zstandard"
            self.segments_read += 1

    def _ending(self, line: bytes) -> Ending | None:
        try:
            found = _decoder.decode(line)
        except (msgspec.DecodeError, RecursionError):
            # Cut, or written by a template.
            self.damaged_lines += 1
            return None
        self.records[found.type if found.type in ENDS or found.type == "Reception" else "other"] += 1
        self.has_meta = self.has_meta or bool(found.meta)
        self.has_headers = self.has_headers or bool(found.headers)
        return found if found.type in ENDS else None

    def facts(self) -> JsonObject:
        """How much was read, by record type."""
        return {"segments": self.segments_read, **dict(sorted(self.records.items()))}


_decoder: Final = msgspec.json.Decoder(Ending)


def _is_segment(path: Path) -> bool:
    return _STAMP.match(path.name) is not None and path.is_file()


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a segment."""
    rest = b""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        while piece := reader.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            yield from filter(None, lines)
            if len(rest) > _MAX_LINE:
                rest = b""
    if rest:
        raise EOFError("ends within a record: cut short, or still being written")
