"""The demonstration behind `make run`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

from support.daemon import Process


def found(pattern: str, text: str) -> list[str]:
    match = re.search(pattern, text)
    assert match, text
    return list(match.groups())


def test_a_provider_fails_and_comes_back_and_the_counts_add_up(tmp_path) -> None:
    """A short run ends by itself: what was accepted is accounted for, and the outage cost attempts but no message."""
    command = [sys.executable, "-m", "kumotwist.demo", "--duration", "8", "--workers", "1", "--failing", "0"]
    # Two seconds are the breaker's first pause, too: its trial comes after them, whenever it has opened.
    command += ["--outage", "2", "--outage-after", "0.5"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accounts = r"accepted (\d+) \(SMTP (\d+), HTTP (\d+), send API (\d+)\)"
    accounts += r" = delivered (\d+) \+ bounced (\d+) \+ still queued (\d+)"
    accepted, smtp, http, sent, delivered, bounced, queued = map(int, found(accounts, done.stdout))
    assert accepted == smtp + http + sent == delivered + bounced + queued
    assert min(smtp, http, sent) > 0
    texts = r"texts handed over (\d+) = receipts (\d+): arrived (\d+), did not (\d+)"
    handed_over, receipts, arrived, lost = map(int, found(texts, done.stdout))
    assert handed_over == receipts == arrived + lost
    assert arrived > 0
    cost = r"the outage of 2\.0 s cost (\d+) attempts.* (\d+) went on at once .*, 0 still wait, 0 bounced"
    attempts, went_on = map(int, found(cost, done.stdout))
    assert 4 <= attempts <= 12, "as many as the breaker needs, and those on the wire"
    assert went_on > 0
    opened, closed = (done.stdout.index(f"SendGrid API breaker {what}") for what in ("opens", "closes"))
    assert opened < closed
    assert "not 20 / 10 / 70" in done.stdout
    assert not list(tmp_path.iterdir()), "it cleans up behind itself"


def test_ctrl_c_in_an_outage_ends_it_with_a_summary(tmp_path) -> None:
    """Without a duration it runs until Ctrl-C, and then sums up."""
    command = [sys.executable, "-u", "-m", "kumotwist.demo", "--workers", "0"]
    command += ["--outage", "30", "--outage-after", "0.5"]
    demo = Process(command, "stdout", {"TMPDIR": str(tmp_path)})
    demo.wait_for_line(r"stand-in refuses everything for 30 s \(\d+ left\); breaker open", 60)
    demo.signal(signal.SIGINT)
    assert demo.wait(90) == 0, demo.text()
    assert re.search(r"the outage of [12]?\d\.\d s cost", demo.text())
    assert "still queued" in demo.text()
    assert not list(tmp_path.iterdir())
