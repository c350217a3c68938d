"""The demonstration's processes: the stand-ins and the daemon, in a directory of their own.

Public: `World`, `Child`. What can go wrong: RuntimeError, with what it printed, when a process does not start.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kumotwist.demo.google import service_account

#: The shipped policy, in the checkout.
POLICY: Final = Path(__file__).parents[2] / "policy" / "demo" / "init.lua"
#: Seconds that a process may take to start and to stop.
_START: Final = 60.0
_STOP: Final = 60.0

#: The mail server outside fails now and then, and refuses for good rarely.
_SINK_RULES: Final = (
    {"at": "rcpt", "share": 0.03, "reply": "451 4.2.1 mailbox busy, try again later"},
    {"at": "rcpt", "share": 0.01, "reply": "550 5.1.1 no such customer here"},
    {"at": "dot", "share": 0.01, "reply": "452 4.3.1 short of disk, try again later"},
)
#: How the APIs fail. Not by 429: that would have a provider rest for ten seconds, and the outage is what is to be seen.
_API_FAILURES: Final = "503,500,400"


class Child:
    """A process of the demonstration, told apart from us so that Ctrl-C reaches only us."""

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str], log: Path, pipe: str) -> None:
        self.name = name
        self._log = log.open("w", encoding="utf-8")
        streams: dict[str, Any] = {"stdout": self._log, "stderr": self._log, pipe: subprocess.PIPE}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env},
            start_new_session=True,
            text=True,
            **streams,
        )
        self._pipe = self.popen.stderr if pipe == "stderr" else self.popen.stdout

    def read_until(self, last: str) -> str:
        """What it prints up to the line that matches `last`. RuntimeError when it ends before."""
        assert self._pipe is not None
        deadline = time.monotonic() + _START
        text = ""
        for line in self._pipe:
            text += str(line)
            if re.search(last, line):
                return text
            if time.monotonic() > deadline:
                break
        raise RuntimeError(f"{self.name} did not start:\n{text}")

    def stop(self, timeout: float = _STOP) -> int:
        """End it by SIGTERM; its exit status."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            rest, errors = self.popen.communicate(timeout=timeout)
            self._log.write(errors or rest or "")
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()
        self._log.close()
        return self.popen.returncode


class World:
    """The stand-ins and the daemon, in a directory of their own."""

    def __init__(self, directory: Path, workers: int | None, failing: float) -> None:
        """`failing` is the part of the APIs' requests that fail all the while."""
        self.directory = directory
        self._failing = failing
        self._workers = workers
        self._children: list[Child] = []
        self.daemon: Child | None = None
        self.smtp_port = self.http_port = 0
        self._api = ""

    def start(self) -> None:
        """Start all; the daemon last."""
        rules = json.dumps(_SINK_RULES)
        relay = self._peer("sink", ["kumotwist.demo.standin_smtp", "--rules", rules])
        failing = ("--share", f"{self._failing}", "--failures", _API_FAILURES)
        self._api = api = self._peer("api", ["kumotwist.demo.standin_http", *failing])
        smsc = self._peer("smsc", ["kumotwist.demo.standin_smsc", "--share", "0.04"])
        env = {
            "DEMO_SMSC": smsc,
            "DEMO_FCM_ACCOUNT": str(service_account(self.directory, f"http://{api}/token")),
            "DEMO_DIR": str(self.directory),
            "DEMO_RELAY": relay,
            "DEMO_API": f"http://{api}",
            "DEMO_SMTP": "127.0.0.1:0",
            "DEMO_HTTP": "127.0.0.1:0",
        }
        arguments = ["kumotwist.service.main", "run", f"--policy={POLICY}", "--shutdown-timeout=10"]
        arguments.append(f"--state-dir={self.directory / 'state'}")
        if self._workers is not None:
            arguments.append(f"--workers={self._workers}")
        self.daemon = self._child("daemon", arguments, env, "stderr")
        said = self.daemon.read_until("^initialization complete")
        self.smtp_port = int(re.findall(r"^smtp listener on \S+:(\d+)", said, re.MULTILINE)[0])
        self.http_port = int(re.findall(r"^http listener on \S+:(\d+)", said, re.MULTILINE)[0])

    def refuse(self, provider: str, seconds: float) -> None:
        """Have the stand-in of `provider` refuse everything for so long."""
        client = http.client.HTTPConnection(self._api, timeout=5)
        client.request("POST", "/stand-in/outage", json.dumps({"provider": provider, "seconds": seconds}))
        client.getresponse().read()
        client.close()

    def stop(self) -> int:
        """Stop all, the daemon first; the daemon's exit status."""
        statuses = [child.stop() for child in reversed(self._children)]
        self._children = []
        return statuses[0] if statuses else 0

    def _peer(self, name: str, arguments: Sequence[str]) -> str:
        return self._child(name, arguments, {}, "stdout").read_until("^listening on ").split()[-1]

    def _child(self, name: str, arguments: Sequence[str], env: Mapping[str, str], pipe: str) -> Child:
        child = Child(name, arguments, env, self.directory / f"{name}.log", pipe)
        self._children.append(child)
        return child
