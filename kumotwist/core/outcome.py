"""Outcomes: what became of one recipient of one message in one attempt.

A channel's `Session.deliver` returns these; only `queue.settle` acts on them.

Public: `Verdict`, `Scope`, `Peer`, `Outcome`, `SOURCE_REST`.
"""

from __future__ import annotations

import enum
from typing import Final

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
    #: The account that we send through is at fault or has used up its rate: everything
    #: in the ready queue waits until `retry_after` is over, and nothing is charged an attempt.
    SOURCE = "source"


#: Seconds that a source rests when the peer does not say for how long. Ours: short enough
#: that a renewed key is soon in use, long enough that a locked account is left in peace.
SOURCE_REST: Final = 300.0


@frozen
class Peer:
    """Who answered and over what; shared by all outcomes of a session.

    `source_address` is `ip:port` of our end, or of that of the SOCKS5 `proxy` (`host:port`). TLS facts are None in
    clear text.
    `channel` and `account` name whom a receipt about the message will come
    from; None where none comes.
    """

    name: str
    addr: str
    delivery_protocol: str
    source_address: str | None = None
    tls_cipher: str | None = None
    tls_protocol_version: str | None = None
    tls_peer_subject_name: tuple[str, ...] | None = None
    session_id: str | None = None
    channel: str | None = None
    account: str | None = None
    proxy: str | None = None


@frozen
class Outcome:
    """The verdict for one recipient, by position in the message.

    `retry_after` is the peer's wish in seconds; `remote_id` the peer's name
    for the message, when it gave one: of `parts` names, separated by a space,
    when it went in so many. `is_address_dead`: the address (a push token, a
    subscription) is gone for good and should be forgotten by who gave it to
    us. `is_ambiguous`: the peer may have taken it all the same. `reason` is
    the word for it in `requeue_message` and Delayed records, where KumoMTA
    has one. `is_told`: the channel has said so in the diagnostic log.
    """

    verdict: Verdict
    response: Response
    scope: Scope = Scope.RECIPIENT
    peer: Peer | None = None
    retry_after: float | None = None
    remote_id: str | None = field(default=None, kw_only=True)
    parts: int = field(default=1, kw_only=True)
    is_address_dead: bool = field(default=False, kw_only=True)
    is_ambiguous: bool = field(default=False, kw_only=True)
    reason: str | None = field(default=None, kw_only=True)
    is_told: bool = field(default=False, kw_only=True)
