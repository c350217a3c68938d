"""The record of a receipt: the provider's report, and the facts of the message it is about.

Public: `record_of`, `response_of`.
"""

from __future__ import annotations

import re
from typing import Final

from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import ReceiptEvent, ReceiptState
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import EnhancedCode, Response
from kumotwist.core.way import Way
from kumotwist.records.receipts.matching import Match, bare, recipient_of

#: The reply codes that readers of logs and classifiers know, by state; what is no failure has 250.
_RESPONSES: Final = {
    ReceiptState.FAILED: (550, EnhancedCode(5, 0, 0)),
    # As of a message that expired in our own queue.
    ReceiptState.EXPIRED: (551, EnhancedCode(5, 4, 7)),
    ReceiptState.DEFERRED: (451, EnhancedCode(4, 0, 0)),
}


#: What surely can stand as an address in a message.
_ADDRESS: Final = re.compile(r"[^\s<>@\"(),:;\\]+@[^\s<>@\"(),:;\\]+\Z")


def record_of(event: ReceiptEvent, match: Match | None, now: float) -> Record:
    """The Receipt record; without a match only the event speaks."""
    if match is None:
        return Record(
            type=RecordType.RECEIPT,
            event_time=now,
            response=response_of(event),
            message_id=event.spool_id,
            recipients=(_as_address(event),),
            remote_id=event.remote_id or None,
            receipt=event,
        )
    facts = match.facts
    recipient = recipient_of(facts.recipients, event.recipient)
    return Record(
        type=RecordType.RECEIPT,
        event_time=now,
        response=response_of(event),
        message_id=match.spool_id,
        sender=facts.sender,
        recipients=(recipient,) if recipient is not None else _recipients(event, facts.recipients),
        queue=facts.queue,
        site=facts.site,
        attempts=facts.attempts,
        size=facts.size,
        egress_pool=facts.egress_pool,
        egress_source=facts.egress_source,
        peer=Peer(facts.peer_name, facts.peer_addr, facts.delivery_protocol or "") if facts.peer_addr else None,
        delivery_protocol=facts.delivery_protocol,
        reception_protocol=facts.reception_protocol,
        provider_name=facts.provider_name,
        remote_id=facts.remote_id,
        parts=facts.parts,
        meta=facts.meta,
        way=Way(*facts.way) if facts.way is not None else None,
        receipt=event,
        handed_over=match.handed,
    )


def response_of(event: ReceiptEvent) -> Response:
    """The provider's text with a code by its state."""
    code, enhanced = _RESPONSES.get(event.state, (250, None))
    return Response(code, event.text or event.state.value, enhanced)


def _recipients(event: ReceiptEvent, known: tuple[str, ...]) -> tuple[str, ...]:
    """A message for one went to that one, however the provider spells it; of several we believe the provider."""
    return known if len(known) == 1 or not event.recipient else (_as_address(event),)


def _as_address(event: ReceiptEvent) -> str:
    """Something that has the form of an address, since log hooks make messages with recipients."""
    told = bare(event.recipient)
    if _ADDRESS.match(told):
        return told
    number = told.removeprefix("+").replace(" ", "")
    if number.isascii() and number.isdecimal():
        return f"+{number}@sms"
    return f"unknown@{event.channel}"
