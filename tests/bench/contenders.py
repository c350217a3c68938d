"""The relays that are compared, each started with directories of its own on one disk.

Every one relays whatever it gets to the sink over plain SMTP with up to 20
connections, and has synced a message to disk before it answers 250:
Postfix does by design, Haraka is given O_DSYNC for its queue files (it does
not sync by itself), kumotwist always does.

Public: `Postfix`, `Haraka`, `Kumotwist`, `Unavailable`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from measure import free_port, wait_port

HARAKA = "Haraka@3.3"
DEMO_POLICY = Path(__file__).parents[2] / "policy" / "demo" / "init.lua"


class Unavailable(Exception):
    """This contender cannot run here; the text says why."""


class Contender(Protocol):
    """A relay under measurement."""

    name: str

    def start(self, directory: Path, sink: int) -> int:
        """Start relaying to port `sink`; the port to send to."""
        ...

    def roots(self) -> Sequence[int]:
        """Process ids whose trees are the relay."""
        ...

    def stop(self) -> None: ...


class Postfix:
    """Postfix with configuration and queue of its own. Needs root: its master starts as root.

    Debian's defaults (100 processes a service, connection cache on demand), and in its favour: as many
    deliveries at once as there are sessions from the start, no brake on intake (`in_flow_delay`), no chroot,
    no TLS, no tables to look up. Where no syslog listens, as in most containers, it writes no log either.
    """

    name = "postfix"

    def __init__(self) -> None:
        self._config: Path | None = None
        self._queue: Path | None = None

    def start(self, directory: Path, sink: int) -> int:
        if os.geteuid() != 0:
            raise Unavailable("postfix only starts as root; run the bench as root to include it")
        if shutil.which("postfix") is None or not Path("/etc/postfix/master.cf").exists():
            raise Unavailable("postfix is not installed (apt install postfix)")
        port = free_port()
        self._config, self._queue = directory / "etc", directory / "queue"
        data = directory / "data"
        for path in (self._config, self._queue, data):
            path.mkdir()
        shutil.chown(data, "postfix")
        self._config.joinpath("main.cf").write_text(
            f"""\
compatibility_level = 3.6
queue_directory = {self._queue}
data_directory = {data}
myhostname = bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
alias_maps =
local_recipient_maps =
default_destination_concurrency_limit = 20
initial_destination_concurrency = 20
in_flow_delay = 0
smtp_tls_security_level = none
"""
        )
        master = re.sub(
            r"^smtp\s+inet.*$",
            f"127.0.0.1:{port} inet n - n - - smtpd",
            Path("/etc/postfix/master.cf").read_text(),
            flags=re.MULTILINE,
        )
        master = re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", master, flags=re.MULTILINE)
        self._config.joinpath("master.cf").write_text(master)
        self._run("start")
        wait_port(port)
        return port

    def roots(self) -> Sequence[int]:
        assert self._queue is not None
        return [int(self._queue.joinpath("pid/master.pid").read_text())]

    def stop(self) -> None:
        self._run("stop")

    def _run(self, command: str) -> None:
        subprocess.run(
            ["postfix", "-c", str(self._config), command],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class Haraka:
    """Haraka from npm with its outbound queue, one node per core."""

    name = "haraka"

    def __init__(self, install: Path) -> None:
        """`install` is where npm puts it, once for all runs."""
        self._install = install
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, directory: Path, sink: int) -> int:
        self._ensure_installed()
        port = free_port()
        config, plugins = directory / "config", directory / "plugins"
        for path in (config, plugins, directory / "queue"):
            path.mkdir()
        for name, text in {
            "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=cpus\n",
            "plugins": "bench_route\n",
            "log.ini": "level=warn\n",
            "outbound.ini": "enable_tls=false\nconcurrency_max=20\n",
            "me": "bench.example\n",
            "host_list": "example.org\n",
        }.items():
            config.joinpath(name).write_text(text)
        shutil.copy(self._install / "node_modules/Haraka/config/connection.ini", config)
        plugins.joinpath("bench_route.js").write_text(
            f"""\
