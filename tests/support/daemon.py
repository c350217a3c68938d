"""Scenario tests: a real daemon in its own process, on loopback, with directories of its own.

`Daemon` starts `twistd -n kumo` on a policy, knows the ports really bound,
reads the log records, and stops it by signal. `Sink` is the SMTP stand-in as a
process. `eventually` waits for something to come true and says what it saw
when it does not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import zstandard

T = TypeVar("T")

#: Generous: the machine may be busy with other tests.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
WAIT = 30.0

_LISTENER = re.compile(r"(smtp|https?) listener on (\S+):(\d+)$")

#: What most policies begin with; `{listeners}` and `{rest}` are filled in.
PREAMBLE = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.configure_local_logs {{
    log_dir = '{log_dir}', max_segment_duration = '1 second', headers = {{ 'Subject', 'X-*' }}, meta = {{ '*' }},
  }}
  kumo.define_spool {{ name = 'data', path = '{spool}/data' }}
  kumo.define_spool {{ name = 'meta', path = '{spool}/meta' }}
  {listeners}
end)
kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {{
    protocol = {{ smtp = {{ mx_list = {{ {{ name = 'sink.example', addr = '127.0.0.1:{sink}' }} }} }} }},
    retry_interval = '1 second', max_retry_interval = '2 seconds',
  }}
end)
kumo.on('get_egress_path_config', function(domain, source, site)
  return kumo.make_egress_path {{ prohibited_hosts = {{}}, enable_tls = '{enable_tls}' }}
end)
"""
SMTP_LISTENER = "kumo.start_esmtp_listener { listen = '127.0.0.1:0' }"
HTTP_LISTENER = "kumo.start_http_listener { listen = '127.0.0.1:0' }"


def relay_policy(
    directory: Path, sink: int, listeners: str = SMTP_LISTENER, rest: str = "", enable_tls: str = "Disabled"
) -> str:
    """A policy that relays everything to the sink on port `sink`; `rest` comes before the defaults' events."""
    text = PREAMBLE.format(
        log_dir=directory / "log", spool=directory / "spool", listeners=listeners, sink=sink, enable_tls=enable_tls
    )
    head, init, tail = text.partition("kumo.on('init'")
    return head + rest + init + tail


def eventually(check: Callable[[], T], what: str, timeout: float = WAIT) -> T:
    """Call `check` until it gives something true; that."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}; last seen: {value!r}")
        threading.Event().wait(0.05)


class Process:
    """A child process whose lines of one stream are read by a thread."""

    def __init__(self, command: Sequence[str], stream: str, env: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        pipes: dict[str, Any] = {stream: subprocess.PIPE}
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, **(env or {})},
            **pipes,
        )
        self._reader = threading.Thread(target=self._read, args=(getattr(self.popen, stream),), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_for_line(self, pattern: str, timeout: float) -> str:
        """The first line that matches; AssertionError when the process ends or the time is over."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._new.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {timeout} s:\n" + self.text()) from None
            if line is None:
                raise AssertionError(f"ended with {self.popen.wait()} before {pattern!r}:\n" + self.text())
            if re.search(pattern, line):
                return line

    def text(self) -> str:
        return "\n".join(self.lines)

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit status."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            self._reader.join()
            raise AssertionError(f"did not end within {timeout} s:\n" + self.text()) from None
        self._reader.join()
        return status

    def _read(self, stream: io.TextIOBase) -> None:
        with stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
                self._new.put(self.lines[-1])
        self._new.put(None)


