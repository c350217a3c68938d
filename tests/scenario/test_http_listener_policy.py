"""The HTTP listener under a real policy: HTTPS, credentials, ACLs and deferred generation, all decided in Lua."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any

from support.daemon import Daemon, Sink, relay_policy

LISTENERS = """
kumo.start_http_listener { listen = '127.0.0.1:0', use_tls = true, trusted_hosts = {} }
kumo.start_http_listener { listen = '127.0.0.1:0' }
"""

POLICY = """
local users = { alice = 'wonder land', bob = 'b' }
kumo.on('http_server_validate_auth_basic', function(user, password)
  return users[user] ~= nil and users[user] == password
end)

kumo.on('get_acl_definition', function(resource)
  if resource == 'http_listener/*/api/inject' then
    return kumo.aaa.make_access_control_list {
      { criteria = { Identity = { Individual = 'alice' } }, privilege = 'POST', access = 'Allow' },
      {
        criteria = { Identity = { Group = 'kumomta:http-listener-trusted-ip' } },
        privilege = 'POST', access = 'Allow',
      },
    }
  end
end)

kumo.on('http_message_generated', function(msg, auth)
  if msg:recipient().user == 'refused' then
    kumo.reject(550, 'not this one')
  end
  local who = auth.identities[1] and auth.identities[1].identity or auth.peer_address
  msg:set_meta('tenant', who)
  msg:prepend_header('X-Sent-By', who)
end)
"""


def request(user: str | None, password: str, recipients: list[str], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an injection."""
    body = {
        "envelope_sender": "shop@example.com",
        "recipients": [{"email": email, "name": email.partition("@")[0]} for email in recipients],
        "content": {
            "subject": "For {{ name }}",
            "text_body": "Hello {{ name }}",
            "from": {"email": "shop@example.com"},
        },
        **more,
    }
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps(body).encode(), headers


def post(client: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    client.request("POST", "/api/inject/v1", body, headers)
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def test_policy_decides_who_may_inject(tmp_path) -> None:
    """Over HTTPS only alice may: a stranger, a wrong password and bob are 401; her name reaches the message."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        Sink(tmp_path) as sink,
        Daemon(tmp_path, relay_policy(tmp_path, sink.port, LISTENERS, POLICY)) as daemon,
    ):
        client = http.client.HTTPSConnection("127.0.0.1", daemon.port("https"), timeout=30, context=context)
        stranger = post(client, *request(None, "", ["a@example.org"]))
        wrong = post(client, *request("alice", "x", ["a@example.org"]))
        bob = post(client, *request("bob", "b", ["a@example.org"]))
        status, text = post(client, *request("alice", "wonder land", ["a@example.org", "refused@example.org"]))
        client.close()
        (message,) = sink.wait_for(1)
        (record,) = daemon.wait_for_records("Reception", 1)
    assert [stranger[0], wrong[0], bob[0], status] == [401, 401, 401, 200]
    assert wrong[1] == "HttpBasicAuth Authentication Failed for alice"
    assert "bob not permitted POST on http_listener/" in bob[1]
    reply = json.loads(text)
    assert reply["failed_recipients"] == ["refused@example.org"]
    assert "not this one" in reply["errors"][0]
    assert reply["ids"] == [record["id"], None]
    assert "X-Sent-By: alice" in message["data"]
    assert record["meta"]["http_auth"] == "alice"
    assert record["reception_protocol"] == "HTTP"
    assert record["queue"] == "alice@example.org"


def test_deferred_generation(tmp_path) -> None:
    """The reply comes before the messages are made; the request is a message of its own until they are."""
    with (
        Sink(tmp_path) as sink,
        Daemon(tmp_path, relay_policy(tmp_path, sink.port, LISTENERS, POLICY)) as daemon,
    ):
        client = http.client.HTTPConnection("127.0.0.1", daemon.port("http"), timeout=30)
        people = [f"r{number}@example.org" for number in range(20)]
        status, text = post(client, *request("alice", "wonder land", people, deferred_generation=True))
        client.close()
        messages = sink.wait_for(20)
        deliveries = daemon.wait_for_records("Delivery", 21)
    assert status == 200
    assert json.loads(text) == {"success_count": 0, "fail_count": 0, "failed_recipients": [], "errors": [], "ids": []}
    assert sorted(message["recipients"][0] for message in messages) == sorted(people)
    assert all("X-Sent-By: alice" in message["data"] for message in messages)
    (generated,) = [record for record in deliveries if record["queue"] == "generator.kumomta.internal"]
    assert generated["response"]["content"] == "ok: 20 generated"
    assert generated["delivery_protocol"] == "HttpInjectionGenerator"
