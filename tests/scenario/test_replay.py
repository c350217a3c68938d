"""`kumotwist replay` on the log of a real daemon: nothing moves under its own policy, and what does under another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.daemon import Daemon, Sink, mail, relay_policy

HANDLER = """
kumo.on('smtp_server_message_received', function(msg)
  if msg:get_first_named_header_value 'subject' == 'spam' then kumo.reject(550, 'no, thank you') end
  msg:set_meta('tenant', msg:get_first_named_header_value 'x-tenant')
end)
"""
#: Half of everything by an API; a handler that knows better what is spam.
NEW = (
    "local kumo = require 'kumo'"
    + HANDLER.replace("'spam'", "'offer'")
    + """
kumo.on('get_queue_config', function(domain, tenant)
  if tenant ~= 'acme' then return kumo.make_queue_config {} end
  return kumo.make_queue_config { route_table = 'bulk' }
end)
kumo.on('get_route_table', function(name)
  return kumo.make_route_table { name = name, routes = {
    { name = 'api', weight = 50, protocol = { sendgrid = { api_key = { key_data = 's3cret' } } } },
    { name = 'own', weight = 50, protocol = { smtp = { mx_list = { 'mx.example' } } } },
  } }
end)
"""
)


def replay(policy: Path, log_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kumotwist.service.main", "replay", f"--policy={policy}", f"--log={log_dir}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_yesterdays_log_against_a_new_policy(tmp_path: Path) -> None:
    """Its own policy moves nothing; a new one moves half of a tenant, and one message would be refused."""
    new = tmp_path / "new.lua"
    new.write_text(NEW)
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, rest=HANDLER)) as daemon:
        with daemon.smtp() as client:
            for number in range(40):
                tenant, subject = "acme" if number < 30 else "other", "offer" if number == 39 else "hi"
                text = mail(subject, extra=f"X-Tenant: {tenant}\r\n")
                client.sendmail("a@src.test", [f"u{number}@dest{number % 7}.test"], text)
        ids = {record["id"] for record in daemon.wait_for_records("Delivery", 40)}
        same = told(replay(daemon.policy, daemon.log_dir, "--json", "--handlers"))
    assert (same["messages"], same["judged"], same["elsewhere"], same["queues"]) == (40, 40, 0.0, [])

    report = told(replay(new, daemon.log_dir, "--json", "--handlers"))
    assert (report["messages"], report["judged"], report["elsewhere"]) == (40, 39, 15.0)
    (move,) = report["moves"]
    assert move["from"] == "smtp_client from unspecified"
    assert move["to"] == "sendgrid by bulk/api from unspecified"
    assert ids.issuperset(move["examples"])
    assert [one["messages"] for one in report["rejected"]] == [1]

    done = replay(new, daemon.log_dir)
    assert done.returncode == 0
    assert "elsewhere    15 (37.5%)" in done.stdout
    assert "handlers of reception did not run" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def test_a_policy_that_fails(tmp_path: Path) -> None:
    """Exit status 1, with file and line and nothing else; 2 for a log that is not there or says nothing."""
    (tmp_path / "20261124-101010.000000").write_bytes(b"")
    policy = tmp_path / "new.lua"
    policy.write_text("local kumo = require 'kumo'\nkumo.nonsense()\n")
    done = replay(policy, tmp_path)
    assert done.returncode == 1
    assert "new.lua:2" in done.stderr
    assert done.stderr.count("\n") == 1
    policy.write_text("local kumo = require 'kumo'\n")
    done = replay(policy, tmp_path)
    assert done.returncode == 2
    assert "no message has ended in this log" in done.stderr
    assert replay(policy, tmp_path / "none").returncode == 2
