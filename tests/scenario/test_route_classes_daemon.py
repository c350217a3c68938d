"""What a route table tells messages apart by, over a real daemon: providers by DNS, and a function of policy."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from support.daemon import Daemon, Sink, eventually, mail

from .test_policy_reload import edit

POLICY = r"""
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
  kumo.dns.configure_test_resolver { [[
contoso.test. 300 IN MX 10 contoso-test.mail.protection.outlook.com.
fabrikam.test. 300 IN MX 10 mx1.fabrikam.test.
fabrikam.test. 300 IN MX 20 backup.l.google.com.
]] }
end)

kumo.on('smtp_server_message_received', function(msg)
  msg:set_meta('plan', msg:get_first_named_header_value 'X-Plan')
end)

kumo.on('get_queue_config', function(domain)
  return kumo.make_queue_config { route_table = domain == 'plans.test' and 'plans' or 'providers' }
end)

local function plan(msg)
  local name = msg:get_meta 'plan'
  if name == 'broken' then
    error('there is no such plan')
  elseif name == 'number' then
    return 5
  end
  kumo.sleep(0.01)
  return name and 'VERSION-' .. name
end

kumo.on('get_route_table', function(name)
  local sink = { { name = 'sink.example', addr = os.getenv 'SINK' } }
  return kumo.make_route_table {
    name = name,
    class = name == 'plans' and plan or 'mailbox_provider',
    routes = {
      { name = 'first', weight = 50, protocol = { smtp = { mx_list = sink } } },
      { name = 'second', weight = 50, protocol = { smtp = { mx_list = sink } } },
    },
  }
end)

kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'Disabled' }
end)
"""


def send(daemon: Daemon, *recipients: str, plan: str = "") -> None:
    extra = f"X-Plan: {plan}\r\n" if plan else ""
    with daemon.smtp() as client:
        for recipient in recipients:
            client.sendmail("a@src.test", [recipient], mail("hi", extra=extra))


def classes(daemon: Daemon, count: int) -> list[tuple[str, str]]:
    """Class and domain of the last `count` Delivery records, when there are so many more than before."""
    records = daemon.wait_for_records("Delivery", count)
    return [(record["recipient"].partition("@")[2], record["route_class"]) for record in records]


def explained(daemon: Daemon, recipient: str, **meta: str) -> Any:
    content = "Subject: hi\r\n\r\nhello\r\n"
    if meta:
        content = f"X-Plan: {meta['plan']}\r\n{content}"
    body = json.dumps({"sender": "a@src.test", "recipients": [recipient], "content": content}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{daemon.port('http')}/api/admin/explain/v1", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["way"]


def metrics(daemon: Daemon) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port('http')}/metrics", timeout=30) as response:
        return response.read().decode()


def test_messages_are_told_apart_by_provider_and_by_a_function(tmp_path: Path) -> None:
    """By domain, by MX record, by what policy says; a function that fails costs its message nothing but the class."""
    with Sink(tmp_path) as sink:
        env = {"LOGS": str(tmp_path / "log"), "SINK": f"127.0.0.1:{sink.port}"}
        policy = POLICY.replace("VERSION", "one")
        with Daemon(tmp_path, policy, env=env, workers=0) as daemon:
            send(daemon, "u@gmail.com", "u@contoso.test", "u@fabrikam.test", "u@nowhere.test", "v@contoso.test")
            assert sorted(set(classes(daemon, 5))) == [
                ("contoso.test", "microsoft-365"),
                ("fabrikam.test", "fabrikam.test"),
                ("gmail.com", "gmail"),
                ("nowhere.test", "nowhere.test"),
            ]
            for plan in ("gold", "broken", "number", ""):
                send(daemon, "u@plans.test", plan=plan)
            found = [name for domain, name in classes(daemon, 9) if domain == "plans.test"]
            assert sorted(found) == ["", "", "", "one-gold"]
            log = daemon.process.text()
            assert "there is no such plan" in log
            assert "init.lua:26: there is no such plan; the message counts in the class of all" in log
            assert 'total_route_class_failures{table="plans"} 2' in metrics(daemon)
            shown = metrics(daemon)
            assert 'route_share{table="providers",route="first",class="microsoft-365"}' in shown
            labels = 'table="providers",route="first",class="microsoft-365"'
            assert f'total_route_outcomes{{{labels},outcome="handed_over"}} 1' in shown
            assert f"route_handover_seconds_count{{{labels}}} 1" in shown
            way = explained(daemon, "u@contoso.test")
            assert (way["route_class"], way["class_by"]) == ("microsoft-365", "mailbox_provider")
            assert [round(route["lately"]["handed_over"]) for route in way["routes"]] == [1, 1]
            way = explained(daemon, "u@plans.test", plan="number")
            assert "must return a string or nil, it returned the number 5" in way["class_problem"]
            # A changed policy's function takes the old one's place.
            edit(daemon, POLICY.replace("VERSION", "two"))
            eventually(
                lambda: explained(daemon, "u@plans.test", plan="x")["route_class"] == "two-x", "the new function"
            )
            send(daemon, "u@plans.test", plan="gold")
            assert ("plans.test", "two-gold") in classes(daemon, 10)
            assert not daemon.records("Bounce", "Expiration", "TransientFailure")
        with Daemon(tmp_path, policy, env=env, workers=0) as daemon:
            send(daemon, "w@contoso.test")
            daemon.wait_for_records("Delivery", 11)
            way = explained(daemon, "u@contoso.test")
            assert sum(round(route["lately"]["handed_over"]) for route in way["routes"]) == 3, (
                "a restart forgets nothing"
            )