class Daemon:
    """The daemon under a policy. As a context manager it is stopped at the end and must exit with 0."""

    def __init__(
        self,
        directory: Path,
        policy: str | Path,
        workers: int = 0,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        shutdown_timeout: float = 10.0,
        prefix: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        if isinstance(policy, Path):
            self.policy = policy
        else:
            self.policy = directory / "init.lua"
            self.policy.write_text(policy)
        self.log_dir = directory / "log"
        self.workers = workers
        self._env = env
        self._arguments = [*arguments, f"--shutdown-timeout={shutdown_timeout}"]
        self._prefix = prefix
        self.process: Process | None = None
        self._finished: dict[Path, list[dict[str, Any]]] = {}
        self.listeners: list[tuple[str, str, int]] = []
        self._expected: list[str] = []

    def expect_critical(self, text: str) -> None:
        """A critical line or a traceback that holds `text` is no fault of this daemon."""
        self._expected.append(text)

    def start(self, wait: bool = True) -> Daemon:
        """Start it; returns when it is complete."""
        command = [
            *self._prefix,
            sys.executable,
            "-c",
            "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()",
            "--nodaemon",
            "--pidfile=",
            "kumo",
            f"--policy={self.policy}",
            f"--state-dir={self.directory / 'state'}",
            f"--workers={self.workers}",
            *self._arguments,
        ]
        self.process = Process(command, "stderr", self._env)
        if wait:
            self.wait_complete()
        return self

    def wait_complete(self) -> None:
        assert self.process is not None
        self.process.wait_for_line(r"^initialization complete$", START_TIMEOUT)
        found = (_LISTENER.search(line) for line in list(self.process.lines))
        self.listeners = [(match[1], match[2], int(match[3])) for match in found if match]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def worker_pids(self) -> list[int]:
        """Process ids of the workers, in the order in which they were started."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def port(self, scheme: str = "smtp", ordinal: int = 0) -> int:
        """The port of the `ordinal`th listener of that scheme."""
        return [port for name, _, port in self.listeners if name == scheme][ordinal]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it by signal; it must drain and exit with 0."""
        assert self.process is not None
        self.process.signal(number)
        status = self.process.wait(STOP_TIMEOUT)
        assert status == 0, f"exit status {status}:\n{self.process.text()}"
        self._check_log()

    def _check_log(self) -> None:
        """What is logged as critical or with a traceback fails the test, as it does for code in this process."""
        assert self.process is not None
        bad = [line for line in self.process.lines if " CRITICAL " in line or line.startswith("Traceback (most recent")]
        bad = [line for line in bad if not any(text in line for text in self._expected)]
        assert not bad, f"unexpected failures were logged:\n{self.process.text()}"

    def kill(self) -> None:
        """kill -9 of the daemon and all its workers at one moment."""
        assert self.process is not None
        pids = [self.pid, *self.worker_pids()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT)
        eventually(lambda: not any(_is_alive(pid) for pid in pids), "all its processes are gone")

    def __enter__(self) -> Daemon:
        return self if self.process is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self.process is not None
        if self.process.popen.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()
        if kind is not None:
            print(self.process.text())

    def records(self, *types: str) -> list[dict[str, Any]]:
        """The log records written so far, oldest segment first; of these types only, if any is named."""
        found = [record for path in sorted(self.log_dir.glob("*")) for record in self._segment(path)]
        return [record for record in found if not types or record["type"] in types]

    def _segment(self, path: Path) -> list[dict[str, Any]]:
        """The records of one segment; those of a finished one are read once."""
        known = self._finished.get(path)
        if known is None:
            is_finished = not path.stat().st_mode & 0o222
            known = list(read_segment(path))
            if is_finished:
                self._finished[path] = known
        return known

    def wait_for_records(self, kind: str, count: int, timeout: float = WAIT) -> list[dict[str, Any]]:
        """At least `count` records of this type."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.records(kind)
            return found if len(found) >= count else None

        try:
            return eventually(enough, f"{count} {kind} records", timeout)
        except AssertionError as error:
            kinds = [record["type"] for record in self.records()]
            tally = {name: kinds.count(name) for name in set(kinds)}
            raise AssertionError(f"{error}; records: {tally}; log:\n{self.process and self.process.text()}") from None

    def clients_of_each_worker(self) -> list[smtplib.SMTP]:
        """One SMTP client of each worker. Which one takes a connection is else a matter of who is fast."""
        clients = []
        workers = self.worker_pids()
        for mine in workers:
            others = [pid for pid in workers if pid != mine]
            try:
                for pid in others:
                    os.kill(pid, signal.SIGSTOP)
                clients.append(self.smtp())
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
        return clients

    def smtp(self, ordinal: int = 0) -> smtplib.SMTP:
        """A client connected to the SMTP listener; to be used in a `with`."""
        return smtplib.SMTP("127.0.0.1", self.port("smtp", ordinal), timeout=30)


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one segment; of one still open, those that have been flushed."""
    text = b""
    try:
        with (
            path.open("rb") as stream,
            zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True) as reader,
        ):
            while chunk := reader.read(1 << 16):
                text += chunk
    except (zstandard.ZstdError, FileNotFoundError):
        pass
    for line in text.split(b"\n")[:-1]:
        yield json.loads(line)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Sink:
    """The SMTP stand-in as a process; a context manager."""

    def __init__(
        self,
        directory: Path,
        rules: Sequence[Mapping[str, object]] = (),
        certificate: Path | None = None,
        listen: str = "127.0.0.1:0",
    ) -> None:
        self.output = directory / "sink.jsonl"
        self._read = 0
        self._messages: list[dict[str, Any]] = []
        command = [sys.executable, "-m", "kumotwist.demo.standin_smtp", "--listen", listen]
        command += ["--rules", json.dumps(list(rules)), "--output", str(self.output)]
        if certificate is not None:
            command += ["--certificate", str(certificate)]
        self.process = Process(command, "stdout")
        line = self.process.wait_for_line(r"^listening on ", START_TIMEOUT)
        self.port = int(line.rpartition(":")[2])

    def messages(self) -> list[dict[str, Any]]:
        """What it has taken so far."""
        if self.output.exists():
            with self.output.open("rb") as stream:
                stream.seek(self._read)
                *lines, _ = stream.read().split(b"\n")
            self._read += sum(len(line) + 1 for line in lines)
            self._messages += [json.loads(line) for line in lines]
        return list(self._messages)

    def wait_for(self, count: int, timeout: float = WAIT) -> list[dict[str, Any]]:
        """At least `count` messages."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.messages()
            return found if len(found) >= count else None

        return eventually(enough, f"{count} messages at the sink (has {len(self.messages())})", timeout)

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.popen.kill()
        self.process.wait(STOP_TIMEOUT)


def mail(subject: str, body: str = "Hello.", extra: str = "") -> str:
    """A small message."""
    return f"From: <sender@example.com>\r\nTo: <someone@example.org>\r\nSubject: {subject}\r\n{extra}\r\n{body}\r\n"
