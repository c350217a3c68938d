"""Sends a large body as fast as the peer takes it, so that little of it waits in buffers.

Public: `BodyFeeder`, `LARGE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from kumotwist.egress.esmtp.transport import StreamTransport

#: Bodies up to here go to the transport in one piece: they fit a socket buffer. Ours.
LARGE: Final = 256 * 1024
#: Octets in one write beyond that: Twisted's own buffer size.
_CHUNK: Final = 64 * 1024


@implementer(IPushProducer)
class BodyFeeder:
    """Feeds `pieces` to `transport`; `on_progress` is called with each write."""

    def __init__(self, transport: StreamTransport, pieces: Sequence[bytes], on_progress: Callable[[], None]) -> None:
        self._transport = transport
        self._chunks = _chunks(pieces)
        self._on_progress = on_progress
        self._is_paused = False
        #: Whether all of it has been given to the transport.
        self.is_finished = False

    def start(self) -> None:
        """Begin."""
        self._transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """The transport has room."""
        self._is_paused = False
        while not self._is_paused and not self.is_finished:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.is_finished = True
                self._transport.unregisterProducer()
            else:
                self._transport.write(chunk)
                self._on_progress()

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._is_paused = True

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._is_paused = True
        self._chunks = iter(())


def _chunks(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _CHUNK):
            yield piece[start : start + _CHUNK]
