"""Push notifications end to end: HTTP injection, spool, queue, log, APNs: `python tests/bench/apns.py`.

Requests for `--recipients` devices each come in over kept connections; every
message leaves on a stream of its own over one HTTP/2 connection to Node's
server in Apple's place, a process of its own. The clock runs from the first
request to the last notification at the server. The CPU is that of the daemon
with one worker. Needs Debian's nodejs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import scratch
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from measure import cpu_seconds
from support.daemon import Daemon
from support.http2peer import CA, NODE, Http2Peer

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
      apns = {{
        key = '{directory}/key.p8', key_id = 'KEY1', team_id = 'TEAM1', topic = 'com.example.app', sound = 'default',
        base_url = 'https://localhost:{port}',
      }},
    }},
  }}
end)
kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path {{
    connection_limit = 1, max_ready = 100000, max_deliveries_per_connection = 10000000,
  }}
end)
"""


class Apple:
    """The server; a context manager."""

    def __init__(self) -> None:
        self._peer = Http2Peer(quiet=True, settings={"maxConcurrentStreams": 1000})
        self.port = self._peer.port

    def wait_for(self, count: int) -> None:
        """Return when it has so many."""
        deadline = time.monotonic() + 120
        while (taken := self._peer.tell(count=True)["count"]) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server stands still at {taken} of {count}")
            time.sleep(0.01)

    def sessions(self) -> int:
        """Connections that it has now."""
        return int(self._peer.tell(count=True)["sessions"])

    def __enter__(self) -> Apple:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()


def inject(port: int, requests: int, recipients: int) -> None:
    """Send `requests` requests over the connections."""

    def run(first: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for request in range(first, requests, CONNECTIONS):
            tokens = (f"{request * recipients + number:064x}" for number in range(recipients))
            body = json.dumps(
                {
                    "envelope_sender": "shop@example.com",
                    "recipients": [{"email": f"{token}@apns"} for token in tokens],
                    "content": "From: <shop@example.com>\nSubject: Your parcel\n\nIt arrives tomorrow.",
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
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (directory / "key.p8").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    CA.cert_pem.write_to_path(str(directory / "roots.pem"))
    with Apple() as apple:
        policy = POLICY.format(directory=directory, port=apple.port)
        trust = {"SSL_CERT_FILE": str(directory / "roots.pem")}
        with Daemon(directory, policy, workers=1, env=trust) as daemon:
            inject(daemon.port("http"), CONNECTIONS, options.recipients)
            warm = CONNECTIONS * options.recipients
            apple.wait_for(warm)
            requests = options.messages // options.recipients
            roots = [daemon.pid]
            before, started = cpu_seconds(roots), time.monotonic()
            inject(daemon.port("http"), requests, options.recipients)
            apple.wait_for(warm + requests * options.recipients)
            seconds, spent = time.monotonic() - started, cpu_seconds(roots) - before
            if apple.sessions() != 1:
                raise RuntimeError(f"{apple.sessions()} connections where one was to be measured")
    shutil.rmtree(directory, ignore_errors=True)
    count = requests * options.recipients
    return count / seconds, spent / count * 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("runs", 3), ("messages", 20000), ("recipients", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if NODE is None:
        print("apns needs Debian's nodejs")
        return 0
    base = scratch(None)
    try:
        runs = [run_once(base / f"run-{run}", options) for run in range(options.runs)]
    finally:
        shutil.rmtree(base, ignore_errors=True)
    rate, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
    print(
        f"HTTP injection to APNs, one connection, one worker: {rate:.0f} messages/s, {cpu:.0f} us of CPU each "
        f"(median of {options.runs})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
