"""What clients and readers of logs see of a running daemon, character by character: replies, records, HTTP."""

from __future__ import annotations

import gzip
import json
import re
import socket
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from support.daemon import Daemon, Sink, relay_policy

NODE = str(uuid.UUID(int=7))
LISTENERS = """
kumo.start_esmtp_listener {
  listen = '127.0.0.1:0', hostname = 'mx.test', max_recipients_per_message = 2, max_message_size = 2000,
  max_messages_per_connection = 6,
}
kumo.start_esmtp_listener { listen = '127.0.0.1:0', hostname = 'mx.test', relay_hosts = {}, client_timeout = '1 s' }
kumo.start_http_listener { listen = '127.0.0.1:0', hostname = 'mx.test' }
"""
POLICY = """
kumo.on('smtp_server_mail_from', function(sender)
  if sender.user == 'bad' then
    local ok, err = pcall(kumo.reject, 550, '5.7.1 not you')
    assert(not ok and tostring(err):sub(1, 17) == '550 5.7.1 not you')
    error(err)
  elseif sender.user == 'lines' then
    kumo.reject(451, '4.1.0 one\\ntwo')
  end
end)
kumo.on('http_message_generated', function(msg, auth)
  if msg:recipient().user == 'refused' then
    kumo.reject(550, 'not this one')
  end
end)
"""


class Client:
    """Octets in, octets out."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")
        assert self.reply() == "220 mx.test KumoMTA\r\n"

    def reply(self) -> str:
        lines = [self.file.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(self.file.readline())
        return b"".join(lines).decode()

    def say(self, line: bytes | str) -> str:
        self.socket.sendall(line.encode() + b"\r\n" if isinstance(line, str) else line)
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


#: Commands of one session and the replies of semantics i.2.
DIALOGUE = (
    ("HELO me", "250 Hello me!"),
    ("NOOP", "250 the goggles do nothing"),
    ("VRFY you", "502 5.5.1 Command unimplemented"),
    ("EXPN you", "502 5.5.1 Command unimplemented"),
    ("HELP", "502 5.5.1 Command unimplemented"),
    ("LHLO me", "502 5.5.1 Command unimplemented"),
    ("WHATEVER", "502 5.5.1 Command unimplemented"),
    (b"NOOP \xff\r\n", "501 5.5.2 Invalid UTF-8 in command"),
    ("RCPT TO:<b@example.org>", "503 5.5.0 MAIL FROM must be issued first"),
    ("DATA", "503 5.5.0 RCPT TO must be issued first"),
    ("AUTH PLAIN", "524 5.7.11 AUTH PLAIN requires an encrypted channel"),
    ("XCLIENT ADDR=10.0.0.1", "550 insufficient authorization"),
    ("MAIL FROM:<bad@example.com>", "550 5.7.1 not you"),
    ("MAIL FROM:<lines@example.com>", "451-4.1.0 one\r\n451 two"),
    ("MAIL FROM:<a@example.com> BODY=8BITMIME", "250 OK <a@example.com>"),
    ("MAIL FROM:<a@example.com>", "503 5.5.0 MAIL FROM already issued; you must RSET first"),
    ("DATA", "503 5.5.0 RCPT TO must be issued first"),
    ("RCPT TO:<b@example.org>", "250 OK <b@example.org>"),
    ("RCPT TO:<c@example.org>", "250 OK <c@example.org>"),
    ("RCPT TO:<d@example.org>", "452 4.5.3 too many recipients"),
    ("RSET", "250 Reset state"),
    ("MAIL FROM:<>", "250 OK <>"),
    ("RSET", "250 Reset state"),
)


def start(directory: Path, sink: Sink) -> Daemon:
    policy = relay_policy(directory, sink.port, LISTENERS, POLICY)
    return Daemon(directory, policy, env={"KUMO_NODE_ID": NODE})


def transaction(client: Client, body: str) -> str:
    for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA"):
        reply = client.say(line)
    assert reply == "354 Send body; end with CRLF.CRLF\r\n"
    return client.say(f"{body}\r\n.")


def test_replies(tmp_path: Path) -> None:
    """Each reply is KumoMTA's, to the character."""
    with Sink(tmp_path) as sink, start(tmp_path, sink) as daemon:
        client = Client(daemon.port("smtp"))
        for line, reply in DIALOGUE:
            assert client.say(line) == reply + "\r\n", line
        assert client.say("MAIL FROM:a b").startswith("501 ")
        assert re.fullmatch(r"250 OK ids=[0-9a-f]{32}\r\n", transaction(client, "Subject: x\r\n\r\nhi"))
        assert transaction(client, ("Subject: x\r\n\r\n" + "y" * 900 + "\r\n") * 3) == "552 5.3.4 message too big\r\n"
        assert transaction(client, "Subject: x\r\n\r\n" + "y" * 999) == "500 5.2.3 line too long\r\n"
        assert transaction(client, "Subject: x\r\n\r\na\nb") == (
            "552 5.6.0 message data must use CRLF for line endings\r\n"
        )
        client.say("MAIL FROM:<a@example.com>")  # RCPT TO number 7 and 8 of this connection
        assert client.say("RCPT TO:<b@example.org>") == "421 4.5.3 mx.test too many recipients on this connection\r\n"
        assert client.file.read() == b""
        client.close()

        client = Client(daemon.port("smtp"))
        assert client.say("QUIT") == "221 So long, and thanks for all the fish!\r\n"
        client.close()

        client = Client(daemon.port("smtp", 1))
        assert client.say("MAIL FROM:<a@example.com>") == "250 OK <a@example.com>\r\n"
        where = "{}:{}".format(*client.socket.getsockname())
        assert client.say("RCPT TO:<b@example.org>") == f"550 5.7.1 relaying not permitted for {where}\r\n"
        assert client.reply() == "421 4.3.2 mx.test idle too long\r\n"
        client.close()


