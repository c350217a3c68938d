"""Abuse reports (ARF, RFC 5965): mail that says that somebody called mail spam.

Public: `parse`, whose result has KumoMTA's fields in KumoMTA's order. Nothing
goes wrong: what is no such report is None.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.json import Json, JsonObject
from kumotwist.proto.mime.tree import TooComplex
from kumotwist.proto.mime.tree import parse as parse_tree
from kumotwist.proto.origin import trace_of
from kumotwist.proto.reportfields import REPORT, Block, blocks, original_text, returned

_PART: Final = "message/feedback-report"
_KIND: Final = "feedback-report"
_REQUIRED: Final = ("feedback-type", "user-agent", "version")
_KNOWN: Final = frozenset(
    (
        *_REQUIRED,
        *("arrival-date", "received-date", "incidents", "original-envelope-id", "original-mail-from", "reporting-mta"),
        *("source-ip", "authentication-results", "original-rcpt-to", "reported-domain", "reported-uri"),
    )
)


def parse(message: bytes) -> JsonObject | None:
    """The complaint in a message, if it is one."""
    try:
        report = parse_tree(message)
    except TooComplex:
        return None
    if report.kind != REPORT or report.type.get("report-type").lower() != _KIND:
        return None
    part = next((one for one in report.children if one.kind == _PART), None)
    if part is None:
        return None
    block = Block({})
    for one in blocks(part):
        block.values.update(one.values)
    if any(not block.first(name) for name in _REQUIRED):
        return None
    original = returned(report)
    return {**_facts(block), **_original(original)}


def _facts(block: Block) -> JsonObject:
    incidents = block.first("incidents")
    kind, name = block.typed("reporting-mta")
    return {
        "feedback_type": block.first("feedback-type"),
        "user_agent": block.first("user-agent"),
        "version": block.first("version"),
        "arrival_date": block.date("arrival-date", "received-date"),
        "incidents": int(incidents) if incidents.isdecimal() and len(incidents) < 10 else None,
        "original_envelope_id": block.first("original-envelope-id") or None,
        # With their angle brackets, as KumoMTA has them: what reads its records takes them off.
        "original_mail_from": block.first("original-mail-from") or None,
        "reporting_mta": {"mta_type": kind, "name": name} if name else None,
        "source_ip": block.first("source-ip") or None,
        "authentication_results": _all(block, "authentication-results"),
        # KumoMTA's spelling.
        "original_rcpto_to": _all(block, "original-rcpt-to"),
        "reported_domain": _all(block, "reported-domain"),
        "reported_uri": _all(block, "reported-uri"),
        "extensions": block.extensions(_KNOWN),
    }


def _original(original: bytes | None) -> JsonObject:
    text = original_text(original)
    return {"original_message": text, "supplemental_trace": trace_of(original) if original is not None else None}


def _all(block: Block, name: str) -> list[Json]:
    return list[Json](block.values.get(name, []))
