"""Receipts end to end: a message goes out by an API, and what the provider reports later finds it."""

from __future__ import annotations

import base64
import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, eventually, mail
from support.provider_stand_in import Providers
from support.receipts import SendgridKey
from support.reports import BOUNCE, COMPLAINT

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener {
    listen = '127.0.0.1:0',
    receipts = {
      sendgrid = { main = { verification_key = { key_data = os.getenv 'SENDGRID_KEY' } } },
      sparkpost = { main = { basic_user = 'sp', basic_password = { env = 'SPARKPOST_PASSWORD' } } },
    },
  }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second', meta = { '*' } }
  kumo.configure_log_hook { name = 'receipts', per_record = { Receipt = {}, Any = { enable = false } } }
  kumo.configure_receipts { park = '3 seconds' }
end)
kumo.on('should_enqueue_log_record', function(msg, hook)
  msg:set_meta('queue', 'hook.test')
  return true
end)
kumo.on('smtp_server_message_received', function(msg) msg:set_meta('customer', 'c7') end)
kumo.on('get_listener_domain', function(domain)
  if domain == 'bounce.test' then
    return kumo.make_listener_domain { log_oob = 'LogThenDrop', log_arf = 'LogThenDrop' }
  end
end)
kumo.on('get_queue_config', function(domain)
  local url = os.getenv 'PROVIDERS'
  local protocols = {
    ['sendgrid.test'] = { sendgrid = { api_key = { key_data = 'k' }, base_url = url } },
    ['sparkpost.test'] = { sparkpost = { api_key = { key_data = 'k' }, base_url = url } },
    ['hook.test'] = { maildir_path = os.getenv 'HOOKED' },
    ['far.test'] = { smtp = { mx_list = { { name = 'x', addr = '127.0.0.1:1' } } } },
  }
  return kumo.make_queue_config { protocol = protocols[domain], retry_interval = '1 hour' }
end)
kumo.on('get_egress_path_config', function() return kumo.make_egress_path { prohibited_hosts = {} } end)
"""


def request(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """Status and body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request(method, path, body, headers or {})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


@pytest.fixture
def signer() -> SendgridKey:
    return SendgridKey()


def daemon_for(tmp_path: Path, signer: SendgridKey, url: str, workers: int) -> Daemon:
    env = {
        "PROVIDERS": url,
        "LOGS": str(tmp_path / "log"),
        "HOOKED": str(tmp_path / "hooked"),
        "SENDGRID_KEY": signer.public,
        "SPARKPOST_PASSWORD": "pass-word",
    }
    return Daemon(tmp_path, POLICY, workers=workers, env=env)


def send(daemon: Daemon, *recipients: str) -> None:
    with daemon.smtp() as client:
        for recipient in recipients:
            client.sendmail("shop@src.test", [recipient], mail("hello"))


def story(daemon: Daemon, spool_id: str) -> Any:
    status, body = request(daemon.port("http"), "GET", f"/api/admin/message/v1?id={spool_id}")
    return json.loads(body) if status == 200 else status


