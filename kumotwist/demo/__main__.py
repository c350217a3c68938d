"""The demonstration behind `make run`: the daemon, an outside world, and a view of what happens.

Starts the stand-ins (an SMTP sink, an HTTP service that answers as the
providers' and Google's APIs do, and an operator's SMSC, all failing a little), the daemon under
`policy/demo/init.lua`, and a bounded stream of messages; shows where they go
and how they end until Ctrl-C or `--duration`; then lets the queue drain, stops
everything and prints a summary. Everything is on loopback and in a temporary
directory, which is removed.

Exit status: 0 when the daemon stopped cleanly and the counts add up.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kumotwist.demo.google import service_account
from kumotwist.demo.stream import Stream
from kumotwist.demo.tally import BY_SMS, Route, Tally, spooled

#: The shipped policy, in the checkout.
POLICY: Final = Path(__file__).parents[2] / "policy" / "demo" / "init.lua"
#: Messages a second: lively to look at, nothing for any machine.
RATE: Final = 50.0
#: Seconds that the queue gets to drain at the end; the slowest retry is 8 s.
DRAIN: Final = 20.0
_START: Final = 60.0
_STOP: Final = 60.0

#: The mail server outside fails now and then, and refuses for good rarely.
SINK_RULES: Final = (
    {"at": "rcpt", "share": 0.03, "reply": "451 4.2.1 mailbox busy, try again later"},
    {"at": "rcpt", "share": 0.01, "reply": "550 5.1.1 no such customer here"},
    {"at": "dot", "share": 0.01, "reply": "452 4.3.1 short of disk, try again later"},
)


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

    def __init__(self, directory: Path, workers: int | None) -> None:
        self.directory = directory
        self._workers = workers
        self._children: list[Child] = []
        self.daemon: Child | None = None
        self.smtp_port = self.http_port = 0

    def start(self) -> None:
        """Start all; the daemon last."""
        rules = json.dumps(SINK_RULES)
        relay = self._peer("sink", ["kumotwist.demo.standin_smtp", "--rules", rules])
        api = self._peer("api", ["kumotwist.demo.standin_http", "--share", "0.05"])
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="kumotwist.demo", description="A running demonstration.")
    parser.add_argument("--duration", type=float, help="stop sending after so many seconds; else at Ctrl-C")
    parser.add_argument("--rate", type=float, default=RATE, help="messages a second")
    parser.add_argument("--workers", type=int, help="worker processes of the daemon")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="kumotwist-demo-"))
    world = World(directory, options.workers)
    try:
        return _run(world, options.rate, options.duration, console)
    except KeyboardInterrupt:
        console.print("Interrupted before there was anything to sum up.")
        return 1
    except RuntimeError as error:
        console.print(str(error), markup=False)
        return 1
    finally:
        world.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _run(world: World, rate: float, duration: float | None, console: Console) -> int:
    console.print("Starting the daemon and its outside world ...")
    world.start()
    tally = Tally(world.directory / "log")
    stream = Stream(world.smtp_port, world.http_port, rate)
    stream.start()
    started = time.monotonic()
    with _view(console, tally, stream) as show:
        try:
            while duration is None or time.monotonic() - started < duration:
                _tick(tally, show, "sending" if duration is None else f"sending for {duration:g} s")
        except KeyboardInterrupt:
            pass
        # A second Ctrl-C must not cut the accounts short; the drain is bounded anyway.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stream.stop()
        ended = time.monotonic()
        while time.monotonic() - ended < DRAIN and not _is_drained(tally, stream):
            _tick(tally, show, "draining the queue")
    status = world.stop()
    tally.update()
    return _sum_up(console, tally, stream, status, spooled(world.directory / "spool" / "kumotwist"))


def _is_drained(tally: Tally, stream: Stream) -> bool:
    """Whether everything has come to its end, receipts included."""
    total = tally.total
    return stream.accepted <= total.accepted and not total.waiting and not tally.receipts_missing


def _tick(tally: Tally, show: Callable[[str], None], state: str) -> None:
    time.sleep(0.5)
    tally.update()
    show(state)


class _view(ExitStack):  # noqa: N801 (used like a function: `with _view(...) as show`)
    """A live table on a terminal, a line every two seconds elsewhere."""

    def __init__(self, console: Console, tally: Tally, stream: Stream) -> None:
        super().__init__()
        self._console, self._tally, self._stream = console, tally, stream
        self._live: Live | None = None
        self._calls = 0

    def __enter__(self) -> Any:
        super().__enter__()
        if self._console.is_terminal:
            self._live = self.enter_context(Live(console=self._console, auto_refresh=False))
        return self._show

    def _show(self, state: str) -> None:
        if self._live is not None:
            self._live.update(_screen(self._tally, self._stream, state), refresh=True)
            return
        self._calls += 1
        if self._calls % 4 == 0:
            parts = [f"{route.name} {route.delivered}/{route.accepted}" for route in self._tally.routes.values()]
            total = self._tally.total
            tail = f"retried {total.failed_for_now}, bounced {total.bounced}, waiting {total.waiting}"
            self._console.print(f"{state}: delivered/accepted: {', '.join(parts)}; {tail}", soft_wrap=True)


def _screen(tally: Tally, stream: Stream, state: str) -> Group:
    title = (
        f"{state}: {stream.accepted_smtp} by SMTP, {stream.accepted_http} injected, "
        f"{stream.accepted_send} by the send API (Ctrl-C stops)"
    )
    events = [Text(event, no_wrap=True, style="dim") for event in tally.events]
    return Group(Text(title, no_wrap=True, style="italic"), _table(tally), *events)


def _table(tally: Tally) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("route", no_wrap=True)
    for name in ("accepted", "share", "delivered", "retried", "bounced", "waiting", "receipts"):
        table.add_column(name, justify="right", no_wrap=True)
    total = tally.total
    for route in (*tally.routes.values(), total):
        table.add_row(*_row(route, total), style="bold" if route is total else None)
    return table


def _row(route: Route, total: Route) -> list[str]:
    share = f"{100 * route.accepted / total.accepted:.0f} %" if total.accepted else "-"
    numbers = (route.delivered, route.failed_for_now, route.bounced, route.waiting)
    receipts = [f"{route.receipts}, {route.receipts_bad} bad"] if route.receipts else []
    receipts += [f"{route.dead} gone"] if route.dead and route is not total else []
    return [route.name, str(route.accepted), share, *map(str, numbers), ", ".join(receipts)]


def _sum_up(console: Console, tally: Tally, stream: Stream, status: int, queued: int) -> int:
    total = tally.total
    console.print("What became of the messages, by the daemon's log records:", style="italic")
    console.print(_table(tally))
    adds_up = stream.accepted == total.accepted == total.delivered + total.bounced + queued
    parts = f"SMTP {stream.accepted_smtp}, HTTP {stream.accepted_http}, send API {stream.accepted_send}"
    console.print(
        f"accepted {stream.accepted} ({parts}) "
        f"{'=' if adds_up else '!='} delivered {total.delivered} + bounced {total.bounced} "
        f"+ still queued {queued}; refused for the moment {stream.refused}; daemon's exit status {status}",
        soft_wrap=True,
    )
    texts = tally.routes[BY_SMS]
    is_told = not tally.receipts_missing
    console.print(
        f"texts handed over {texts.delivered} {'=' if is_told else '!='} receipts {texts.receipts}: "
        f"arrived {texts.receipts - texts.receipts_bad}, did not {texts.receipts_bad}; "
        f"device tokens reported gone {total.dead}; "
        f"requests sent twice under one key and counted once {stream.repeated}",
        soft_wrap=True,
    )
    return 0 if adds_up and is_told and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
