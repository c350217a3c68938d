"""Bodies of HTTP forms: url-encoded and multipart.

Public: `url_encoded`, `multipart`, `Part`. treq writes the multipart form;
the body is made whole at once, since the parts are in memory already and a
redirect may want it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast
from urllib.parse import urlencode
from uuid import uuid4

from attrs import field, frozen
from treq.multipart import MultiPartProducer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Cooperator
from twisted.web.iweb import IBodyProducer

from kumotwist.net.httpclientbody import RequestBody

_Field: TypeAlias = str | tuple[str, str, IBodyProducer]


@frozen
class Part:
    """One part: a text field, or data with a content type and perhaps a file name."""

    name: str
    data: str | bytes = field(repr=False)
    file_name: str | None = None
    content_type: str = "application/octet-stream"


def url_encoded(fields: Sequence[tuple[str, str]]) -> bytes:
    """`application/x-www-form-urlencoded` of the fields, in their order."""
    return urlencode(fields).encode("ascii")


def multipart(parts: Sequence[Part]) -> tuple[str, bytes]:
    """The content type, with its boundary, and the body of a `multipart/form-data` form (RFC 7578)."""
    boundary = uuid4().hex
    fields = [(part.name, _value(part)) for part in parts]
    producer = MultiPartProducer(fields, boundary, cast("Cooperator", _AtOnce()))
    pieces = _Pieces()
    producer.startProducing(cast("IConsumer", pieces))
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces.written)


def _value(part: Part) -> _Field:
    if isinstance(part.data, str) and part.file_name is None:
        return part.data
    data = part.data.encode() if isinstance(part.data, str) else part.data
    return part.file_name or "", part.content_type, cast("IBodyProducer", RequestBody(data))


class _Pieces:
    """A consumer that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class _AtOnce:
    """A cooperator that runs the work to its end, and its own task."""

    def cooperate(self, work: Iterator[Deferred[Any] | None]) -> _AtOnce:
        for _ in work:
            pass
        return self

    def whenDone(self) -> Deferred[None]:
        return succeed(None)