#: Semantics g.1, in order; those behind nodeid only when set.
FIELDS = """
    type id sender recipient queue site size response peer_address timestamp event_time created created_time
    num_attempts bounce_classification egress_pool egress_source source_address feedback_report meta headers
    delivery_protocol reception_protocol nodeid"""
OPTIONAL_FIELDS = ["tls_cipher", "tls_protocol_version", "tls_peer_subject_name", "provider_name", "session_id"]


def test_records(tmp_path: Path) -> None:
    """Every record has all fields in KumoMTA's order, with values of KumoMTA's form."""
    rules = [
        {"at": "rcpt", "match": "full@", "reply": "452 4.2.2 full", "times": 1},
        {"at": "rcpt", "match": "none@", "reply": "550 5.1.1 none"},
    ]
    with Sink(tmp_path, rules) as sink, start(tmp_path, sink) as daemon:
        client = Client(daemon.port("smtp"))
        client.say("EHLO client.test")
        for user in ("full", "none"):
            client.say("MAIL FROM:<a@example.com>")
            client.say(f"RCPT TO:<{user}@example.org>")
            client.say("DATA")
            client.say("Subject: x\r\n\r\nhi\r\n.")
        assert client.say("MAIL FROM:<bad@example.com>").startswith("550")
        where = "{}:{}".format(*client.socket.getsockname())
        client.close()
        daemon.wait_for_records("Delivery", 1)
        daemon.wait_for_records("Bounce", 1)
        daemon.wait_for_records("Rejection", 1)
        records = daemon.records()
    fields = FIELDS.split()
    for record in records:
        names = list(record)
        assert names[: len(fields)] == fields
        assert [name for name in OPTIONAL_FIELDS if name in names] == names[len(fields) :]
        assert record["nodeid"] == NODE
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", record["event_time"])
        assert record["bounce_classification"] == "Uncategorized"
        assert list(record["response"]) == ["code", "enhanced_code", "content", "command"]
    one = {kind: next(record for record in records if record["type"] == kind) for kind in {r["type"] for r in records}}
    assert set(one) >= {"Reception", "TransientFailure", "Delivery", "Bounce", "Rejection"}

    reception = one["Reception"]
    assert reception["response"] == {"code": 250, "enhanced_code": None, "content": "", "command": None}
    assert (reception["site"], reception["queue"]) == ("", "example.org")
    assert reception["peer_address"] == {"name": "client.test", "addr": "127.0.0.1"}
    assert (reception["reception_protocol"], reception["delivery_protocol"]) == ("ESMTP", None)
    assert uuid.UUID(reception["session_id"])
    assert uuid.UUID(reception["id"]).version == 1
    assert reception["meta"]["received_from"] == where
    assert reception["headers"] == {"Subject": "x"} | {
        name: value for name, value in reception["headers"].items() if name == "X-KumoRef"
    }

    failure = one["TransientFailure"]
    assert failure["response"] == {
        "code": 452,
        "enhanced_code": {"class": 4, "subject": 2, "detail": 2},
        "content": "full",
        "command": "RCPT TO:<full@example.org>\r\n",
    }
    assert (failure["num_attempts"], failure["delivery_protocol"]) == (0, "ESMTP")
    assert failure["site"] == f"unspecified->mx_list:127.0.0.1:{sink.port}@smtp_client"
    assert (failure["egress_pool"], failure["egress_source"]) == ("unspecified", "unspecified")
    assert failure["peer_address"] == {"name": "sink.example", "addr": "127.0.0.1"}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", failure["source_address"]["address"])

    delivery = one["Delivery"]
    assert delivery["response"]["content"] == "taken"
    assert delivery["response"]["command"] == "."
    assert delivery["num_attempts"] == 1
    assert isinstance(delivery["recipient"], str)

    rejection = one["Rejection"]
    assert (rejection["id"], rejection["queue"], rejection["reception_protocol"]) == ("", "", None)
    assert rejection["response"] == {
        "code": 550,
        "enhanced_code": {"class": 5, "subject": 7, "detail": 1},
        "content": "not you",
        "command": "MAIL FROM:<bad@example.com>\r\n",
    }


