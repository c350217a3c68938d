"""Another HTTP/2 stack to speak to: Node's server, scripted as APNs; see http2_peer.js for what it can be told."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Debian's nodejs is not installed")
CA = trustme.CA()
ROOTS = (CA.cert_pem.bytes(),)
_SCRIPT = Path(__file__).with_name("http2_peer.js")


class Http2Peer:
    """The server as a process of its own; `port` is where it listens on 127.0.0.1 under the name localhost."""

    def __init__(self, *, name="localhost", ca=CA, **options):
        leaf = ca.issue_cert(name)
        chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
        tls = {"cert": chain.decode(), "key": leaf.private_key_pem.bytes().decode()}
        assert NODE is not None
        self._process = subprocess.Popen(
            [NODE, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid
        self.port = self._ask({**tls, **options})

    def script(self, **actions):
        """What to do with requests to a token, in place of what APNs does."""
        self._ask({"script": actions})

    def requests(self):
        """What has come since the last time: [{headers, body}]."""
        return self._ask({"requests": True})

    def tell(self, **order):
        """One of the other orders; how many requests and sessions there were and are."""
        return self._ask(order)

    def close(self):
        """End it; more than once does no harm."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, order):
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def http2_peer(**options):
    """A peer for as long as the block lasts."""
    peer = Http2Peer(**options)
    try:
        yield peer
    finally:
        peer.close()
