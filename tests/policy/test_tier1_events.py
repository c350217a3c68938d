"""Each event of KumoMTA that a policy of tier 1 may use, as a running daemon calls it."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from support.daemon import Daemon, Sink, eventually, mail

HERE = Path(__file__).parent
HOOK_QUEUE = "hook.test"


def events(directory: Path) -> list[dict[str, Any]]:
    """What was called so far."""
    path = directory / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def calls(directory: Path, event: str) -> list[list[Any]]:
    """The arguments of each call of an event."""
    return [
        list(one["args"]) + ["nil"] * (one["count"] - len(one["args"]))
        for one in events(directory)
        if one["event"] == event
    ]


def daemon_with(directory: Path, sink: Sink) -> Daemon:
    env = {"POLICY_TEST_DIR": str(directory), "POLICY_TEST_SINK": str(sink.port)}
    return Daemon(directory, HERE / "every_event.lua", env=env)


def by_smtp(daemon: Daemon) -> None:
    """A message over TLS with credentials, to a domain we relay to and one that takes its time."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with daemon.smtp() as client:
        client.ehlo("client.test")
        client.starttls(context=context)
        client.ehlo("client.test")
        client.user, client.password = "user", "secret"
        assert client.auth("PLAIN", client.auth_plain)[0] == 235
        client.sendmail("Ann@example.com", ["Bob@Example.org"], mail("now"))
        client.sendmail("ann@example.com", ["bob@later.test"], mail("later"))


def by_http(daemon: Daemon) -> dict[str, Any]:
    body = {
        "envelope_sender": "ann@example.com",
        "recipients": [{"email": "carl@example.org"}],
        "content": mail("by http"),
    }
    credentials = base64.b64encode(b"user:secret").decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"}
    url = f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_every_event_has_its_arguments(tmp_path: Path) -> None:
    """All events of tier 1 fire, each with the arguments that KumoMTA documents."""
    rules = [{"at": "rcpt", "match": "later.test", "reply": "451 4.2.0 come back"}]
    with Sink(tmp_path, rules) as sink:
        with daemon_with(tmp_path, sink) as daemon:
            by_smtp(daemon)
            assert by_http(daemon)["success_count"] == 1
            listener = f"127.0.0.1:{daemon.port('smtp')}"
            daemon.wait_for_records("TransientFailure", 1)
            eventually(lambda: len(calls(tmp_path, "connection:send")) == 2, "two log records at the hook")
        first = events(tmp_path)
        with daemon_with(tmp_path, sink):
            eventually(lambda: calls(tmp_path, "spool_message_enumerated"), "the message that waits is found")

    def seen(event: str) -> list[list[Any]]:
        assert any(one["event"] == event for one in first), f"{event} was not called"
        return calls(tmp_path, event)

    assert [one["event"] for one in first][:2] == ["pre_init", "init"]
    assert seen("pre_init") == [[], []]
    assert seen("init") == [[], []]
    assert seen("a.task")[0] == [["one", 2]]
    assert seen("smtp_server_connection_accepted") == [["conn_meta"]]
    hello = seen("smtp_server_ehlo")
    assert [one[:2] for one in hello] == [["client.test", "conn_meta"]] * 2
    assert "STARTTLS" in hello[0][2]
    assert "STARTTLS" not in hello[1][2]
    assert seen("smtp_server_auth_plain") == [["user", "user", "secret", "conn_meta"]]
    assert seen("smtp_server_mail_from")[0] == ["address Ann@example.com", "conn_meta"]
    assert seen("smtp_server_rcpt_to")[0] == ["address Bob@Example.org", "conn_meta"]
    assert ["example.com", listener, "conn_meta"] in seen("get_listener_domain")
    assert seen("smtp_server_data") == [["message", "conn_meta"]] * 2
    assert seen("smtp_server_message_received") == [["message", "conn_meta"]] * 2
    assert seen("http_server_validate_auth_basic") == [["user", "secret"]]
    assert all(len(one) == 1 and one[0].startswith("http_listener") for one in seen("get_acl_definition"))
    ((message, auth),) = seen("http_message_generated")
    assert message == "message"
    assert auth["peer_address"] == "127.0.0.1"
    assert auth["identities"] == [{"identity": "user", "context": "HttpBasicAuth"}]
    assert "kumomta:http-listener-trusted-ip" in auth["groups"]
    assert ["example.org", "acme", "spring", "nil"] in seen("get_queue_config")
    assert ["example.org", "nil", "nil", "nil"] in seen("get_queue_config")  # the message by HTTP
    assert seen("get_egress_pool")[0] == ["a-pool"]
    assert seen("get_egress_source")[0] == ["a-source"]
    assert ["example.org", "a-source", f"mx_list:127.0.0.1:{sink.port}"] in seen("get_egress_path_config")
    assert seen("throttle_insert_ready_queue")[0] == ["message"]
    message, response, context, increment, delay = seen("requeue_message")[0]
    assert (message, response, increment, delay) == ("message", "451 4.2.0 come back", True, "nil")
    assert "LoggedTransientFailure" in context
    assert seen("should_enqueue_log_record")[0] == ["message", "hook"]
    assert seen("make.hook")[0] == [HOOK_QUEUE, "nil", "nil"]
    assert seen("connection:send")[0] == ["message"]
    assert seen("connection:close") != []
    assert seen("shutdown_logging") == [[], []]
    assert calls(tmp_path, "spool_message_enumerated")[0] == ["message"]
