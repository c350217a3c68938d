"""A disk whose sync fails under a running daemon: the kernel's answer to fdatasync is EIO from some moment on."""

from __future__ import annotations

import json
import shutil
import smtplib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Process, Sink, mail, relay_policy
from support.ports import unused_port

pytestmark = pytest.mark.privileged


@contextmanager
def every_sync_fails(pid: int) -> Iterator[None]:
    """While the block runs, fdatasync and fsync of the process answer EIO, by strace's fault injection."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (apt-get install strace)")
    command = ["strace", "-f", "-p", str(pid), "-e", "trace=fdatasync,fsync", "-o", "/dev/null"]
    tracer = Process([*command, "-e", "inject=fdatasync,fsync:error=EIO"], "stderr")
    try:
        try:
            tracer.wait_for_line("attached", 30)
        except AssertionError as error:
            pytest.skip(f"a process cannot be traced here: {error}")
        yield
    finally:
        tracer.popen.terminate()
        tracer.wait(30)


def inject(daemon: Daemon) -> int:
    """The status of an HTTP injection."""
    url = f"http://127.0.0.1:{daemon.port('http')}/api/inject/v1"
    request = {"envelope_sender": "a@example.com", "recipients": [{"email": "b@example.org"}], "content": "hello"}
    body, headers = json.dumps(request).encode(), {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_failed_sync_stops_acceptance_and_says_so(tmp_path: Path) -> None:
    """Nobody hears 250 or 200 for what was not synced; SMTP says 421, HTTP 503, the log says why; nothing is lost."""
    port = unused_port()
    policy = relay_policy(tmp_path, port, f"{SMTP_LISTENER}\n{HTTP_LISTENER}")
    daemon = Daemon(tmp_path, policy).start()
    assert daemon.process is not None
    with daemon.smtp() as client:
        client.sendmail("sender@example.com", "someone@example.org", mail("acknowledged"))
        with every_sync_fails(daemon.pid):
            # At the dot, or already at MAIL when a retry of the first message was what failed.
            with pytest.raises(smtplib.SMTPResponseException, match="421"):
                client.sendmail("sender@example.com", "someone@example.org", mail("not acknowledged"))
            assert inject(daemon) == 503
    # The disk behaves again; nobody knows what it kept, so only a new process may use it.
    with pytest.raises(smtplib.SMTPConnectError, match=r"421.*spool is not accepting writes"):
        daemon.smtp()
    assert inject(daemon) == 503
    daemon.expect_critical("cannot write the spool")
    log = daemon.process.text()
    assert log.count("cannot write the spool") == 1
    assert "no mail is accepted until a restart" in log
    daemon.stop()
    with Daemon(tmp_path, policy) as again, Sink(tmp_path, listen=f"127.0.0.1:{port}") as sink:
        assert inject(again) == 200
        sink.wait_for(2)
        assert {"acknowledged"} <= {
            record["headers"].get("Subject") for record in again.wait_for_records("Delivery", 2)
        }
