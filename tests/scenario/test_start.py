"""How the daemon starts, and how it says that it cannot."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.daemon import SMTP_LISTENER, Daemon, Process, Sink, eventually, mail, relay_policy


def start(tmp_path: Path, policy: str, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "init.lua"
    path.write_text(policy)
    command = [sys.executable, "-m", "kumotwist.service.main", "run", f"--policy={path}", f"--state-dir={tmp_path}"]
    return subprocess.run([*prefix, *command, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_policy_with_a_mistake_ends_the_start(tmp_path, workers: str) -> None:
    """The line, the mistake and what was meant are on stderr, once for all workers, and the status is 1."""
    policy = (
        "local kumo = require 'kumo'\nkumo.on('init', function()\n  kumo.start_esmtp_listener { lisen = 'x' }\nend)\n"
    )
    done = start(tmp_path, policy, f"--workers={workers}")
    assert done.returncode == 1
    mistake = "init.lua:3: kumo.start_esmtp_listener: unknown option 'lisen'; did you mean 'listen'?"
    assert re.fullmatch(rf"kumotwist: \S+/{re.escape(mistake)}\n", done.stderr)


def test_validate_says_each_mistake_once(tmp_path) -> None:
    """One line for one mistake, with file and line, and nothing else."""
    path = tmp_path / "init.lua"
    path.write_text("local kumo = require 'kumo'\nkumo.on('init', function() error('boom') end)\n")
    command = [sys.executable, "-m", "kumotwist.service.main", "validate", f"--policy={path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    # Lua shortens a long path from the left.
    assert re.fullmatch(r"error: \S+/init\.lua:2: boom\n", done.stderr)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_https_listener_without_its_certificate_ends_the_start(tmp_path, workers: str) -> None:
    """Which listener and which file, in one line."""
    listener = "kumo.start_http_listener { listen = '127.0.0.1:0', use_tls = true, tls_certificate = '/nowhere.pem' }"
    done = start(tmp_path, relay_policy(tmp_path, 9, listener), f"--workers={workers}")
    assert done.returncode == 1
    assert "kumotwist: the HTTP listener on 127.0.0.1:0 has no certificate: key file /nowhere.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_of_a_policy_that_is_stuck_can_be_ended(tmp_path) -> None:
    """`timeout 60 kumotwist validate`, and Ctrl-C, work even while the policy is inside one long C function."""
    path = tmp_path / "init.lua"
    stuck = "local _ = (('a'):rep(50)):find(('a?'):rep(50) .. ('a'):rep(50))"
    path.write_text(f"local kumo = require 'kumo'\nio.stderr:write 'here\\n'\n{stuck}\n")
    command = [sys.executable, "-m", "kumotwist.service.main", "validate", f"--policy={path}"]
    process = Process(command, "stderr")
    process.wait_for_line("here", 60.0)
    process.signal(signal.SIGTERM)
    assert process.wait(10.0) == -signal.SIGTERM


def test_a_port_in_use_ends_the_start(tmp_path) -> None:
    """Two daemons on one port: the second says which, and touches no spool."""
    with Sink(tmp_path) as sink:
        listener = f"kumo.start_esmtp_listener {{ listen = '127.0.0.1:{sink.port}' }}"
        done = start(tmp_path, relay_policy(tmp_path, 9, listener), "--workers=1")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{sink.port}: Address already in use" in done.stderr
    assert not (tmp_path / "spool").exists()


WAITS_AT_FIRST = """
kumo.on('pre_init', function()
  if #kumo.fs.glob '{marker}' == 0 then
    io.open('{marker}', 'w'):close()
    kumo.sleep(600)
  end
end)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_while_the_daemon_starts_is_replaced(tmp_path, number: int) -> None:
    """The kernel takes a worker for want of memory in its very first second: a new one starts, and mail flows."""
    marker = tmp_path / "waiting"
    with Sink(tmp_path) as sink:
        policy = relay_policy(tmp_path, sink.port, rest=WAITS_AT_FIRST.format(marker=marker))
        daemon = Daemon(tmp_path, policy, workers=1).start(wait=False)
        eventually(marker.exists, "the first worker is at its start", 60)
        os.kill(daemon.worker_pids()[0], number)
        daemon.wait_complete()
        with daemon:
            (told,) = [line for line in daemon.process.lines if "worker 0 ended" in line]
            assert number != signal.SIGKILL or "it was killed by signal 9 (Killed)" in told
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("replaced"))
            daemon.wait_for_records("Delivery", 1)


