"""Text messages end to end: HTTP injection, spool, queue, log, SMPP: `python tests/bench/smpp.py`.

Requests for `--recipients` numbers each come in over kept connections; every
message leaves as a submit_sm over one bind to an SMSC that says yes as fast as
it can, in a process of its own. The clock runs from the first request to the
last message at the SMSC, or to its last receipt. The CPU is that of the daemon with one worker.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import scratch
from measure import cpu_seconds
from support.daemon import Daemon

SMSC = Path(__file__).parents[1] / "support" / "fast_smsc.py"
CONNECTIONS = 4
POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.configure_local_logs {{ log_dir = '{directory}/log' }}
  kumo.define_spool {{ name = 'data', path = '{directory}/spool/data' }}
  kumo.define_spool {{ name = 'meta', path = '{directory}/spool/meta' }}
  kumo.start_http_listener {{ listen = '127.0.0.1:0' }}
end)
kumo.on('get_queue_config', function(domain, tenant, campaign)
  return kumo.make_queue_config {{
    protocol = {{
      smpp = {{
        host = '127.0.0.1', port = {port}, system_id = 'bench', password = {{ key_data = 'secret' }},
        window = {window}, sender = '+15550001111',
      }},
    }},
  }}
end)
kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path {{ max_ready = 100000, max_deliveries_per_connection = 10000000 }}
end)
"""


class Smsc:
    """The SMSC as a process; a context manager."""

    def __init__(self, has_receipts: bool) -> None:
        self._has_receipts = has_receipts
        self._process = subprocess.Popen(
            [sys.executable, str(SMSC), *["receipts"][:has_receipts]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def taken(self) -> int:
        """Messages so far; with receipts, those that are reported and taken."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        taken, reported = map(int, self._process.stdout.readline().split())
        return reported if self._has_receipts else taken

    def wait_for(self, count: int) -> None:
        """Return when it has so many."""
        deadline = time.monotonic() + 120
        while (taken := self.taken()) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the SMSC stands still at {taken} of {count}")
            time.sleep(0.01)

    def __enter__(self) -> Smsc:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def inject(port: int, requests: int, recipients: int) -> None:
    """Send `requests` requests over the connections."""

    def run(first: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for request in range(first, requests, CONNECTIONS):
            numbers = (15550000000 + request * recipients + number for number in range(recipients))
            body = json.dumps(
                {
                    "envelope_sender": "shop@example.com",
                    "recipients": [{"email": f"+{number}@sms"} for number in numbers],
                    "content": "From: <shop@example.com>\nSubject: code\n\nYour code is 123456. Do not share it.",
                }
            )
            client.request("POST", "/api/inject/v1", body, {"Content-Type": "application/json"})
            reply = json.loads(client.getresponse().read())
            if reply["success_count"] != recipients:
                raise RuntimeError(str(reply))
        client.close()

    threads = [threading.Thread(target=run, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_once(directory: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Messages a second and CPU microseconds a message."""
    with Smsc(options.receipts) as smsc:
        policy = POLICY.format(directory=directory, port=smsc.port, window=options.window)
        with Daemon(directory, policy, workers=1) as daemon:
            inject(daemon.port("http"), CONNECTIONS, options.recipients)
            warm = CONNECTIONS * options.recipients
            smsc.wait_for(warm)
            requests = options.messages // options.recipients
            roots = [daemon.pid]
            before, started = cpu_seconds(roots), time.monotonic()
            inject(daemon.port("http"), requests, options.recipients)
            smsc.wait_for(warm + requests * options.recipients)
            seconds, spent = time.monotonic() - started, cpu_seconds(roots) - before
    shutil.rmtree(directory, ignore_errors=True)
    count = requests * options.recipients
    return count / seconds, spent / count * 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("runs", 3), ("messages", 20000), ("recipients", 100), ("window", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--receipts", action="store_true", help="the SMSC reports each message")
    options = parser.parse_args()
    base = scratch(None)
    try:
        runs = [run_once(base / f"run-{run}", options) for run in range(options.runs)]
    finally:
        shutil.rmtree(base, ignore_errors=True)
    rate, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
    ways = "with receipts" if options.receipts else "without receipts"
    print(
        f"HTTP injection to SMPP, window {options.window}, one bind, one worker, {ways}: "
        f"{rate:.0f} messages/s, {cpu:.0f} us of CPU each (median of {options.runs})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
