"""Log records: what happened to a message, in the field order that readers rely on.

Made where a thing happens, written by `records`. Times are Unix seconds here
and become RFC 3339 text when encoded.

Public: `RecordType`, `Record`.
"""

from __future__ import annotations

import enum

from attrs import define, field

from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.response import Response


class RecordType(enum.Enum):
    """The types that a record may have; the value is what readers see."""

    RECEPTION = "Reception"
    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    TRANSIENT_FAILURE = "TransientFailure"
    EXPIRATION = "Expiration"
    ADMIN_BOUNCE = "AdminBounce"
    REJECTION = "Rejection"
    DELAYED = "Delayed"


@define(kw_only=True)
class Record:
    """One event in the life of a message.

    `message` is the message concerned, None for a Rejection. `recipients` are
    those the event is about. `queue` and `site` are the scheduled and ready
    queue names, "" when unknown. `attempts` is the count before this attempt.
    `meta` stands in for the message's where there is no message.
    """

    type: RecordType
    event_time: float
    response: Response
    message: Message | None = None
    sender: str = ""
    recipients: tuple[str, ...] = ()
    queue: str = ""
    site: str = ""
    attempts: int = 0
    size: int = 0
    egress_pool: str | None = None
    egress_source: str | None = None
    peer: Peer | None = None
    delivery_protocol: str | None = None
    reception_protocol: str | None = None
    session_id: str | None = None
    provider_name: str | None = None
    remote_id: str | None = None
    parts: int = 1
    meta: JsonObject = field(factory=dict)
