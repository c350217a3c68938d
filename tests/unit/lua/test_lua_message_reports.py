"""message:parse_rfc3464 and message:parse_rfc5965 as policies use them."""

from __future__ import annotations

import pytest
from support.lua import Bench, now
from support.reports import BOUNCE, COMPLAINT

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message

TO = (EnvelopeAddress("sender", "bounce.example"),)


@pytest.mark.parametrize(
    ("body", "source", "result"),
    [
        (BOUNCE, "return msg:parse_rfc3464().per_recipient[1].final_recipient.recipient", "gone@example.net"),
        (
            BOUNCE,
            "local s = msg:parse_rfc3464().per_recipient[1].status return s.class .. s.subject .. s.detail",
            "511",
        ),
        (BOUNCE, "return msg:parse_rfc3464().per_message.reporting_mta.name", "mx.example.net"),
        (BOUNCE, "return tostring(msg:parse_rfc5965())", "nil"),
        (COMPLAINT, "return msg:parse_rfc5965().feedback_type", "abuse"),
        (COMPLAINT, "return msg:parse_rfc5965().supplemental_trace.recipient", "test@example.com"),
        (COMPLAINT, "return msg:parse_rfc5965().extensions['removal-recipient'][1]", "user@example.com"),
        (COMPLAINT, "return tostring(msg:parse_rfc3464())", "nil"),
        (
            b"Subject: x\r\n\r\nhello\r\n",
            "return tostring(msg:parse_rfc3464()) .. tostring(msg:parse_rfc5965())",
            "nilnil",
        ),
    ],
)
def test_reports(bench: Bench, body: bytes, source: str, result: str) -> None:
    """A policy reads bounces and complaints as with KumoMTA; what is none is nil."""
    message = Message(IdGenerator(bench.clock.seconds)(), EnvelopeAddress("", ""), TO, {}, body)
    policy = bench.policy(f"kumo.on('go', function(msg)\n{source}\nend)")
    assert now(policy.run_event("go", [message])) == result
