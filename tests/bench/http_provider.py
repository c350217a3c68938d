"""HTTP injection to an HTTP provider by custom_lua: `python tests/bench/http_provider.py`.

Requests come in over 8 kept connections, each for `--recipients` recipients;
every message leaves as a POST of its own to the providers' stand-in, by
a constructor as in the examples. The clock stops when the provider has
taken the last message.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from contenders import Kumotwist, scratch
from measure import cpu_seconds

CONNECTIONS = 8
POLICY = Path(__file__).with_suffix(".lua")


class Provider:
    """The HTTP stand-in as a process; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kumotwist.demo.standin_http"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().split()[-1]

    def taken(self) -> int:
        """Messages it has accepted so far."""
        host, _, port = self.address.rpartition(":")
        client = http.client.HTTPConnection(host, int(port), timeout=30)
        client.request("GET", "/stand-in/count")
        count = int(json.loads(client.getresponse().read())["accepted"])
        client.close()
        return count

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def inject(port: int, requests: int, recipients: int) -> None:
    """Send `requests` requests over the connections."""
    body = json.dumps(
        {
            "envelope_sender": "shop@example.com",
            "recipients": [{"email": f"user{number}@example.org"} for number in range(recipients)],
            "content": {"subject": "News", "text_body": "Hello. " * 140, "from": {"email": "shop@example.com"}},
        }
    )

    def run(count: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(count):
            client.request("POST", "/api/inject/v1", body, {"Content-Type": "application/json"})
            answer = client.getresponse()
            reply = json.loads(answer.read())
            if reply["success_count"] != recipients:
                raise RuntimeError(str(reply))
        client.close()

    threads = [threading.Thread(target=run, args=(requests // CONNECTIONS,)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_once(directory: Path, requests: int, recipients: int) -> tuple[float, float]:
    """Messages a second and CPU microseconds a message."""
    directory.mkdir()
    relay = Kumotwist(1, POLICY)
    with Provider() as provider:
        os.environ["DEMO_API"] = f"http://{provider.address}"
        relay.start(directory, 9)
        try:
            inject(relay.http_port, CONNECTIONS, 1)
            _wait(provider, CONNECTIONS)
            count = requests // CONNECTIONS * CONNECTIONS * recipients
            before, started = cpu_seconds(relay.roots()), time.monotonic()
            inject(relay.http_port, requests, recipients)
            _wait(provider, CONNECTIONS + count)
            seconds, spent = time.monotonic() - started, cpu_seconds(relay.roots()) - before
        finally:
            relay.stop()
    shutil.rmtree(directory, ignore_errors=True)
    return count / seconds, spent / count * 1e6


def _wait(provider: Provider, count: int) -> None:
    deadline = time.monotonic() + 120
    while (taken := provider.taken()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the provider stands still at {taken} of {count}")
        time.sleep(0.02)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=4000)
    options = parser.parse_args()
    base = scratch(None)
    try:
        for recipients in (1, 50):
            runs = [
                run_once(base / f"run-{recipients}-{run}", options.messages // recipients, recipients)
                for run in range(options.runs)
            ]
            rate, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
            print(
                f"HTTP injection, {recipients} recipients a request, to an HTTP provider, one worker: "
                f"{rate:.0f} messages/s, {cpu:.0f} us of CPU each (median of {options.runs})",
                flush=True,
            )
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
