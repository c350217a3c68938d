"""A running daemon does what its own document says: asked with made-up requests, right and wrong ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import attrs
from openapi_spec_validator import validate
from support.daemon import Daemon, Sink, relay_policy

from kumotwist.config.receipts import ReceiptSources

#: Everything that is accepted is swallowed; what is wrong with an address or a field is found before that.
POLICY = """
kumo.on('http_message_generated', function(message)
  message:set_meta('queue', 'null')
end)
"""
#: With an account of every channel that has receipts; whoever calls from this machine proves enough.
LISTENER = (
    "local receipts = {}\n"
    + "\n".join(
        f"receipts.{one.name} = {{ fuzzed = {{ hosts = {{ '127.0.0.1' }} }} }}" for one in attrs.fields(ReceiptSources)
    )
    + "\nkumo.start_http_listener { listen = '127.0.0.1:0', default_region = 'US', receipts = receipts }"
)


def fuzz(url: str, directory: Path, *arguments: str) -> None:
    """Ask the daemon at `url` with requests that are made from its document, and check every reply against it."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json", "--no-color"]
    # No schema can say all: a request that fits it may still be refused, as long as the refusal is announced.
    command += ["--exclude-checks", "positive_data_acceptance", "--generation-deterministic", "--continue-on-failure"]
    done = subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r" [1-9]\d* selected", done.stdout), done.stdout


def test_the_daemon_keeps_to_its_document(tmp_path) -> None:
    """No reply that is not announced, no wrong request that is taken, and no error of ours in the log."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, LISTENER, POLICY)) as daemon:
        url = f"http://127.0.0.1:{daemon.port('http')}"
        with urllib.request.urlopen(f"{url}/api/openapi.json", timeout=30) as answer:
            validate(json.load(answer))
        fuzz(url, tmp_path, "--max-examples=40", "--exclude-path=/api/inject/v1")
        # KumoMTA answers 500 for a wrong envelope_sender, and so do we: that check is left out there.
        fuzz(url, tmp_path, "--max-examples=40", "--include-path=/api/inject/v1", "--exclude-checks=not_a_server_error")
        text = daemon.process.text()
    assert "answering" not in text, text
    assert "Traceback" not in text, text
