"""Mail about mail: bounces and complaints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import BOUNCE, COMPLAINT

from kumotwist.core.response import EnhancedCode, Response
from kumotwist.proto import arf, dsn
from kumotwist.proto.reportfields import MAX_BLOCKS, MAX_RETURNED


def test_a_bounce():
    """Each recipient with what became of it; the folded SMTP reply in one line (RFC 3464)."""
    report = dsn.parse(BOUNCE)
    assert report.reporting_mta == "mx.example.net"
    assert [(one.recipient, one.action) for one in report.recipients] == [
        ("alias@example.org", "failed"),
        ("slow@example.net", "delayed"),
        ("full@example.net", "failed"),
    ]
    unknown, full = report.failed
    said = "5.1.1 <gone@example.net>: Recipient address rejected: User unknown"
    assert unknown.response == Response(550, said, EnhancedCode(5, 1, 1))
    assert unknown.last_attempt == 1795462177.0
    assert (full.response, full.last_attempt) == (Response(550, "", EnhancedCode(5, 2, 2)), None)


@pytest.mark.parametrize(
    ("diagnostic", "response"),
    [
        (b"smtp; 452 4.2.2 full", Response(452, "4.2.2 full", EnhancedCode(5, 1, 1))),
        (b"smtp;550", Response(550, "", EnhancedCode(5, 1, 1))),
        (
            b"smtp; 550-5.1.1 first 550 5.1.1 second",
            Response(550, "5.1.1 first 550 5.1.1 second", EnhancedCode(5, 1, 1)),
        ),
        (b"SMTP; no code here", Response(550, "no code here", EnhancedCode(5, 1, 1))),
        (b"x-unix; 67", Response(550, "", EnhancedCode(5, 1, 1))),
        (b"nonsense", Response(550, "", EnhancedCode(5, 1, 1))),
    ],
)
def test_diagnostics(diagnostic, response):
    """SMTP replies give code and text; without one it is 550, as with KumoMTA."""
    old = b"smtp; 550 5.1.1 <gone@example.net>: Recipient address\r\n    rejected: User unknown"
    assert dsn.parse(BOUNCE.replace(old, diagnostic)).failed[0].response == response


def test_reports_that_are_written_badly():
    """Bare line feeds, base64, a missing empty line, one recipient without a status."""
    assert len(dsn.parse(BOUNCE.replace(b"\r\n", b"\n")).failed) == 2
    without_gap = BOUNCE.replace(b"(UTC)\r\n\r\nFinal", b"(UTC)\r\nFinal")
    assert [one.recipient for one in dsn.parse(without_gap).failed] == ["alias@example.org", "full@example.net"]
    without_status = BOUNCE.replace(b"Status: 5.1.1\r\n", b"")
    assert dsn.parse(without_status).failed[0].response.enhanced is None
    nobody = BOUNCE.replace(b"Final-Recipient: rfc822; full@example.net\r\n", b"")
    assert [one.recipient for one in dsn.parse(nobody).failed] == ["alias@example.org"]


def test_a_complaint():
    """Every field of RFC 5965 under KumoMTA's name, as the report has it, and our trace from the returned message."""
    assert arf.parse(COMPLAINT) == {
        "feedback_type": "abuse",
        "user_agent": "SomeGenerator/1.0",
        "version": "1",
        "arrival_date": "2005-03-08T18:00:00Z",
        "incidents": 3,
        "original_envelope_id": None,
        "original_mail_from": "<somespammer@example.net>",
        "reporting_mta": {"mta_type": "dns", "name": "mail.example.com"},
        "source_ip": "192.0.2.1",
        "authentication_results": ["mail.example.com; spf=fail smtp.mail=somespammer@example.com"],
        "original_rcpto_to": ["<user@example.com>"],
        "reported_domain": ["example.net"],
        "reported_uri": ["http://example.net/earn_money.html", "mailto:user@example.com"],
        "extensions": {"removal-recipient": ["user@example.com"]},
        "original_message": (
            "From: <somespammer@example.net>\n"
            "X-KumoRef: eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50Ijoi\n\tdGVzdEBleGFtcGxlLmNvbSJ9\n"
            "Subject: Earn money\n\nSpam Spam Spam"
        ),
        "supplemental_trace": {"recipient": "test@example.com"},
    }


