"""Counting messages at the sink and the CPU time of a process tree.

Public: `Sink`, `cpu_seconds`, `free_port`, `offer`, `wait_port`. Linux only.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_COUNTER = re.compile(rb"mesg=(\d+)")
#: A run that stands still for so long has lost a message.
STALL = 60.0
#: Seconds between two looks at the sink's counter: one for each message would take a fiftieth of the
#: cores that the relays are measured on.
LOOK = 0.005


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_port(port: int, timeout: float = 60.0) -> None:
    """Return when somebody listens on `port`."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


class Sink:
    """Postfix's smtp-sink with its running counter; a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        user = ["-u", "postfix"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            ["smtp-sink", "-c", *user, f"127.0.0.1:{self.port}", "1024"], stdout=subprocess.PIPE, bufsize=0
        )
        self.count = 0
        self.last = 0.0
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_port(self.port)

    def wait_for(self, count: int) -> float:
        """The time (monotonic) at which message number `count` had arrived."""
        with self._changed:
            while self.count < count:
                if not self._changed.wait(STALL):
                    raise RuntimeError(f"the sink stands still at {self.count} of {count} messages")
            return self.last

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        rest = b""
        while chunk := stream.read(1 << 16):
            found = _COUNTER.findall(rest + chunk)
            rest = chunk[-40:]
            if found:
                with self._changed:
                    self.count, self.last = int(found[-1]), time.monotonic()
                    self._changed.notify_all()
            time.sleep(LOOK)

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def offer(port: int, count: int, size: int, sessions: int) -> None:
    """Send `count` messages of `size` octets over `sessions` connections that are kept."""
    subprocess.run(
        [
            *("smtp-source", "-d", "-s", str(sessions), "-m", str(count), "-l", str(size)),
            *("-f", "sender@example.com", "-t", "someone@example.org", f"127.0.0.1:{port}"),
        ],
        check=True,
    )


def cpu_seconds(roots: Sequence[int]) -> float:
    """User and system time of these processes, all that live below them, and those that they have outlived."""
    ticks = 0
    for pid in _tree(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICK


def _tree(roots: Sequence[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = set(), list(roots)
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return found
