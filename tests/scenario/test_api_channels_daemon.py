"""E-mail APIs chosen in one line of policy: a real daemon, a real Vault, keys that change while mail flows."""

from __future__ import annotations

import json
from pathlib import Path

from support import openbao
from support.daemon import Daemon, mail
from support.provider_stand_in import Providers, check

POLICY = """
local kumo = require 'kumo'
local url = os.getenv 'PROVIDERS'
local key = { vault_mount = 'secret', vault_path = 'esp' }

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
end)

kumo.on('get_queue_config', function(domain)
  local protocols = {
    ['sendgrid.test'] = { sendgrid = { api_key = key, base_url = url, rest = '1 second' } },
    ['mailgun.test'] = { mailgun = { api_key = key, base_url = url, domain = 'mg.src.test', rest = '1 second' } },
    ['sparkpost.test'] = { sparkpost = { api_key = key, base_url = url, rest = '1 second' } },
  }
  return kumo.make_queue_config { protocol = protocols[domain], retry_interval = '1 second', egress_pool = 'esp' }
end)
kumo.on('get_egress_pool', function(name)
  return kumo.make_egress_pool { name = name, entries = { { name = 'account' } } }
end)
kumo.on('get_egress_source', function(name) return kumo.make_egress_source { name = name } end)
kumo.on('get_egress_path_config', function() return kumo.make_egress_path { provider_name = 'esp' } end)
"""
DOMAINS = ("sendgrid.test", "mailgun.test", "sparkpost.test")


def daemon_for(tmp_path: Path, vault: openbao.OpenBao, url: str) -> Daemon:
    policy = tmp_path / "policy.lua"
    policy.write_text(POLICY)
    env = {
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": openbao.ROOT_TOKEN,
        "PROVIDERS": url,
        "LOGS": str(tmp_path / "log"),
    }
    return Daemon(tmp_path, policy, env=env)


def send(daemon: Daemon, count: int, subject: str) -> None:
    with daemon.smtp() as client:
        for domain in DOMAINS:
            for number in range(count):
                client.sendmail("a@src.test", [f"u{number}@{domain}"], mail(subject))


def test_three_providers_and_a_key_that_is_rotated(tmp_path: Path) -> None:
    """A new key in Vault is in use with the next message, without a restart, an error to a sender or a lost message."""
    with openbao.running(tmp_path) as vault:
        vault.put("esp", key="old-key")
        with Providers(tmp_path, "--key", "old-key") as providers, daemon_for(tmp_path, vault, providers.url) as daemon:
            send(daemon, 3, "first")
            daemon.wait_for_records("Delivery", 9)
            port = providers.url.rpartition(":")[2]
            providers.process.popen.kill()
            providers.process.wait(10)
            vault.put("esp", key="new-key")
            with Providers(tmp_path, "--key", "new-key", "--listen", f"127.0.0.1:{port}") as successor:
                send(daemon, 3, "second")
                delivered = daemon.wait_for_records("Delivery", 18)
                for entry in successor.requests():
                    check(entry)
    assert not daemon.records("Bounce", "Expiration")
    by_channel = {record["channel"] for record in delivered}
    assert by_channel == {"sendgrid", "mailgun", "sparkpost"}
    for record in delivered:
        assert record["delivery_protocol"] == "HTTP"
        assert record["account"] == "main"
        assert record["remote_id"]
        assert record["provider_name"] == "esp"
        assert record["egress_source"] == "account"
    said = daemon.process.text() + json.dumps(daemon.records())
    assert "old-key" not in said
    assert "new-key" not in said


def test_a_wrong_key_holds_mail_until_it_is_mended(tmp_path: Path) -> None:
    """Mail that meets a wrong key is neither bounced nor charged; it goes out when somebody has put the right one."""
    with openbao.running(tmp_path) as vault, Providers(tmp_path, "--key", "right") as providers:
        vault.put("esp", key="wrong")
        with daemon_for(tmp_path, vault, providers.url) as daemon:
            send(daemon, 2, "held")
            daemon.wait_for_records("TransientFailure", 3)
            vault.put("esp", key="right")
            delivered = daemon.wait_for_records("Delivery", 6)
    assert {record["num_attempts"] for record in delivered} == {0}
    assert not daemon.records("Bounce", "Expiration")
    failures = daemon.records("TransientFailure")
    assert {record["response"]["content"][:3] for record in failures} == {"401"}
