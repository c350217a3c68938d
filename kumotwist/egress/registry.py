"""All channels by the options of the protocol that a queue names.

The queue manager asks `Channels.channel_for`. A new channel is one module with
an options class, a class like `ChannelKind` and one row in the table of
`egress.protocols`; a channel from elsewhere announces its kind in the entry
point group `kumotwist.egress`.

Public: `Channels`, `ChannelKind`, `ReceivingKind`, `ClosingKind`. A protocol that nobody serves raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, runtime_checkable

from kumotwist.config.queue import Protocol as QueueProtocol
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import Channel, KeyLoader, LuaConnector, ReceiptSink, SmsReceiver
from kumotwist.core.stats import Sample
from kumotwist.egress.protocols import load
from kumotwist.egress.services import NoReceipts, NoSms, Reactor, Services
from kumotwist.net.clock import Clock
from kumotwist.net.dns import Resolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.tasks import Tasks
from kumotwist.net.tls_client import ClientTls

#: Channels kept, one per distinct protocol value; a policy that makes up `mx_list`s has many. Ours.
MAX_CHANNELS: Final = 4096


class ChannelKind(Protocol):
    """A class that makes channels; built once, with `Services`."""

    @property
    def options(self) -> type:
        """The options class of the protocols it serves; its class variable `channel` is the protocol's name."""
        ...

    def make(self, protocol: Any) -> Channel:
        """The channel for a protocol value."""
        ...

    def samples(self) -> Iterable[Sample]:
        """Numbers of its own; the queue counts connections and messages for all."""
        ...


@runtime_checkable
class ReceivingKind(Protocol):
    """A kind whose channels can listen to their provider without sending anything."""

    def receive(self, protocol: Any) -> None:
        """Do so from now on. Raises ConfigError."""
        ...


@runtime_checkable
class ClosingKind(Protocol):
    """A kind that keeps connections beyond sessions."""

    async def close(self) -> None:
        """Close them, within a bound."""
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
        http: HttpTransports,
        tls: ClientTls | None = None,
        receipts: ReceiptSink | None = None,
        sms: SmsReceiver | None = None,
    ) -> None:
        """`hostname` is said in EHLO where nothing else is configured; `tls` trusts the platform's roots by default.

        `receipts` and `sms` take what comes back over a channel's own connections.
        """
        self._tasks = Tasks()
        self._services = Services(
            resolver=resolver,
            keys=keys,
            lua=lua,
            clock=clock,
            reactor=reactor,
            hostname=hostname,
            tls=tls or ClientTls(),
            http=http,
            tasks=self._tasks,
            receipts=receipts or NoReceipts(),
            sms=sms or NoSms(),
        )
        self._kinds: dict[type, ChannelKind] = {}
        self._channels: dict[QueueProtocol, Channel] = {}

    def channel_for(self, protocol: QueueProtocol) -> Channel:
        """The channel for `protocol`; equal protocols share one."""
        channel = self._channels.get(protocol)
        if channel is None:
            channel = self._kind(type(protocol)).make(protocol)
            if len(self._channels) >= MAX_CHANNELS:
                del self._channels[next(iter(self._channels))]
            self._channels[protocol] = channel
        return channel

    def receive(self, protocol: QueueProtocol) -> None:
        """Listen to the provider of `protocol` from now on. Raises ConfigError."""
        kind = self._kind(type(protocol))
        if not isinstance(kind, ReceivingKind):
            raise ConfigError(f"{protocol.channel} does not receive anything")
        kind.receive(protocol)

    async def close(self) -> None:
        """End background work of channels, and close the connections that outlive sessions: binds, and to HTTP APIs."""
        for kind in self._kinds.values():
            if isinstance(kind, ClosingKind):
                await kind.close()
        await self._tasks.close()
        await self._services.http.close()

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
    try:
        kind = load(getattr(options, "channel", ""))
    except KeyError:
        kind = None
    if kind is None or kind.options is not options:
        raise ConfigError(f"no channel delivers by {options.__name__}")
    return kind
