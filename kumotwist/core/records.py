"""Log records: what happened to a message, in the field order that readers rely on.

Made where a thing happens, written by `records`. Times are Unix seconds here
and become RFC 3339 text when encoded.

Public: `RecordType`, `Record`.
"""

from __future__ import annotations

import enum

from attrs import define, field

from kumotwist.core.ids import SpoolId
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptEvent
from kumotwist.core.response import Response
from kumotwist.core.way import Way


class RecordType(enum.Enum):
    """The types that a record may have; the value is what readers see."""

    # Each type is one object. `Enum`'s own hash is a Python function, and a record is looked up by its type
    # four times.
    __hash__ = object.__hash__

    RECEPTION = "Reception"
    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    TRANSIENT_FAILURE = "TransientFailure"
    EXPIRATION = "Expiration"
    ADMIN_BOUNCE = "AdminBounce"
    REJECTION = "Rejection"
    DELAYED = "Delayed"
    #: A report came in by mail that a message which we had handed over was returned (RFC 3464).
    OOB = "OOB"
    #: A complaint came in by mail (RFC 5965); it stands in the place of the Reception record.
    FEEDBACK = "Feedback"
    #: A provider reported what became of a message; not KumoMTA's.
    RECEIPT = "Receipt"
    #: An address (push token, subscription, chat) is gone for good; written after its Bounce. Not KumoMTA's.
    DEAD_ADDRESS = "DeadAddress"
    #: A route of a table got another share, or its breaker opened or closed; about no message. Not KumoMTA's.
    ROUTE_CHANGE = "RouteChange"
    #: A message went on to another stage of its table's fallback, or needs none any more. Not KumoMTA's.
    FALLBACK = "Fallback"


@define(kw_only=True)
class Record:
    """One event in the life of a message.

    `message` is the message concerned, None for a Rejection. `recipients` are
    those the event is about. `queue` and `site` are the scheduled and ready
    queue names, "" when unknown. `attempts` is the count before this attempt.
    Where there is no message any more, `message_id` names it and `meta` stands
    in for its own. `receipt` belongs to a Receipt, `feedback_report` to a
    Feedback record. `way` is there when a route table chose,
    `route_change` in a RouteChange: what, before, after, evidence; `fallback` in
    a Fallback: table, from, to, reason, evidence. A Receipt has `handed_over`,
    in Unix seconds, when its message is known.
    """

    type: RecordType
    event_time: float
    response: Response
    message: Message | None = None
    message_id: SpoolId | None = None
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
    way: Way | None = None
    route_change: JsonObject | None = None
    fallback: JsonObject | None = None
    receipt: ReceiptEvent | None = None
    handed_over: float | None = None
    feedback_report: JsonObject | None = None
    meta: JsonObject = field(factory=dict)
