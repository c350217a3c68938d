"""Browsers with a push service of their own, by npm's web-push-testing; see webpush_peer.js."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.http2peer import CA, NODE

_HERE = Path(__file__).parent
_MODULES = _HERE / "npm" / "node_modules"
needs_browser = pytest.mark.skipif(
    NODE is None or not (_MODULES / "web-push-testing").is_dir(),
    reason="npm's web-push-testing is not installed: npm install --prefix tests/support/npm",
)


class WebPushPeer:
    """The service; asked from this process while the reactor waits, so only for what is quick."""

    def __init__(self, port):
        self.url = f"https://localhost:{port}"
        self._tls = ssl.create_default_context(cadata=CA.cert_pem.bytes().decode())

    def subscribe(self, key):
        """A subscription as a browser gives it to a page, for the public VAPID key `key`, and its name here."""
        given = self._post("/subscribe", {"userVisibleOnly": "true", "applicationServerKey": key})["data"]
        return {"endpoint": given["endpoint"], "keys": given["keys"]}, given["clientHash"]

    def expire(self, name):
        """The user takes the permission back."""
        self._post(f"/expire-subscription/{name}", {})

    def shown(self, name):
        """The texts that the browser could decrypt."""
        return self._post("/get-notifications", {"clientHash": name})["data"]["messages"]

    def _post(self, path, value):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), headers)
        with urllib.request.urlopen(request, timeout=10, context=self._tls) as reply:
            body = reply.read()
        return json.loads(body) if body.startswith(b"{") else None


@contextmanager
def webpush_peer():
    """A peer for as long as the block lasts."""
    assert NODE is not None
    command = [NODE, str(_HERE / "webpush_peer.js"), str(_MODULES)]
    quiet = subprocess.DEVNULL  # it tells of every refusal
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True, bufsize=1
    )
    leaf = CA.issue_cert("localhost")
    chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
    tls = {"cert": chain.decode(), "key": leaf.private_key_pem.bytes().decode()}
    try:
        process.stdin.write(json.dumps(tls) + "\n")
        yield WebPushPeer(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
