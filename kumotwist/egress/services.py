"""What every channel may use, in one value.

Built once by `egress.registry`. Public: `Services`, `Reactor`, `NoReceipts`, `NoSms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen
from twisted.python.threadpool import ThreadPool

from kumotwist.core.errors import Rejection
from kumotwist.core.interfaces import KeyLoader, LuaConnector, ReceiptSink, SmsReceiver
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.sms import IncomingSms
from kumotwist.net.clock import Clock
from kumotwist.net.dns import Resolver
from kumotwist.net.http import HttpTransports
from kumotwist.net.tasks import Tasks
from kumotwist.net.tls_client import ClientTls


class Reactor(Protocol):
    """The real reactor, as far as channels use it: connections and blocking work."""

    def connectTCP(self, *args: object, **options: object) -> object: ...

    def connectUNIX(self, *args: object, **options: object) -> object: ...

    def getThreadPool(self) -> ThreadPool: ...

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None: ...  # noqa: A002


class NoReceipts:
    """A sink for where nobody keeps a ledger: tools and tests."""

    async def receive(self, events: Sequence[ReceiptEvent]) -> None:
        """Pass them over."""


class NoSms:
    """A receiver for where there is no policy: tools and tests."""

    async def receive(self, sms: IncomingSms) -> None:  # noqa: ARG002
        """Refuse it."""
        raise Rejection(550, "text messages are not taken here")


@frozen(kw_only=True)
class Services:
    """Handed to the maker of each channel. `hostname` is our name where none is configured."""

    resolver: Resolver
    keys: KeyLoader
    lua: LuaConnector
    clock: Clock
    reactor: Reactor
    hostname: str
    tls: ClientTls
    http: HttpTransports
    tasks: Tasks
    receipts: ReceiptSink
    sms: SmsReceiver
