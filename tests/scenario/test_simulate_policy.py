"""`kumotwist simulate --policy`: outages against the table of a real policy; no secret is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

POLICY = """
local kumo = require 'kumo'

kumo.on('init', function() kumo.start_esmtp_listener { listen = '127.0.0.1:0' } end)
kumo.on('get_queue_config', function() return kumo.make_queue_config { route_table = 'bulk' } end)
kumo.on('get_route_table', function(name)
  if name == 'text' then error('there is no such table') end
  if name ~= 'bulk' then return nil end
  local fallback = { { route_table = 'push' }, { route_table = 'text' } }
  return kumo.make_route_table { name = name, on_failure = 'next_route', fallback = fallback, routes = {
    { name = 'api', weight = 30, protocol = { sendgrid = { api_key = { env = 'IS_NOT_SET' } } } },
    { name = 'own', weight = 70, budgets = { { rate = '1,000/h' } } },
    { name = 'spare', weight = 0, egress_pool = 'spare' },
  } }
end)
"""
SCENARIO = """
duration = "4 minutes"
rate = 10
[[trouble]]
route = "ROUTE"
from = "1 minute"
until = "2 minutes"
success = 0.0
"""


def simulate(directory: Path, route: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    policy, scenario = directory / "policy.lua", directory / "own.toml"
    policy.write_text(POLICY)
    scenario.write_text(SCENARIO.replace("ROUTE", route))
    command = [sys.executable, "-m", "kumotwist.service.main", "simulate", f"--policy={policy}", "--scenario"]
    return subprocess.run(
        [*command, str(scenario), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_table_comes_from_the_policy(tmp_path: Path) -> None:
    """With its routes, weights and what follows a failure."""
    done = simulate(tmp_path, "largest", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["table"], result["routes"]) == ("bulk", ["api", "own", "spare"])
    learned = result["runs"]["learned"]
    assert learned["lost"] < result["runs"]["fixed weights"]["lost"]
    assert learned["saved"] > 0
    assert "'bulk': retries, the budgets of own and the fallback to push, text." in result["not_played"]
    assert done.stderr == ""


def test_a_shipped_scenario_on_it_and_what_is_not_played(tmp_path: Path) -> None:
    """The largest route is that of the policy; a line below the table says what of it the figures leave out."""
    done = simulate(tmp_path, "largest", "--scenario=dies-small")
    assert done.returncode == 0, done.stderr
    table, _, remark = done.stdout.partition("\n\n")
    assert "the smallest route dies" in table
    assert remark.startswith("Not played, of table 'bulk': retries, the budgets of own and the fallback to push, text.")


def test_a_route_that_the_table_has_not(tmp_path: Path) -> None:
    """The names that it has are told."""
    done = simulate(tmp_path, "owm")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no route 'owm'; did you mean 'own'?; table 'bulk' has api, own, spare" in done.stderr


def test_a_table_that_the_policy_has_not(tmp_path: Path) -> None:
    """One line with the names that it has; exit status 2 for a name that it gives no table for, 1 when it fails."""
    done = simulate(tmp_path, "largest", "--table", "bluk")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("kumotwist simulate: --table: route table 'bluk': ")
    assert line.endswith("knows no table 'bluk'; queues name bulk, push, text; did you mean 'bulk'?")
    failed = simulate(tmp_path, "largest", "--table", "text")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "there is no such table" in failed.stderr
    assert "Traceback" not in done.stderr + failed.stderr
