"""A text by the send API, by a real Kannel to an SMS centre, and its receipt all the way back."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from support.daemon import Daemon, eventually
from support.kannel import Kannel, needs_kannel
from support.ports import unused_port
from support.smsc import Smsc

pytestmark = needs_kannel

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_http_listener {
    listen = '127.0.0.1:' .. os.getenv 'PORT',
    receipts = { kannel = { main = { token = { key_data = 't0ken' } } } },
  }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second', meta = { 'campaign' } }
end)
kumo.on('get_queue_config', function(domain)
  return kumo.make_queue_config {
    protocol = {
      kannel = {
        base_url = os.getenv 'KANNEL',
        username = 'me',
        password = { key_data = 's3cret' },
        sender = '12345',
        status_url = 'http://127.0.0.1:' .. os.getenv 'PORT' .. '/receipts/kannel/main?token=t0ken',
      },
    },
    retry_interval = '1 second',
  }
end)
"""


def test_a_text_and_its_receipt(tmp_path: Path) -> None:
    """Delivery says that Kannel took it, Receipt that the handset has it, of the same message of three parts."""
    port = unused_port()
    env = {"PORT": str(port), "LOGS": str(tmp_path / "log")}
    with Smsc("rust", receipts="held") as centre, Kannel(tmp_path, centre.port, "s3cret") as kannel:
        with Daemon(tmp_path / "daemon", POLICY, env={**env, "KANNEL": kannel.url}) as daemon:
            daemon.log_dir = tmp_path / "log"
            body = {
                "to": [{"phone": "+493012345678"}],
                "text": "Your parcel arrives tomorrow between nine and ten. " * 7,
                "campaign": "parcels",
            }
            url = f"http://127.0.0.1:{port}/api/send/v1"
            call = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(call, timeout=30) as response:
                (sent,) = json.load(response)["recipients"]
            eventually(kannel.awaited, "the centre has named the message")
            centre.report()
            (receipt,) = eventually(lambda: daemon.records("Receipt"), "a receipt")
            (delivery,) = daemon.wait_for_records("Delivery", 1)
        assert "t0ken" not in json.dumps(daemon.records())
    assert (delivery["id"], delivery["channel"], delivery["parts"]) == (sent["id"], "kannel", 3)
    assert (receipt["id"], receipt["channel"], receipt["account"]) == (sent["id"], "kannel", "main")
    assert receipt["receipt"]["state"] == "delivered"
    assert receipt["meta"] == {"campaign": "parcels"}
    assert receipt["recipient"] == "+493012345678@sms"
