"""SOCKS5 proxies for tests: microsocks, a real one that knows RFC 1928 only, and one that binds as KumoMTA's does."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence

import pytest
from support.daemon import eventually
from support.ports import unused_port


@contextlib.contextmanager
def microsocks(*arguments: str) -> Iterator[int]:
    """The port of a running microsocks."""
    if shutil.which("microsocks") is None:
        pytest.skip("microsocks is not installed (Debian: microsocks)")
    port = unused_port()
    process = subprocess.Popen(
        ["microsocks", "-i", "127.0.0.1", "-p", str(port), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(port), "microsocks to listen")
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class BindingProxy(socketserver.ThreadingTCPServer):
    """Takes BIND with an address to send from and then CONNECT, for IPv4, as KumoMTA's proxy does.

    As a context manager it serves within the block. `asked` collects what it was told to bind to.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.refuses = refuses
        self.asked: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def __enter__(self) -> BindingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Client(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, BindingProxy)
        client: socket.socket = self.request
        source = ""
        with contextlib.suppress(OSError):
            methods = client.recv(1 + 1 + 255)
            assert methods == b"\x05\x01\x00"
            client.sendall(b"\x05\x00")
            while True:
                command, host, port = self._request(client)
                if command == 2:
                    server.asked.append(host)
                    source = host
                    client.sendall(self._reply(5 if host in server.refuses else 0, host, 0))
                    continue
                with socket.create_connection((host, port), source_address=(source, 0)) as peer:
                    client.sendall(self._reply(0, *peer.getsockname()))
                    self._relay(client, peer)
                return

    @staticmethod
    def _request(client: socket.socket) -> tuple[int, str, int]:
        data = b""
        while len(data) < 10:
            more = client.recv(10 - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data[1], socket.inet_ntoa(data[4:8]), int.from_bytes(data[8:], "big")

    @staticmethod
    def _reply(code: int, host: str, port: int) -> bytes:
        return bytes((5, code, 0, 1)) + socket.inet_aton(host) + port.to_bytes(2, "big")

    @staticmethod
    def _relay(client: socket.socket, peer: socket.socket) -> None:
        def back() -> None:
            with contextlib.suppress(OSError):
                while data := peer.recv(65536):
                    client.sendall(data)
                client.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=back)
        thread.start()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                peer.sendall(data)
            peer.shutdown(socket.SHUT_RDWR)
        thread.join()