def test_a_trace_that_is_not_ours():
    """Other X- headers, Base64 or not, are no trace of ours."""
    forged = COMPLAINT.replace(b"eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50Ijoi\r\n\tdGVzdEBleGFtcGxlLmNvbSJ9", b"eyJhIjoxfQ==")
    assert arf.parse(forged)["supplemental_trace"] is None


@pytest.mark.parametrize("line", [b"Feedback-Type: abuse\r\n", b"User-Agent: SomeGenerator/1.0\r\n", b"Version: 1\r\n"])
def test_complaints_without_what_they_must_have(line):
    """RFC 5965 s3.1: without these three it is no complaint."""
    assert arf.parse(COMPLAINT.replace(line, b"")) is None


def test_what_is_no_report():
    """Ordinary mail, the other kind of report, a report without its part."""
    plain = b"Subject: hello\r\n\r\nContent-Type: multipart/report\r\n"
    assert (dsn.parse(plain), arf.parse(plain)) == (None, None)
    assert (dsn.parse(COMPLAINT), arf.parse(BOUNCE)) == (None, None)
    assert dsn.parse(BOUNCE.replace(b"message/delivery-status", b"text/plain")) is None
    assert arf.parse(COMPLAINT.replace(b"message/feedback-report", b"text/plain")) is None


def test_reports_are_bounded():
    """A report with a million recipients or a returned message of megabytes costs no more than a large one."""
    block = b"Final-Recipient: rfc822; a@b\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n"
    many = BOUNCE.replace(b"Final-Recipient: rfc822; gone", block * 5000 + b"Final-Recipient: rfc822; gone")
    assert len(dsn.parse(many).failed) < MAX_BLOCKS
    large = COMPLAINT.replace(b"Spam Spam Spam", b"Spam\r\n" * 1_000_000)
    assert len(arf.parse(large)["original_message"]) <= MAX_RETURNED
    deep = b"Content-Type: multipart/report; boundary=x\r\n\r\n" + b"--x\r\nContent-Type: text/plain\r\n\r\n" * 1000
    assert (dsn.parse(deep), arf.parse(deep)) == (None, None)


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_no_octets_break_it(noise, at):
    """Whatever somebody sends: a report, part of one, or none."""
    for whole in (BOUNCE, COMPLAINT):
        damaged = whole[:at] + noise + whole[at:]
        for report in (dsn.parse(damaged), arf.parse(damaged)):
            assert "\r\n" not in repr(report).replace("\\r", "")


def test_all_that_a_bounce_says():
    """As KumoMTA's message:parse_rfc3464 names it."""
    told = dsn.to_object(BOUNCE)
    assert told["per_message"] == {
        "original_envelope_id": None,
        "reporting_mta": {"mta_type": "dns", "name": "mx.example.net"},
        "dsn_gateway": None,
        "received_from_mta": None,
        "arrival_date": "2026-11-23T19:00:00Z",
        "extensions": {"x-postfix-queue-id": ["7A2F"]},
    }
    first, second, third = told["per_recipient"]
    assert first["final_recipient"] == {"recipient_type": "rfc822", "recipient": "gone@example.net"}
    assert first["original_recipient"] == {"recipient_type": "rfc822", "recipient": "alias@example.org"}
    assert first["status"] == {"class": 5, "subject": 1, "detail": 1, "comment": None}
    assert first["remote_mta"] == {"mta_type": "dns", "name": "imap.example.net"}
    assert first["diagnostic_code"]["diagnostic_type"] == "smtp"
    assert first["last_attempt_date"] == "2026-11-23T19:29:37Z"
    assert (second["action"], third["action"]) == ("delayed", "failed")
    assert third["status"]["comment"] == "(mailbox full)"
    assert told["original_message"] == "From: <sender@example.org>\nSubject: hello\n"
    assert dsn.to_object(COMPLAINT) is None
