"""The null channel: takes every message and forgets it.

Public: `NullKind`, `NullChannel`, `NullSession`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kumotwist.config.queue import NullProtocol
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Verdict
from kumotwist.core.response import internal
from kumotwist.core.stats import Sample
from kumotwist.egress.services import Services

_DISCARDED: Final = Outcome(Verdict.DELIVERED, internal(200, "discarded"), peer=Peer("null", "0.0.0.0", "null"))


class NullSession:
    """Implements `core.interfaces.Session`."""

    max_batch: int = 1
    min_batch: int = 1
    batch_latency: float = 0.0
    is_connected: bool = True

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """Everything is delivered."""
        return [[_DISCARDED] * len(message.recipients) for message in batch]

    async def close(self) -> None:
        """Nothing to close."""


class NullChannel:
    """Implements `core.interfaces.Channel`."""

    protocol_name: str = "null"
    delivers_at_once: bool = True

    async def site_name(self, domain: str) -> str:
        """The domain itself."""
        return domain

    def open(self, request: OpenRequest) -> NullSession:  # noqa: ARG002
        """A session."""
        return NullSession()


class NullKind:
    """Makes the null channel."""

    options = NullProtocol

    def __init__(self, services: Services) -> None:
        pass

    def make(self, protocol: NullProtocol) -> NullChannel:  # noqa: ARG002
        """The one null channel."""
        return NullChannel()

    def samples(self) -> Sequence[Sample]:
        """No numbers."""
        return ()
