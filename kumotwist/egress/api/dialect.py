"""What a provider's module has to say: how its requests are built and its replies read. All of it is pure.

A session asks `plan` what to send for a batch, lets `authorize` add the
credentials, sends each call, and asks `classify` what the reply means for each
recipient that the call was for.

Public: `Dialect`, `Call`, `Refused`, `Unreadable`, `Target`, `targets_of`, `chunked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import frozen

from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome
from kumotwist.net.http import HttpRequest, HttpResponse

#: A recipient: the message's position in the batch, and its own in the message.
Target: TypeAlias = tuple[int, int]


@frozen
class Call:
    """One request, without credentials, and whom it is for.

    `is_idempotent`: it carries a key by which the provider knows it again, so
    that sending it twice does no harm. `note` is the dialect's own, for `classify`.
    """

    request: HttpRequest
    targets: tuple[Target, ...]
    is_idempotent: bool = False
    note: object = None


@frozen
class Refused:
    """What cannot be sent this way, and what becomes of it."""

    targets: tuple[Target, ...]
    outcome: Outcome


class Unreadable(Exception):
    """A reply that may be a yes, but lacks what says so: nobody knows what became of the message."""


class Dialect(Protocol):
    """One provider as one set of options speaks to it."""

    @property
    def max_batch(self) -> int:
        """The most messages for one `plan`."""
        ...

    def plan(self, batch: Sequence[Message], now: float) -> Sequence[Call | Refused]:
        """What to send, in this order; every recipient is a target once. Bodies are in memory.

        `now` is in Unix seconds.
        """
        ...

    def authorize(self, request: HttpRequest, secrets: Mapping[str, str], now: float) -> HttpRequest:
        """The same request with the credentials in it. Raises ValueError for a secret that cannot stand there."""
        ...

    def classify(self, call: Call, reply: HttpResponse) -> Sequence[Outcome]:
        """What a reply, of whatever status, means: one outcome per target, in their order. Raises Unreadable."""
        ...


def targets_of(batch: Sequence[Message]) -> list[tuple[Target, ...]]:
    """The targets of each message of a batch."""
    return [
        tuple((position, number) for number in range(len(message.recipients))) for position, message in enumerate(batch)
    ]


def chunked(targets: Sequence[Target], most: int) -> list[tuple[Target, ...]]:
    """`targets` in pieces of at most `most`, for providers that bound the recipients of a request."""
    return [tuple(targets[at : at + most]) for at in range(0, len(targets), most)]
