"""Mail comes in by HTTP and goes out by SMTP."""

from __future__ import annotations

import http.client
import json
from typing import Any

from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Sink, relay_policy


def post(port: int, path: str, body: Any) -> tuple[int, Any]:
    """Status and decoded body of a JSON request."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = client.getresponse()
        text = answer.read()
    finally:
        client.close()
    return answer.status, json.loads(text) if answer.status == 200 else text.decode()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


INJECTION = {
    "envelope_sender": "shop@example.com",
    "recipients": [
        {"email": "ann@example.org", "name": "Ann", "substitutions": {"what": "tea"}},
        {"email": "bob@example.net", "substitutions": {"what": "rum"}, "metadata": {"x_list": "gold"}},
    ],
    "content": {
        "subject": "Your {{ what }}",
        "text_body": "Hello {{ name }}, here is your {{ what }}.",
        "from": {"email": "shop@example.com", "name": "Shop"},
    },
}


def test_each_recipient_gets_a_message_of_its_own(tmp_path) -> None:
    """One request, two messages, each with its substitutions; the reply names their ids."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, HTTP_LISTENER)) as daemon:
        status, reply = post(daemon.port("http"), "/api/inject/v1", INJECTION)
        messages = {message["recipients"][0]: message["data"] for message in sink.wait_for(2)}
        deliveries = daemon.wait_for_records("Delivery", 2)
    assert status == 200
    assert (reply["success_count"], reply["fail_count"]) == (2, 0)
    assert "Subject: Your tea" in messages["ann@example.org"]
    assert "Hello Ann, here is your tea." in messages["ann@example.org"]
    assert "here is your rum." in messages["bob@example.net"]
    ids = [entry["id"] if isinstance(entry, dict) else entry for entry in reply["ids"]]
    assert sorted(ids) == sorted(record["id"] for record in deliveries)
    assert {record["reception_protocol"] for record in deliveries} == {"HTTP"}


def test_metrics_cover_all_workers(tmp_path) -> None:
    """Whichever worker answers, /metrics counts what all of them did."""
    listeners = SMTP_LISTENER + HTTP_LISTENER
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, listeners), workers=2) as daemon:
        for _ in range(6):
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], "Subject: x\r\n\r\nx\r\n")
        daemon.wait_for_records("Delivery", 6)
        texts = [get(daemon.port("http"), "/metrics") for _ in range(4)]
        status, live = get(daemon.port("http"), "/api/check-liveness/v1")
        as_json = json.loads(get(daemon.port("http"), "/metrics.json")[1])
    assert (status, live.strip()) == (200, "OK")
    for status, text in texts:
        assert status == 200
        (line,) = [
            line for line in text.splitlines() if line.startswith('total_messages_delivered{service="smtp_client"}')
        ]
        assert float(line.split()[-1]) == 6
    assert as_json["total_messages_delivered"]["value"]["service"]["smtp_client"] == 6
