"""All channels by the protocol that a queue names: built-ins from one table, others by entry point.

The queue manager asks `Channels.channel_for`. A new channel is one module with
a class like `ChannelKind` and one row in the table; a channel from elsewhere
announces its class in the entry point group `kumotwist.egress`.

Public: `Channels`, `ChannelKind`. A protocol that nobody serves raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from kumotwist.config import queue
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import Channel, KeyLoader, LuaConnector
from kumotwist.core.stats import Sample
from kumotwist.egress.services import Reactor, Services
from kumotwist.net.clock import Clock
from kumotwist.net.dns import Resolver
from kumotwist.net.tls_client import ClientTls

#: Where each kind of channel is, by the options it is configured with; imported when first needed.
BUILT_IN: Final[dict[type, str]] = {
    queue.SmtpProtocol: "kumotwist.egress.esmtp.channel:EsmtpKind",
    queue.CustomLuaProtocol: "kumotwist.egress.lua:LuaKind",
    queue.MaildirProtocol: "kumotwist.egress.maildir:MaildirKind",
    queue.NullProtocol: "kumotwist.egress.null:NullKind",
}
#: Group of the entry points that announce more of them.
ENTRY_POINTS: Final = "kumotwist.egress"
#: Channels kept, one per distinct protocol value; a policy that makes up `mx_list`s has many. Ours.
MAX_CHANNELS: Final = 4096


class ChannelKind(Protocol):
    """A class that makes channels; built once, with `Services`."""

    @property
    def options(self) -> type:
        """The options class of the protocols it serves."""
        ...

    def make(self, protocol: Any) -> Channel:
        """The channel for a protocol value."""
        ...

    def samples(self) -> Iterable[Sample]:
        """Numbers of its own; the queue counts connections and messages for all."""
        ...


class Channels:
    """Implements `StatSource`."""

    def __init__(
        self,
        resolver: Resolver,
        keys: KeyLoader,
        lua: LuaConnector,
        clock: Clock,
        reactor: Reactor,
        hostname: str,
        tls: ClientTls | None = None,
    ) -> None:
        """`hostname` is said in EHLO where nothing else is configured; `tls` trusts the platform's roots by default."""
        self._services = Services(
            resolver=resolver,
            keys=keys,
            lua=lua,
            clock=clock,
            reactor=reactor,
            hostname=hostname,
            tls=tls or ClientTls(),
        )
        self._kinds: dict[type, ChannelKind] = {}
        self._channels: dict[queue.Protocol, Channel] = {}

    def channel_for(self, protocol: queue.Protocol) -> Channel:
        """The channel for `protocol`; equal protocols share one."""
        channel = self._channels.get(protocol)
        if channel is None:
            channel = self._kind(type(protocol)).make(protocol)
            if len(self._channels) >= MAX_CHANNELS:
                del self._channels[next(iter(self._channels))]
            self._channels[protocol] = channel
        return channel

    def samples(self) -> Iterator[Sample]:
        """Numbers of all kinds that have been used."""
        for kind in self._kinds.values():
            yield from kind.samples()

    def _kind(self, options: type) -> ChannelKind:
        kind = self._kinds.get(options)
        if kind is None:
            kind = self._kinds[options] = _find(options)(self._services)
        return kind


def _find(options: type) -> Any:
    """The class that serves protocols of type `options`."""
    place = BUILT_IN.get(options)
    if place is not None:
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)
    for entry in entry_points(group=ENTRY_POINTS):
        kind = entry.load()
        if kind.options is options:
            return kind
    raise ConfigError(f"no channel delivers by {options.__name__}")
