"""Delivery status notifications (RFC 3464): mail that says what became of mail.

Public: `parse`, `DeliveryReport`, `RecipientReport`. Nothing goes wrong: what is
no such report is None, and a recipient that cannot be read is left out.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from kumotwist.core.receipt import MAX_TEXT, printable
from kumotwist.core.response import EnhancedCode, Response
from kumotwist.proto.mime.tree import TooComplex
from kumotwist.proto.mime.tree import parse as parse_tree
from kumotwist.proto.reportfields import REPORT, Block, blocks

_PARTS: Final = frozenset(("message/delivery-status", "message/global-delivery-status"))
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_REPLY: Final = re.compile(r"([2-5]\d\d)(?:[ \-]|\Z)")
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
    """One notification."""

    reporting_mta: str
    recipients: tuple[RecipientReport, ...]

    @property
    def failed(self) -> tuple[RecipientReport, ...]:
        """The recipients that will not get the message."""
        return tuple([one for one in self.recipients if one.action == "failed"])


def parse(message: bytes) -> DeliveryReport | None:
    """The notification in a message, if it is one."""
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
    reporting_mta = about_message.typed("reporting-mta")[1]
    if "final-recipient" in about_message.values:
        # Some leave the empty line out where there is one recipient.
        about_recipients.insert(0, about_message)
    found = [_recipient(block) for block in about_recipients if "action" in block.values]
    return DeliveryReport(reporting_mta, tuple([one for one in found if one.recipient]))


def _recipient(block: Block) -> RecipientReport:
    address = block.typed("original-recipient")[1] or block.typed("final-recipient")[1]
    action = block.first("action").partition(" ")[0].lower()
    return RecipientReport(address.strip("<>"), action, _response(block), block.moment("last-attempt-date"))


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
