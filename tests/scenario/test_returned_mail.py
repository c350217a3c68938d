"""Bounces and complaints come by mail about mail that a route table sent: they count for the route that carried it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from support.daemon import Daemon, Sink, eventually, mail
from support.reports import bounce_of, complaint_about

POLICY = r"""
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0', relay_hosts = {} }
  kumo.start_http_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
end)

kumo.on('get_listener_domain', function(domain)
  if domain == 'bounce.test' then
    return kumo.make_listener_domain { log_oob = 'LogThenDrop', log_arf = 'LogThenDrop' }
  end
  return kumo.make_listener_domain { relay_to = true }
end)

kumo.on('get_queue_config', function() return kumo.make_queue_config { route_table = 'bulk' } end)

kumo.on('get_route_table', function(name)
  local function to(port) return { smtp = { mx_list = { { name = 'sink.example', addr = '127.0.0.1:' .. port } } } } end
  return kumo.make_route_table {
    name = name,
    learn = { min_samples = 20 },
    routes = {
      { name = 'local', weight = 50, protocol = to(os.getenv 'LOCAL') },
      { name = 'other', weight = 50, protocol = to(os.getenv 'OTHER') },
    },
  }
end)

kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path { prohibited_hosts = {}, enable_tls = 'Disabled' }
end)
"""


def send(daemon: Daemon, first: int, count: int) -> None:
    with daemon.smtp() as client:
        for number in range(first, first + count):
            content = mail("hi", extra=f"Message-ID: <m{number}@src.test>\r\n")
            client.sendmail("a@bounce.test", [f"u{number}@far.test"], content)


def metric(daemon: Daemon, start: str) -> float:
    """The sum of all series whose line begins so."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port('http')}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def report(daemon: Daemon, *reports: str) -> None:
    """By turns to each worker."""
    clients = daemon.clients_of_each_worker()
    for number, one in enumerate(reports):
        clients[number % len(clients)].sendmail("", ["a@bounce.test"], one)
    for client in clients:
        client.quit()


def test_what_comes_back_by_mail_counts_for_the_route_that_carried_it(tmp_path: Path) -> None:
    """On another worker, after a restart: blocks and complaints move the share, reports about others' mail do not."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with Sink(tmp_path / "one") as local, Sink(tmp_path / "two") as other:
        env = {"LOGS": str(tmp_path / "log"), "LOCAL": str(local.port), "OTHER": str(other.port)}
        with Daemon(tmp_path, POLICY, env=env, workers=2) as daemon:
            send(daemon, 0, 60)
            daemon.wait_for_records("Delivery", 60)
            carried = [one for one in local.messages() if one["data"]]
            assert 25 <= len(carried) <= 35
            daemon.stop()
            daemon.start()
            blocked, complained = carried[:-5], carried[-5:]
            report(daemon, *[bounce_of(one["data"], one["recipients"][0]) for one in blocked])
            report(daemon, *[complaint_about(one["data"]) for one in complained])
            report(daemon, bounce_of("Message-ID: <x@y>\r\n\r\nno\r\n", "u1@far.test"), complaint_about("\r\nhi\r\n"))
            bounces = daemon.wait_for_records("OOB", len(blocked) + 1)
            complaints = daemon.wait_for_records("Feedback", 6)
            known = [one for one in bounces + complaints if "route" in one]
            assert len(known) == len(carried)
            assert {(one["route_table"], one["route"], one["route_class"]) for one in known} == {
                ("bulk", "local", "far.test")
            }
            assert metric(daemon, 'total_mail_reports{kind="failed",message="known"}') == len(blocked)
            assert metric(daemon, 'total_mail_reports{kind="complained",message="known"}') == 5
            for kind in ("failed", "complained"):
                assert metric(daemon, f'total_mail_reports{{kind="{kind}",message="unknown"}}') == 1

            def is_left() -> bool:
                send(daemon, 200, 1)
                start = 'route_share{table="bulk",route="local",class="far.test"}'
                return metric(daemon, start) < 0.05

            eventually(is_left, "the share of the route whose mail comes back")