exports.register = function () {{ this.register_hook('rcpt', 'rcpt'); this.register_hook('get_mx', 'mx') }}
exports.rcpt = function (next, connection) {{ connection.relaying = true; next(OK) }}
exports.mx = function (next) {{ next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }}) }}
"""
        )
        script = self._install / "node_modules" / "Haraka" / "bin" / "haraka"
        self._log = directory.joinpath("haraka.log").open("wb")
        self._process = subprocess.Popen(
            ["node", str(script), "-c", str(directory)], stdout=self._log, stderr=self._log, cwd=directory
        )
        wait_port(port)
        time.sleep(2)  # its nodes come up one by one
        return port

    def roots(self) -> Sequence[int]:
        assert self._process is not None
        return [self._process.pid]

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _ensure_installed(self) -> None:
        if shutil.which("npm") is None:
            raise Unavailable("haraka needs npm (apt install npm)")
        constants = self._install / "node_modules" / "haraka-constants" / "index.js"
        if not constants.exists():
            self._install.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(self._install)]
            done = subprocess.run([*command, HARAKA], capture_output=True, text=True)
            if done.returncode:
                raise Unavailable(f"npm cannot install {HARAKA}: {done.stderr.strip().splitlines()[-1:]}")
        text = constants.read_text()
        if "O_DSYNC" not in text:
            constants.write_text(text.replace("fs_const.O_EXCL", "fs_const.O_EXCL | fs_const.O_DSYNC"))


def _relay_only(directory: Path) -> Path:
    """The demo policy, so that what is measured is what is shown, but for who gets the mail."""
    text, count = re.subn(r"weight = (20|10),", "weight = 0,", DEMO_POLICY.read_text())
    assert count == 2, "the demo policy has other weights"
    policy = directory / "relay.lua"
    policy.write_text(text)
    return policy


class Kumotwist:
    """Ours, with the demo policy's handlers and local logs, all weight on the local relay; or with another policy."""

    def __init__(self, workers: int, policy: Path | None = None) -> None:
        self.name = f"kumotwist-{workers}"
        self._workers = workers
        self._policy = policy
        self._process: subprocess.Popen[str] | None = None
        self.http_port = 0

    def start(self, directory: Path, sink: int) -> int:
        policy = self._policy or _relay_only(directory)
        environment = {
            **os.environ,
            "DEMO_DIR": str(directory),
            "DEMO_RELAY": f"127.0.0.1:{sink}",
            "DEMO_SMTP": "127.0.0.1:0",
            "DEMO_HTTP": "127.0.0.1:0",
        }
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kumotwist.service.main", "run", f"--policy={policy}"),
                *(f"--state-dir={directory}", f"--workers={self._workers}", "--shutdown-timeout=10"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self._listener()

    def _listener(self) -> int:
        assert self._process is not None
        assert self._process.stderr is not None
        port = 0
        for line in self._process.stderr:
            match = re.match(r"(smtp|http) listener on \S+:(\d+)", line)
            if match and match[1] == "smtp":
                port = int(match[2])
            elif match:
                self.http_port = int(match[2])
            if line.startswith("initialization complete"):
                return port
        raise Unavailable(f"kumotwist ended with {self._process.wait()}")

    def roots(self) -> Sequence[int]:
        assert self._process is not None
        return [self._process.pid]

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        _, errors = self._process.communicate(timeout=60)
        if self._process.returncode:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}: {errors}")


def scratch(base: Path | None) -> Path:
    """A directory on the disk that is to be measured; /var/tmp because /tmp may be memory."""
    directory = Path(tempfile.mkdtemp(prefix="kumotwist-bench-", dir=base or "/var/tmp"))
    directory.chmod(0o755)  # Postfix's processes are another user's
    return directory
