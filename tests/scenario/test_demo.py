"""The demonstration behind `make run`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

from support.daemon import Process


def test_the_counts_add_up(tmp_path) -> None:
    """A short run ends by itself with status 0; what was accepted is delivered, bounced or queued."""
    command = [sys.executable, "-m", "kumotwist.demo", "--duration", "2", "--workers", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(
        r"accepted (\d+) \(SMTP (\d+), HTTP (\d+), send API (\d+)\)"
        r" = delivered (\d+) \+ bounced (\d+) \+ still queued (\d+)",
        done.stdout,
    )
    assert found, done.stdout
    accepted, smtp, http, sent, delivered, bounced, queued = map(int, found.groups())
    assert accepted == smtp + http + sent == delivered + bounced + queued
    assert min(smtp, http, sent) > 0
    texts = re.search(r"texts handed over (\d+) = receipts (\d+): arrived (\d+), did not (\d+)", done.stdout)
    assert texts, done.stdout
    handed_over, receipts, arrived, lost = map(int, texts.groups())
    assert handed_over == receipts == arrived + lost
    assert arrived > 0
    assert not list(tmp_path.iterdir()), "it cleans up behind itself"


def test_ctrl_c_ends_it_with_a_summary(tmp_path) -> None:
    """Without a duration it runs until Ctrl-C, and then sums up."""
    command = [sys.executable, "-u", "-m", "kumotwist.demo", "--workers", "0"]
    demo = Process(command, "stdout", {"TMPDIR": str(tmp_path)})
    demo.wait_for_line(r"^sending: delivered/accepted", 60)
    demo.signal(signal.SIGINT)
    assert demo.wait(90) == 0, demo.text()
    assert "still queued" in demo.text()
    assert not list(tmp_path.iterdir())
