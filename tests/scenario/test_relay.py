"""Mail comes in by SMTP and goes out by SMTP."""

from __future__ import annotations

import smtplib

import pytest
from support.daemon import Daemon, Sink, mail, relay_policy


@pytest.mark.parametrize("workers", [0, 2])
def test_a_message_is_relayed_and_both_ends_are_on_record(tmp_path, workers: int) -> None:
    """What a client hands over arrives unchanged at the next hop, and the log tells of both."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port), workers) as daemon:
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("one", ".dots\r\n..\r\n", "X-Tag: 7\r\n"))
        (arrived,) = sink.wait_for(1)
        (delivery,) = daemon.wait_for_records("Delivery", 1)
        (reception,) = daemon.records("Reception")
    assert arrived["sender"] == "a@example.com"
    assert arrived["recipients"] == ["b@example.org"]
    assert arrived["data"].endswith("\r\n\r\n.dots\r\n..\r\n\r\n")
    assert "Received: from" in arrived["data"]
    assert delivery["id"] == reception["id"]
    assert delivery["response"]["code"] == 250
    assert delivery["peer_address"] == {"name": "sink.example", "addr": "127.0.0.1"}
    assert delivery["headers"]["Subject"] == "one"
    assert delivery["headers"]["X-Tag"] == "7"
    assert reception["reception_protocol"] == "ESMTP"
    assert delivery["delivery_protocol"] == "ESMTP"


def test_one_message_for_each_recipient_and_its_fate(tmp_path) -> None:
    """Accepted, refused for good and refused for now: each recipient has an end of its own."""
    rules = [
        {"at": "rcpt", "match": "gone@", "reply": "550 5.1.1 no such user"},
        {"at": "rcpt", "match": "busy@", "reply": "451 4.2.1 later", "times": 1},
    ]
    with Sink(tmp_path, rules) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port)) as daemon:
        with daemon.smtp() as client:
            recipients = [f"{user}@example.org" for user in ("fine", "gone", "busy")]
            client.sendmail("a@example.com", recipients, mail("three"))
        daemon.wait_for_records("Delivery", 2)
        (bounce,) = daemon.wait_for_records("Bounce", 1)
        (deferred,) = daemon.wait_for_records("TransientFailure", 1)
        delivered = {record["recipient"]: record["num_attempts"] for record in daemon.records("Delivery")}
    assert bounce["recipient"] == "gone@example.org"
    assert bounce["response"]["command"] == "RCPT TO:<gone@example.org>\r\n"
    assert bounce["response"]["enhanced_code"] == {"class": 5, "subject": 1, "detail": 1}
    assert deferred["recipient"] == "busy@example.org"
    assert delivered == {"fine@example.org": 0, "busy@example.org": 1}


def test_relaying_needs_permission(tmp_path) -> None:
    """A client outside relay_hosts cannot send to anyone."""
    listener = "kumo.start_esmtp_listener { listen = '127.0.0.1:0', relay_hosts = { '192.0.2.1' } }"
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, listener)) as daemon:
        with daemon.smtp() as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail("a@example.com", ["b@example.org"], mail("no"))
        code, text = refused.value.recipients["b@example.org"]
        assert code == 550
        assert text.startswith(b"5.7.1 relaying not permitted for 127.0.0.1:")
        (rejection,) = daemon.wait_for_records("Rejection", 1)
        assert rejection["response"]["code"] == 550
