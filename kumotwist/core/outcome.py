"""Outcomes: what became of one recipient of one message in one attempt.

A channel's `Session.deliver` returns these; only `queue.settle` acts on them.

Public: `Verdict`, `Scope`, `Peer`, `Outcome`.
"""

from __future__ import annotations

import enum

from attrs import field, frozen

from kumotwist.core.response import Response


class Verdict(enum.Enum):
    """What the attempt decided."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


class Scope(enum.Enum):
    """How far the outcome reaches beyond its recipient."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    #: The session is of no more use; later messages need a new connection.
    SESSION = "session"
    #: Everything in the ready queue shares this fate (a null MX, say).
    SITE = "site"


@frozen
class Peer:
    """Who answered and over what; shared by all outcomes of a session.

    `source_address` is `ip:port` of our end. TLS facts are None in clear text.
    """

    name: str
    addr: str
    delivery_protocol: str
    source_address: str | None = None
    tls_cipher: str | None = None
    tls_protocol_version: str | None = None
    tls_peer_subject_name: tuple[str, ...] | None = None
    session_id: str | None = None


@frozen
class Outcome:
    """The verdict for one recipient, by position in the message.

    `retry_after` is the peer's wish in seconds; `remote_id` the peer's name
    for the message, when it gave one.
    """

    verdict: Verdict
    response: Response
    scope: Scope = Scope.RECIPIENT
    peer: Peer | None = None
    retry_after: float | None = None
    remote_id: str | None = field(default=None, kw_only=True)