@pytest.mark.parametrize(("workers", "needed"), [("0", 256), ("2", 160)])
def test_too_few_files_end_the_start(tmp_path, workers: str, needed: int) -> None:
    """`ulimit -n 100` is refused in one line that says what is needed."""
    done = start(tmp_path, relay_policy(tmp_path, 9), f"--workers={workers}", prefix=("prlimit", "--nofile=100"))
    assert done.returncode == 1
    line = rf"kumotwist: a process may open 100 files .* with --workers {workers} each needs at least {needed}, .*\n"
    assert re.fullmatch(line, done.stderr)
    assert not (tmp_path / "spool").exists()


def test_the_soft_limit_of_files_is_raised(tmp_path) -> None:
    """A shell's low limit does no harm while the hard one allows more, nor does a file that the shell left open."""
    number = fcntl.fcntl(0, fcntl.F_DUPFD, 900)
    os.set_inheritable(number, True)
    try:
        daemon = Daemon(tmp_path, relay_policy(tmp_path, 9), workers=2, prefix=("prlimit", "--nofile=100:512"))
        with daemon.start():
            opened = {int(one) for pid in daemon.worker_pids() for one in os.listdir(f"/proc/{pid}/fd")}
            assert max(opened) < 512
            limits = Path(f"/proc/{daemon.worker_pids()[0]}/limits").read_text()
            assert re.search(r"Max open files +512 +512", limits)
    finally:
        os.close(number)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_spool_that_cannot_be_had_ends_the_start(tmp_path, workers: str) -> None:
    """A state directory that is a file is said at once, and once for all workers."""
    (tmp_path / "spool").write_text("")
    policy = relay_policy(tmp_path / "spool", 9, SMTP_LISTENER)
    done = start(tmp_path, policy, f"--workers={workers}")
    assert done.returncode == 1
    assert done.stderr.count(f"kumotwist: cannot use the spool {tmp_path}/spool") == 1
    assert "did not start" not in done.stderr
    assert "waiting" not in done.stderr


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--diag-filter=kumotwist=loud", "unknown level 'loud'"),
        ("--diag-log-dir=/dev/null", "--diag-log-dir /dev/null"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, argument: str, text: str) -> None:
    """What is wrong with an option's value is said without a traceback."""
    done = start(tmp_path, relay_policy(tmp_path, 9, SMTP_LISTENER), argument)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kumotwist: {text}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("argument", "text"), [("--workers=x", "--workers"), ("--polcy=x", "--polcy"), ("x", "'x'")])
def test_a_wrong_command_line_is_one_line(tmp_path, argument: str, text: str) -> None:
    """What cannot be read of the command line is said in one line, with status 2."""
    done = start(tmp_path, relay_policy(tmp_path, 9, SMTP_LISTENER), argument)
    assert done.returncode == 2
    assert re.fullmatch(r"kumotwist run: .*; see `kumotwist run --help`\n", done.stderr)
    assert text in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("workers", [0, 2])
def test_privileges_are_dropped(tmp_path, workers: int) -> None:
    """With --user nothing runs as root once the daemon is complete, and mail flows."""
    nobody = pwd.getpwnam("nobody").pw_uid
    if not _can_run_python("nobody"):
        pytest.skip("another user cannot run this Python")
    # Not under tmp_path: each run of pytest takes the rights of others off what is above it.
    with tempfile.TemporaryDirectory(prefix="kumotwist-") as directory, Sink(tmp_path) as sink:
        work = Path(directory)
        os.chown(work, nobody, -1)
        policy = relay_policy(work, sink.port, SMTP_LISTENER)
        daemon = Daemon(work, policy, workers, arguments=["--user=nobody"])
        with daemon.start():
            owners = {os.stat(f"/proc/{pid}").st_uid for pid in (daemon.pid, *daemon.worker_pids())}
            assert owners == {nobody}
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("dropped"))
            daemon.wait_for_records("Delivery", 1)


def _can_run_python(user: str) -> bool:
    try:
        return subprocess.run([sys.executable, "-c", "import kumotwist"], user=user, cwd="/").returncode == 0
    except PermissionError:
        return False
