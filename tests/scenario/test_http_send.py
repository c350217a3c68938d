"""One call of the send API reaches people by mail and by text message."""

from __future__ import annotations

import http.client
import json
from typing import Any

from support.daemon import Daemon, Sink, relay_policy

LISTENER = "kumo.start_http_listener { listen = '127.0.0.1:0', default_region = 'US' }"
#: Text messages go to a connection of the policy's own, which tells what it was given.
BY_KIND = """
kumo.on('get_queue_config', function(domain, tenant, campaign)
  if domain == 'sms' then
    return kumo.make_queue_config { protocol = { custom_lua = { constructor = 'make.sms' } } }
  end
end)
kumo.on('make.sms', function(domain, tenant, campaign)
  local connection = {}
  function connection:send(message)
    return string.format('to %s from %s', message:get_meta('to').phone, message:get_meta('from').sms)
  end
  return connection
end)
"""
REQUEST = {
    "to": [{"email": "ann@example.org", "name": "Ann"}, {"phone": "(555) 123-4567"}, {"phone": "12"}],
    "from": {"email": "shop@example.com", "sms": "SHOP"},
    "subject": "Your parcel",
    "text": "It arrives tomorrow.",
    "tenant": "acme",
}


def send(port: int, body: Any, **headers: str) -> tuple[int, Any]:
    """Status and decoded reply."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        client.request("POST", "/api/send/v1", json.dumps(body), {"Content-Type": "application/json"} | named)
        answer = client.getresponse()
        text = answer.read()
    finally:
        client.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()


def test_one_message_by_mail_and_by_text_message(tmp_path) -> None:
    """Each recipient gets it the way policy chose for the kind of address; records carry the ids of the reply."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, LISTENER, BY_KIND)) as daemon:
        status, reply = send(daemon.port("http"), REQUEST)
        (mail,) = sink.wait_for(1)
        deliveries = daemon.wait_for_records("Delivery", 2)
    assert status == 200
    assert (reply["accepted"], reply["failed"]) == (2, 1)
    assert "too short" in reply["recipients"][2]["error"]
    assert mail["recipients"] == ["ann@example.org"]
    assert "Subject: Your parcel" in mail["data"]
    records = {record["id"]: record for record in deliveries}
    by_mail, by_sms = (records[one["id"]] for one in reply["recipients"][:2])
    assert by_mail["queue"] == "acme@example.org"
    assert (by_sms["queue"], by_sms["recipient"]) == ("acme@sms", "+15551234567@sms")
    assert by_sms["response"]["content"] == "to +15551234567 from SHOP"