def test_receipts_find_their_messages(tmp_path: Path, signer: SendgridKey) -> None:
    """Two workers, a restart between message and receipt, one event by our id and one by the provider's."""
    with Providers(tmp_path, "--key", "k") as providers:
        with daemon_for(tmp_path, signer, providers.url, 2) as daemon:
            send(daemon, "a@sendgrid.test", "b@sparkpost.test")
            delivered = {one["channel"]: one for one in daemon.wait_for_records("Delivery", 2)}
        with daemon_for(tmp_path, signer, providers.url, 2) as daemon:
            port = daemon.port("http")
            first, second = delivered["sendgrid"], delivered["sparkpost"]
            event = {"event": "bounce", "type": "bounce", "reason": "550 5.1.1 none", "email": "a@sendgrid.test"}
            event |= {"sg_message_id": first["remote_id"] + ".filter0001.1.5515E0B88.0", "sg_event_id": "e1"}
            body = json.dumps([event]).encode()
            signed = {name.replace("_", "-"): value for name, value in signer.headers(body, _now()).items()}
            assert request(port, "POST", "/receipts/sendgrid/main", body, signed)[0] == 200
            assert request(port, "POST", "/receipts/sendgrid/main", body + b" ", signed)[0] == 403
            credential = {"Authorization": "Basic " + base64.b64encode(b"sp:pass-word").decode()}
            opened = {
                "type": "open",
                "event_id": "e2",
                "rcpt_meta": {"kumo_id": second["id"]},
                "rcpt_to": "b@sparkpost.test",
            }
            body = json.dumps([{"msys": {"track_event": opened}}]).encode()
            assert request(port, "POST", "/receipts/sparkpost/main", body, credential)[0] == 200
            receipts = {one["channel"]: one for one in daemon.wait_for_records("Receipt", 2)}
            failed, seen = receipts["sendgrid"], receipts["sparkpost"]
            assert (failed["id"], failed["recipient"]) == (first["id"], "a@sendgrid.test")
            assert (failed["receipt"]["state"], failed["receipt"]["class"]) == ("failed", "hard")
            assert failed["response"]["code"] == 550
            assert failed["meta"]["customer"] == "c7"
            assert (seen["id"], seen["receipt"]["state"]) == (second["id"], "opened")
            eventually(lambda: len(list((tmp_path / "hooked").glob("new/*"))) == 2, "the log hook has both")
            told = story(daemon, first["id"])
            assert told["state"] == "finished"
            assert [one["type"] for one in told["records"]] == ["Reception", "Delivery", "Receipt"]
            assert told["handovers"][0]["remote_id"] == first["remote_id"]
            assert told["receipts"][0]["is_written"]
            metrics = request(port, "GET", "/metrics")[1].decode()
    assert 'total_receipts{channel="sendgrid",account="main",state="failed",is_known="true"} 1' in metrics
    assert 'total_receipts_refused{channel="sendgrid",account="main",reason="proof"} 1' in metrics
    assert "pass-word" not in daemon.process.text()


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, signer: SendgridKey) -> None:
    """A provider that heard 200 does not send it again: the receipt is in the log after the restart."""
    events = [{"event": "delivered", "sg_message_id": f"x{number}", "sg_event_id": str(number)} for number in range(50)]
    with daemon_for(tmp_path, signer, "http://127.0.0.1:1", 2) as daemon:
        for one in events:
            body = json.dumps([one]).encode()
            signed = {name.replace("_", "-"): value for name, value in signer.headers(body, _now()).items()}
            assert request(daemon.port("http"), "POST", "/receipts/sendgrid/main", body, signed)[0] == 200
        daemon.kill()
    with daemon_for(tmp_path, signer, "http://127.0.0.1:1", 2) as daemon:
        records = daemon.wait_for_records("Receipt", 50)
    assert {one["receipt"]["event_id"] for one in records} == {one["sg_event_id"] for one in events}


def test_a_receipt_that_nobody_knows(tmp_path: Path, signer: SendgridKey) -> None:
    """It waits for its message, and is in the log in the end."""
    with daemon_for(tmp_path, signer, "http://127.0.0.1:1", 0) as daemon:
        body = json.dumps(
            [{"event": "delivered", "sg_message_id": "x", "email": "z@q.test", "sg_event_id": "1"}]
        ).encode()
        signed = {name.replace("_", "-"): value for name, value in signer.headers(body, _now()).items()}
        assert request(daemon.port("http"), "POST", "/receipts/sendgrid/main", body, signed)[0] == 200
        (record,) = daemon.wait_for_records("Receipt", 1)
    assert (record["id"], record["recipient"], record["remote_id"]) == ("", "z@q.test", "x")


def test_the_story_of_a_message_that_waits(tmp_path: Path, signer: SendgridKey) -> None:
    """Whichever worker is asked finds it, in the spool of whichever worker has it; unknown ids are 404."""
    with daemon_for(tmp_path, signer, "http://127.0.0.1:1", 2) as daemon:
        send(daemon, "a@far.test", "b@far.test")
        waiting = daemon.wait_for_records("TransientFailure", 2)
        for record in waiting * 3:
            told = story(daemon, record["id"])
            assert (told["state"], told["live"]["attempts"]) == ("queued", 1)
            assert told["live"]["recipients"] == [record["recipient"]]
            assert told["live"]["meta"]["customer"] == "c7"
            assert [one["type"] for one in told["records"]] == ["Reception", "TransientFailure"]
        assert story(daemon, "0" * 32) == 404
        assert story(daemon, "nonsense") == 400


def test_reports_by_mail(tmp_path: Path, signer: SendgridKey) -> None:
    """Bounces and complaints that come by SMTP are in the log as KumoMTA writes them."""
    with daemon_for(tmp_path, signer, "http://127.0.0.1:1", 0) as daemon:
        with daemon.smtp() as client:
            client.sendmail("", ["sender@bounce.test"], BOUNCE)
            client.sendmail("fbl@example.com", ["abuse@bounce.test"], COMPLAINT)
        bounces = daemon.wait_for_records("OOB", 2)
        (complaint,) = daemon.wait_for_records("Feedback", 1)
        receptions = daemon.records("Reception")
    assert [(one["sender"], one["recipient"]) for one in bounces] == [
        ("sender@bounce.test", "alias@example.org"),
        ("sender@bounce.test", "full@example.net"),
    ]
    assert bounces[0]["response"]["enhanced_code"] == {"class": 5, "subject": 1, "detail": 1}
    assert bounces[0]["peer_address"] == {"name": "mx.example.net", "addr": "127.0.0.1"}
    assert [one["id"] for one in receptions] == [bounces[0]["id"]], "the complaint has no Reception record"
    assert complaint["feedback_report"]["feedback_type"] == "abuse"


def _now() -> float:
    return time.time()
