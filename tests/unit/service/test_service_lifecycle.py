"""The process and its signals, each promise kept by a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

STUCK = """
import os, re, sys
from twisted.internet import reactor
from kumotwist.service import lifecycle

def compute(until):
    while reactor.seconds() < until:
        pass
    return reactor.seconds()

lifecycle.die_when_stuck(reactor, 0.5, {blocked})
{work}
reactor.run()
"""


def run(work: str, blocked: float = 60.0) -> subprocess.CompletedProcess[str]:
    source = STUCK.format(work=work, blocked=blocked)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)


def test_a_listener_takes_no_more_clients_than_there_are_descriptors_for() -> None:
    """Half of them: the one too many hears 421 while mail still leaves and is logged, and is not just hung up on."""
    source = "from kumotwist.service.lifecycle import affordable_connections as f; print(f(32768, 2), f(100, 2))"
    done = subprocess.run(["prlimit", "--nofile=256", sys.executable, "-c", source], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("256 100\n", "")


def test_a_process_stuck_in_one_c_function_is_ended() -> None:
    """A pattern that backtracks for ever does not keep a worker for ever; stderr says where it was."""
    done = run("reactor.callLater(0, re.match, '(a+)+b', 'a' * 60)")
    assert done.returncode == -signal.SIGVTALRM
    assert "in match" in done.stderr


def test_a_process_that_waits_for_one_thing_is_ended() -> None:
    """A program that policy runs and that never ends does not keep a worker for ever."""
    # It outlives the process, and would hold the other ends of its pipes.
    done = run("reactor.callLater(0, os.system, 'exec sleep 50 >/dev/null 2>&1')", blocked=1.0)
    assert done.returncode == 1
    assert done.stderr.startswith("Timeout")
    assert "runUntilCurrent" in done.stderr


def test_a_process_without_work_lives() -> None:
    """Nothing to do is not being stuck."""
    # Ten turns of its watch in those three seconds: a busy machine lets it have one of them.
    done = run("reactor.callLater(5.0, reactor.stop)", blocked=3.0)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_busy_process_lives() -> None:
    """Much CPU time does no harm while the reactor turns."""
    work = "now = reactor.seconds()\n"
    work += "for n in range(1, 16): reactor.callLater(0.1 * n, compute, now + 0.1 * n + 0.09)\n"
    work += "reactor.callLater(1.7, reactor.stop)"
    done = run(work)
    assert (done.returncode, done.stderr) == (0, "")
