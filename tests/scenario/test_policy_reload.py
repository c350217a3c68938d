"""The policy file is edited while the daemon runs."""

from __future__ import annotations

import os
import re

import pytest
from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Sink, eventually, mail, relay_policy

from .test_http_inject import get

MARK = """
kumo.on('smtp_server_message_received', function(msg)
  msg:set_meta('x_mark', '%s')
end)
"""


def marked(directory, sink: int, mark: str) -> str:
    return relay_policy(directory, sink, SMTP_LISTENER + HTTP_LISTENER, MARK % mark)


def edit(daemon: Daemon, text: str) -> None:
    """Replace the file at once, as editors do."""
    fresh = daemon.policy.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, daemon.policy)


def mark_of_next(daemon: Daemon, number: list[int]) -> str:
    """The mark that a message gets now."""
    number[0] += 1
    with daemon.smtp() as client:
        client.sendmail("a@example.com", ["b@example.org"], mail(str(number[0])))
    return daemon.wait_for_records("Delivery", number[0])[-1]["meta"]["x_mark"]


def log_tells(daemon: Daemon, pattern: str, workers: int) -> None:
    """Wait until every worker's log does. Each of them looks at the file by itself."""
    eventually(
        lambda: len(re.findall(pattern, daemon.process.text())) >= max(1, workers), f"every worker logs {pattern!r}"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_policy_takes_effect_and_a_broken_one_does_not(tmp_path, workers: int) -> None:
    """An edit counts within seconds, for every worker; a broken edit changes nothing but the log and a metric."""
    number = [0]
    with Sink(tmp_path) as sink, Daemon(tmp_path, marked(tmp_path, sink.port, "old"), workers) as daemon:
        assert mark_of_next(daemon, number) == "old"
        edit(daemon, marked(tmp_path, sink.port, "new"))
        log_tells(daemon, "the policy was loaded anew, epoch", workers)
        assert mark_of_next(daemon, number) == "new"
        edit(daemon, marked(tmp_path, sink.port, "broken") + "\nthis is not Lua\n")
        log_tells(daemon, r"init\.lua:\d+: syntax error", workers)
        assert {mark_of_next(daemon, number) for _ in range(4)} == {"new"}
        text = get(daemon.port("http"), "/metrics")[1]
        assert re.search(r"^lua_load_failures [1-9]", text, re.MULTILINE), "a metric tells of the failed load"
        edit(daemon, marked(tmp_path, sink.port, "third"))
        eventually(lambda: mark_of_next(daemon, number) == "third", "a good edit after a broken one")
