"""SMSCs that others wrote, as processes of their own: npm's smpp on Node, and smpp34.

`smsc("node")` and `smsc("rust")` are context managers that give a `Smsc`. What
both can be told: what to answer, whether to report, to send a text.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Generous: the machine may be busy with other tests.
STOP_TIMEOUT = 60
HERE = Path(__file__).parent
MODULES = HERE / "npm" / "node_modules"
NODE = shutil.which("node")
HAS_NODE = NODE is not None and (MODULES / "smpp").is_dir()
WHY = "npm's smpp is not installed: npm install --prefix tests/support/npm"
needs_node = pytest.mark.skipif(not HAS_NODE, reason=WHY)
BOTH = [pytest.param("node", marks=needs_node), "rust"]


class Smsc:
    """One SMSC; `port` is where it listens on 127.0.0.1."""

    def __init__(self, kind, **script):
        command = {
            "node": [NODE, str(HERE / "smsc_node.js"), str(MODULES)],
            "rust": [sys.executable, str(HERE / "smsc_smpp34.py")],
        }[kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.port = int(self._process.stdout.readline())
        self.script(**script)

    def script(self, **script):
        """What to do from now on: `status`, `statuses`, `receipts`, `stat`, `silent`, `password`, `bind`."""
        self._ask(script=script)

    def submitted(self):
        """What came in since the last time."""
        return self._ask(submitted=True)

    def report(self):
        """Send the receipts that `receipts="held"` holds back (Rust only)."""
        self._ask(report=True)

    def sessions(self):
        """How many binds there are."""
        return self._ask()

    def drop(self):
        """Cut all connections (Node only)."""
        self._ask(drop=True)

    def deliver(self, text, source="15551234567", destination="12345", **fields):
        """Send a text as a subscriber; the status of the answer."""
        given = {"source_addr": source, "source_addr_ton": 1, "source_addr_npi": 1, "destination_addr": destination}
        given |= {"dest_addr_ton": 0, "dest_addr_npi": 0}
        return self._ask(deliver={**given, "short_message": text, **fields})

    def _ask(self, **order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(STOP_TIMEOUT)
        self._process.stdout.close()
