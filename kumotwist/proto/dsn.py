"""Delivery status notifications (RFC 3464): mail that says what became of mail.

Public: `parse`, `to_object`, `DeliveryReport`, `RecipientReport`. Nothing goes wrong: what is
no such report is None, and a recipient that cannot be read is left out.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from kumotwist.core.json import JsonObject
from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import EnhancedCode, Response
from kumotwist.proto.mime.tree import Node, TooComplex
from kumotwist.proto.mime.tree import parse as parse_tree
from kumotwist.proto.reportfields import REPORT, Block, blocks, original_text, returned

_PARTS: Final = frozenset(("message/delivery-status", "message/global-delivery-status"))
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_REPLY: Final = re.compile(r"([2-5]\d\d)(?:[ \-]|\Z)")
_OF_MESSAGE: Final = frozenset(
    ("original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date")
)
_OF_RECIPIENT: Final = frozenset(
    (
        *("final-recipient", "original-recipient", "action", "status", "remote-mta", "diagnostic-code"),
        *("last-attempt-date", "final-log-id", "will-retry-until"),
    )
)
#: KumoMTA's code for a report without an SMTP reply.
_NO_REPLY: Final = 550


@frozen
class RecipientReport:
    """What became of one recipient; `action` is failed, delayed, delivered, relayed or expanded."""

    recipient: str
    action: str
    response: Response
    last_attempt: float | None


@frozen
class DeliveryReport:
    """One notification; `original` is the message that it returns, or its headers."""

    reporting_mta: str
    recipients: tuple[RecipientReport, ...]
    original: bytes | None = field(default=None, repr=False)

    @property
    def failed(self) -> tuple[RecipientReport, ...]:
        """The recipients that will not get the message."""
        return tuple([one for one in self.recipients if one.action == "failed"])


def parse(message: bytes) -> DeliveryReport | None:
    """The notification in a message, if it is one."""
    found = _read(message)
    if found is None:
        return None
    about_message, about_recipients, report = found
    recipients = [_recipient(block) for block in about_recipients]
    reporting_mta = about_message.typed("reporting-mta")[1]
    return DeliveryReport(reporting_mta, tuple([one for one in recipients if one.recipient]), returned(report))


def to_object(message: bytes) -> JsonObject | None:
    """The notification in a message with all that it says, as KumoMTA names it, if it is one."""
    found = _read(message)
    if found is None:
        return None
    about_message, about_recipients, report = found
    return {
        "per_message": {
            "original_envelope_id": about_message.first("original-envelope-id") or None,
            "reporting_mta": _mta(about_message, "reporting-mta"),
            "dsn_gateway": _mta(about_message, "dsn-gateway"),
            "received_from_mta": _mta(about_message, "received-from-mta"),
            "arrival_date": about_message.date("arrival-date"),
            "extensions": about_message.extensions(_OF_MESSAGE | _OF_RECIPIENT),
        },
        "per_recipient": [_recipient_object(block) for block in about_recipients],
        "original_message": original_text(returned(report)),
    }


def _read(message: bytes) -> tuple[Block, list[Block], Node] | None:
    """The block about the message, those about recipients, and the tree of it all."""
    try:
        report = parse_tree(message)
    except TooComplex:
        return None
    if report.kind != REPORT:
        return None
    part = next((one for one in report.children if one.kind in _PARTS), None)
    if part is None:
        return None
    about_message, *about_recipients = blocks(part)
    if "final-recipient" in about_message.values:
        # Some leave the empty line out where there is one recipient.
        about_recipients.insert(0, about_message)
    return about_message, [block for block in about_recipients if "action" in block.values], report


def _recipient_object(block: Block) -> JsonObject:
    status = _STATUS.match(block.first("status"))
    return {
        "final_recipient": _typed(block, "final-recipient", "recipient_type", "recipient"),
        "action": _action(block),
        "status": _status_object(status) if status is not None else None,
        "original_recipient": _typed(block, "original-recipient", "recipient_type", "recipient"),
        "remote_mta": _mta(block, "remote-mta"),
        "diagnostic_code": _typed(block, "diagnostic-code", "diagnostic_type", "diagnostic"),
        "last_attempt_date": block.date("last-attempt-date"),
        "final_log_id": block.first("final-log-id") or None,
        "will_retry_until": block.date("will-retry-until"),
        "extensions": block.extensions(_OF_MESSAGE | _OF_RECIPIENT),
    }


def _status_object(status: re.Match[str]) -> JsonObject:
    comment = status.string[status.end() :].strip()
    return {"class": int(status[1]), "subject": int(status[2]), "detail": int(status[3]), "comment": comment or None}


def _mta(block: Block, name: str) -> JsonObject | None:
    return _typed(block, name, "mta_type", "name")


def _typed(block: Block, name: str, type_name: str, value_name: str) -> JsonObject | None:
    kind, value = block.typed(name)
    return {type_name: kind, value_name: value} if value else None


def _action(block: Block) -> str:
    return block.first("action").partition(" ")[0].lower()


def _recipient(block: Block) -> RecipientReport:
    address = block.typed("original-recipient")[1] or block.typed("final-recipient")[1]
    return RecipientReport(address.strip("<>"), _action(block), _response(block), block.moment("last-attempt-date"))


def _response(block: Block) -> Response:
    """The reply that the reporting server got, with the report's own status."""
    status = _STATUS.match(block.first("status"))
    enhanced = EnhancedCode(int(status[1]), int(status[2]), int(status[3])) if status else None
    kind, said = block.typed("diagnostic-code")
    said = printable(said, MAX_TEXT)
    if kind != "smtp":
        return Response(_NO_REPLY, "", enhanced)
    reply = _REPLY.match(said)
    if reply is None:
        return Response(_NO_REPLY, said, enhanced)
    return Response(int(reply[1]), said[reply.end() :], enhanced)
