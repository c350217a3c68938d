"""Many messages in one request: a real daemon and a provider that answers for each, is down first, and refuses one."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path

from support.apicases.postmark import SCHEMA
from support.daemon import Daemon
from support.webhook import Request, WebPeer

POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
end)
kumo.on('get_queue_config', function()
  return kumo.make_queue_config {
    protocol = { postmark = { server_token = { key_data = 'token' }, base_url = os.getenv 'POSTMARK' } },
    retry_interval = '1 second',
  }
end)
kumo.on('get_egress_path_config', function() return kumo.make_egress_path { connection_limit = 2 } end)
"""
COUNT = 400


class Postmark(WebPeer):
    """Takes every e-mail but those to `gone@`, which it knows as inactive; its first answer is 503."""

    def __init__(self) -> None:
        self.emails: list[str] = []
        super().__init__()

    def _answer(self, request: Request) -> tuple[int, str]:
        with self._lock:
            self.requests.append(request)
            if len(self.requests) == 1:
                return 503, "later"
            SCHEMA.validate(request.json())
            to = [one["To"].rpartition("<")[2].rstrip(">") for one in request.json()]
            self.emails += to
            return 200, json.dumps([self._said(one) for one in to])

    def _said(self, to: str) -> dict[str, object]:
        if to.startswith("gone@"):
            return {"ErrorCode": 406, "Message": "You tried to send to an inactive recipient"}
        return {"ErrorCode": 0, "Message": "OK", "MessageID": f"id-of-{to}"}


def test_postmark_takes_many_messages_in_few_requests(tmp_path: Path) -> None:
    """Each message has its own record and its own id; an inactive recipient bounces alone, and nobody gets it twice."""
    policy = tmp_path / "policy.lua"
    policy.write_text(POLICY)
    recipients = [f"u{number}@d{number % 40}.test" for number in range(COUNT)] + ["gone@d0.test"]
    with (
        Postmark() as peer,
        Daemon(
            tmp_path,
            policy,
            env={"LOGS": str(tmp_path / "log"), "POSTMARK": f"http://127.0.0.1:{peer.port}"},
        ) as daemon,
    ):
        body = {
            "envelope_sender": "news@src.test",
            "content": {"subject": "Hello {{ name }}", "text_body": "For you.", "from": {"email": "news@src.test"}},
            "recipients": [{"email": one, "name": one.partition("@")[0]} for one in recipients],
        }
        url = f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["success_count"] == COUNT + 1
        delivered = daemon.wait_for_records("Delivery", COUNT)
        (bounce,) = daemon.wait_for_records("Bounce", 1)
    assert {record["remote_id"] for record in delivered} == {f"id-of-{one}" for one in recipients[:-1]}
    assert bounce["recipient"] == "gone@d0.test"
    assert bounce["response"]["content"].startswith("200 OK: 406 ")
    assert {to: times for to, times in Counter(peer.emails).items() if times > 1} == {}
    assert len(peer.requests) < COUNT / 4, "that is no batching"
