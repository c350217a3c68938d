"""An HTTP peer in a thread: answers from a list, then always 200, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import frozen
from support.daemon import eventually


@frozen
class Request:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class WebPeer:
    """A context manager; `requests` has all of them, `taken` those that were answered with 2xx."""

    def __init__(self, answers: Sequence[tuple[int, str]] = (), port: int = 0) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self._answers = list(answers)
        self._lock = threading.Lock()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, text = peer._answer(Request(self.command, self.path, dict(self.headers), body))
                data = text.encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def wait_for(self, check: Callable[[], bool], what: str) -> None:
        """Return when `check()` holds."""
        eventually(check, what)

    def _answer(self, request: Request) -> tuple[int, str]:
        with self._lock:
            self.requests.append(request)
            code, text = self._answers.pop(0) if self._answers else (200, "ok")
            if 200 <= code < 300:
                self.taken.append(request)
            return code, text

    def __enter__(self) -> WebPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
