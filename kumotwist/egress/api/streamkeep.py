"""HTTP/2 connections between sessions: who hangs up after every batch is taken for an attacker by Apple.

A session takes a connection from here and gives it back; what nobody takes for
a while is closed. Sessions, and with them the limits of paths, come and go as
the queue likes.

Public: `StreamKeep`. What can go wrong: HttpError when a new connection cannot be had.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import DeferredList

from kumotwist.egress.services import Services
from kumotwist.net.clock import DelayedCall
from kumotwist.net.http2 import Http2Settings
from kumotwist.net.http2connect import Destination, TlsHttp2Connection, connect

#: Seconds that a connection is kept without use. Ours: Apple asks to keep them, a PING shows that they live.
IDLE: Final = 600.0
#: Idle connections that are kept for a destination. Ours: a few carry whatever a worker can send.
MAX_IDLE: Final = 4

_Place: TypeAlias = tuple[Destination, Http2Settings]


@define(eq=False)
class _Kept:
    connection: TlsHttp2Connection
    expiry: DelayedCall


@define(eq=False)
class StreamKeep:
    """The idle connections of all channels of a kind."""

    services: Services
    _idle: dict[_Place, list[_Kept]] = field(factory=dict, init=False)
    _is_closed: bool = field(default=False, init=False)

    async def take(self, destination: Destination, settings: Http2Settings) -> TlsHttp2Connection:
        """A kept connection, the one used last, or a new one. Raises HttpError; may be cancelled."""
        kept = self._idle.get((destination, settings), [])
        while kept:
            one = kept.pop()
            one.expiry.cancel()
            if one.connection.is_usable:
                return one.connection
        services = self.services
        return await connect(services.reactor, services.clock, services.tls, destination, settings)

    def give_back(self, connection: TlsHttp2Connection, destination: Destination, settings: Http2Settings) -> bool:
        """Whether it is kept; otherwise the session closes it."""
        kept = self._idle.setdefault((destination, settings), [])
        if self._is_closed or not connection.is_quiet or len(kept) >= MAX_IDLE:
            return False
        one = _Kept(connection, self.services.clock.callLater(IDLE, connection.close))
        kept.append(one)
        connection.closed.addCallback(self._forget, kept, one)
        return True

    async def close(self) -> None:
        """Close them all, within `net.http2.FAREWELL`."""
        self._is_closed = True
        idle = [one.connection for kept in self._idle.values() for one in kept]
        await DeferredList([connection.close() for connection in idle])

    def _forget(self, _: None, kept: list[_Kept], one: _Kept) -> None:
        """The connection is gone."""
        if one in kept:
            kept.remove(one)
        if one.expiry.active():
            one.expiry.cancel()
