"""What is called is not what was meant: a slip in the policy, a portal on the way. Nothing is lost by it."""

from __future__ import annotations

import os
from pathlib import Path

from support.daemon import Daemon, mail
from support.webhook import WebPeer

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener {{ listen = '127.0.0.1:0' }}
  kumo.configure_local_logs {{ log_dir = '{logs}', max_segment_duration = '1 second' }}
end)

kumo.on('get_queue_config', function(domain)
  return kumo.make_queue_config {{
    retry_interval = '1 second',
    refresh_interval = '1 second',
    protocol = {protocol},
  }}
end)
"""
PORTAL = "<!DOCTYPE html><html><body>Welcome. Please accept our terms.</body></html>"


def write(tmp_path: Path, protocol: str) -> Path:
    """The policy, put in place at once as editors do."""
    fresh, policy = tmp_path / "policy.new", tmp_path / "policy.lua"
    fresh.write_text(POLICY.format(logs=tmp_path / "log", protocol=protocol))
    os.replace(fresh, policy)
    return policy


def send(daemon: Daemon, count: int) -> None:
    with daemon.smtp() as client:
        for number in range(count):
            client.sendmail("a@src.test", [f"u{number}@hooks.test"], mail(f"n{number}"))


def test_a_webhook_to_a_private_address_waits_until_the_policy_is_mended(tmp_path: Path) -> None:
    """Mail is taken and not charged, the record says which line to mend, and a reload sends it, once each."""
    with WebPeer() as peer:
        hook = f"{{ webhook = {{ url = 'http://127.0.0.1:{peer.port}/hook', rest = '1 second'%s }} }}"
        with Daemon(tmp_path, write(tmp_path, hook % "")) as daemon:
            send(daemon, 3)
            failures = daemon.wait_for_records("TransientFailure", 3)
            assert not peer.requests
            write(tmp_path, hook % ", allow_private_addresses = true")
            delivered = daemon.wait_for_records("Delivery", 3)
            assert not daemon.records("Bounce", "Expiration")
        assert len(peer.taken) == 3
    for record in failures:
        said = record["response"]["content"]
        assert "127.0.0.1 is not on the public Internet" in said
        assert "option 'url' of protocol.webhook" in said
        assert "allow_private_addresses = true" in said
    assert {record["num_attempts"] for record in delivered} == {0}


def test_a_portal_in_front_of_a_chat_makes_no_post_disappear(tmp_path: Path) -> None:
    """It answers 200 with its page, sends to its login, forbids: each post is made when it lets us through."""
    peer = WebPeer([(200, PORTAL), (302, ""), (403, PORTAL), (200, PORTAL)])
    with peer:
        secret = tmp_path / "hook"
        secret.write_text(f"http://127.0.0.1:{peer.port}/services/T/B/s3cret")
        hook = f"{{ slack = {{ webhook = '{secret}', rest = '1 second' }} }}"
        with Daemon(tmp_path, write(tmp_path, hook)) as daemon:
            send(daemon, 2)
            delivered = daemon.wait_for_records("Delivery", 2)
            failures = daemon.records("TransientFailure")
            assert not daemon.records("Bounce", "Expiration")
    assert {record["response"]["content"] for record in delivered} == {"200 OK: ok"}
    said = [record["response"]["content"] for record in failures]
    assert any("unknown whether it was taken: 200 without the `ok` of Slack" in one for one in said), said
    assert all("s3cret" not in one for one in said)
