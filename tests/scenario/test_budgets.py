"""A budget on a route of a real daemon: several workers share it, and what is over is kept."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections import Counter
from pathlib import Path

from support.daemon import Daemon, Sink, mail

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 hour' }
  kumo.define_spool { name = 'data', path = os.getenv 'SPOOL' .. '/data' }
  kumo.define_spool { name = 'meta', path = os.getenv 'SPOOL' .. '/meta' }
end)

kumo.on('get_queue_config', function() return kumo.make_queue_config { route_table = 'paid' } end)

kumo.on('get_route_table', function(name)
  return kumo.make_route_table { name = name, routes = { {
    name = 'dear', weight = 1, protocol = { smtp = { mx_list = { os.getenv 'RELAY' } } },
    budgets = { { rate = '5/h' } },
  } } }
end)

kumo.on('get_egress_path_config', function() return kumo.make_egress_path { prohibited_hosts = {} } end)
"""


def test_workers_share_a_budget(tmp_path: Path) -> None:
    """Five an hour are five, whichever worker has them; the others wait in the spool, with the reason in the log."""
    with Sink(tmp_path) as sink:
        env = {
            "RELAY": f"127.0.0.1:{sink.port}",
            "LOGS": str(tmp_path / "log"),
            "SPOOL": str(tmp_path / "spool"),
        }
        with Daemon(tmp_path, POLICY, workers=2, env=env) as daemon:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(client) for client in daemon.clients_of_each_worker()]
                for number in range(20):
                    clients[number % 2].sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
            daemon.wait_for_records("Delivery", 5)
            held = daemon.wait_for_records("Delayed", 15)
        segments = list(daemon.log_dir.iterdir())
        assert len(segments) == 2, "both workers had some, each with a segment of its own"
        assert len(daemon.records("Delivery")) == len(sink.messages()) == 5
        assert all("budget of 5/h by all, then hold is used up" in record["response"]["content"] for record in held)


def test_workers_take_turns(tmp_path: Path) -> None:
    """Of what is held each worker sends as many as it has messages that are next, and each message is told of once."""
    with Sink(tmp_path) as sink:
        env = {
            "RELAY": f"127.0.0.1:{sink.port}",
            "LOGS": str(tmp_path / "log"),
            "SPOOL": str(tmp_path / "spool"),
        }
        policy = POLICY.replace("5/h", "120/m,max_burst=1")
        with Daemon(tmp_path, policy, workers=2, env=env) as daemon:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(client) for client in daemon.clients_of_each_worker()]
                for number in range(40):
                    clients[number % 2].sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
            sink.wait_for(20)
            sent = Counter(int(message["recipients"][0][1:].partition("@")[0]) % 2 for message in sink.messages()[:20])
            held = Counter(record["id"] for record in daemon.records("Delayed"))
        assert all(7 <= sent[worker] <= 13 for worker in (0, 1)), sent
        assert set(held.values()) == {1}


def test_a_restart_gives_nothing_back(tmp_path: Path) -> None:
    """What an hour allows is spent once, through a kill and through another number of workers; who waited waits on."""
    with Sink(tmp_path) as sink:
        env = {
            "RELAY": f"127.0.0.1:{sink.port}",
            "LOGS": str(tmp_path / "log"),
            "SPOOL": str(tmp_path / "spool"),
        }
        for workers, count, is_killed in ((2, 8, True), (1, 3, False), (2, 3, False)):
            with Daemon(tmp_path, POLICY, workers=workers, env=env) as daemon:
                with daemon.smtp() as client:
                    for number in range(count):
                        client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
                daemon.wait_for_records("Delivery", 5)
                daemon.wait_for_records("Delayed", 3)
                if is_killed:
                    daemon.kill()
        assert len(sink.messages()) == 5


TWO_ROUTES = POLICY.replace(
    """routes = { {
    name = 'dear', weight = 1, protocol = { smtp = { mx_list = { os.getenv 'RELAY' } } },
    budgets = { { rate = '5/h' } },
  } } }""",
    """routes = {
    { name = 'capped', weight = 1, protocol = { smtp = { mx_list = { os.getenv 'RELAY' } } },
      budgets = { { rate = '20/m,max_burst=0' } } },
    { name = 'free', weight = 1, protocol = { smtp = { mx_list = { os.getenv 'RELAY' } } } },
  }, class = 'all' }""",
).replace("127.0.0.1:0' }\n", "127.0.0.1:0' }\n  kumo.start_http_listener { listen = '127.0.0.1:0' }\n", 1)


def explained(daemon: Daemon, spool_id: str) -> dict:
    url = f"http://127.0.0.1:{daemon.port('http')}/api/admin/explain/v1"
    request = urllib.request.Request(url, json.dumps({"id": spool_id}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def test_what_is_held_keeps_its_route_through_a_restart(tmp_path: Path) -> None:
    """Half and half stays half and half: what waits for room goes by its own route, and an explanation says so."""
    with Sink(tmp_path) as sink:
        env = {
            "RELAY": f"127.0.0.1:{sink.port}",
            "LOGS": str(tmp_path / "log"),
            "SPOOL": str(tmp_path / "spool"),
        }
        with Daemon(tmp_path, TWO_ROUTES, env=env) as daemon:
            with daemon.smtp() as client:
                for number in range(16):
                    client.sendmail("a@src.test", [f"u{number}@dest.test"], mail("hi"))
            held = daemon.wait_for_records("Delayed", 6)
            told = explained(daemon, held[-1]["id"])
            assert told["queued"]["waits_for_room_on"] == ["paid/capped"]
            assert told["queued"]["next"].endswith("; it waits for room on paid/capped")
            chosen = [route["name"] for route in told["way"]["routes"] if route["is_chosen"]]
            assert (chosen, told["way"]["draw"]) == (
                ["capped"],
                "it was that route's turn when it began to wait for room",
            )
        with Daemon(tmp_path, TWO_ROUTES, env=env) as daemon:
            delivered = daemon.wait_for_records("Delivery", 16, 60.0)
        assert Counter(record["route"] for record in delivered) == {"capped": 8, "free": 8}