def http(daemon: Daemon, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Status and text of a request; a POST when there is a body."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{daemon.port('http')}{path}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


REQUEST: dict[str, Any] = {
    "envelope_sender": "shop@example.com",
    "recipients": [
        {"email": "ann@example.org", "name": "Ann", "substitutions": {"what": "you"}, "metadata": {"order": 7}},
        {"email": "refused@example.org", "substitutions": {}},
    ],
    "content": {"subject": "For {{ name }}", "text_body": "Hello {{ what }} <{{ email }}> of {{ shop }}"},
    "substitutions": {"what": "all", "shop": "Blum & Sohn"},
    "trace_headers": {"received_header": True},
    "template_dialect": "Jinja",
    "deferred_spool": False,
    "deferred_generation": False,
}


def test_http(tmp_path: Path) -> None:
    """Injection, liveness and metrics as KumoMTA's clients use them."""
    with Sink(tmp_path) as sink, start(tmp_path, sink) as daemon:
        assert http(daemon, "/api/check-liveness/v1") == (200, "OK")
        code, text = http(daemon, "/api/inject/v1", REQUEST)
        answer = json.loads(text)
        assert (code, answer["success_count"], answer["fail_count"]) == (200, 1, 1)
        assert answer["failed_recipients"] == ["refused@example.org"]
        assert answer["errors"][0].startswith("refused@example.org: ")
        ((message),) = sink.wait_for(1)
        assert "Subject: For Ann" in message["data"]
        assert "Hello you <ann@example.org> of Blum & Sohn" in message["data"]
        assert "with HTTP id" in message["data"]
        (reception,) = daemon.wait_for_records("Reception", 1)
        assert reception["reception_protocol"] == "HTTP"
        assert reception["meta"] == {
            "http_auth": "127.0.0.1",
            "reception_protocol": "HTTP",
            "received_from": "127.0.0.1",
            "received_via": "127.0.0.1",
            "hostname": "mx.test",
            "extra": {"order": 7},
        }
        assert "session_id" not in reception

        packed = gzip.compress(json.dumps(REQUEST).encode())
        assert http(daemon, "/api/inject/v1", packed, **{"Content-Encoding": "gzip"})[0] == 200
        assert http(daemon, "/api/inject/v1", {**REQUEST, "surprise": 1})[0] == 422
        assert http(daemon, "/api/inject/v1", b"{")[0] == 400
        assert http(daemon, "/api/inject/v1", {**REQUEST, "envelope_sender": "@"})[0] == 500
        broken = {**REQUEST, "content": {"text_body": "{{ oops"}}
        code, text = http(daemon, "/api/inject/v1", broken)
        assert code == 422
        assert text.startswith("Error: failed parsing field 'content.text_body' as template: ")
        code, text = http(daemon, "/api/inject/v1", b" " * (2 * 1024 * 1024 + 1))
        assert (code, text) == (413, "Failed to buffer the request body: length limit exceeded")

        code, text = http(daemon, "/metrics")
        assert code == 200
        assert re.search(r'^total_messages_received\{service="http_listener"\} 2(\.0)?$', text, re.MULTILINE), text
        metrics = json.loads(http(daemon, "/metrics.json")[1])
        assert metrics["scheduled_count_total"]["type"] == "gauge"
        assert isinstance(metrics["scheduled_count_total"]["value"], int | float)
        assert metrics["total_messages_received"]["value"]["service"]["http_listener"] == 2
        assert set(metrics["message_save_latency"]["value"]) == {"count", "sum", "avg", "bucket"}
