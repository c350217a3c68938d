"""A real Kannel, bearerbox and smsbox, that binds to an SMS centre by SMPP; everything on 127.0.0.1."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support.daemon import eventually
from support.ports import unused_port

BOXES = ("bearerbox", "smsbox")
IS_HERE = all(shutil.which(box) or Path("/usr/sbin", box).exists() for box in BOXES)
needs_kannel = pytest.mark.skipif(not IS_HERE, reason="Debian's kannel is not installed")

CONFIG = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = admin
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1

group = smsc
smsc = smpp
smsc-id = centre
host = 127.0.0.1
port = {smsc}
transceiver-mode = true
smsc-username = kannel
smsc-password = secret
system-type = test
reconnect-delay = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
immediate-sendsms-reply = {at_once}

group = sendsms-user
username = me
password = {password}
max-messages = 10
concatenation = true

group = sms-service
keyword = default
text = none
"""


class Kannel:
    """A context manager; `url` is where smsbox takes texts, which go to the centre on port `smsc`.

    With `at_once` it answers before bearerbox has the text.
    """

    def __init__(self, directory: Path, smsc: int, password: str, at_once: bool = False) -> None:
        ports = {name: unused_port() for name in ("admin", "boxes", "sendsms")}
        self.url = f"http://127.0.0.1:{ports['sendsms']}"
        self._admin, self._sendsms = ports["admin"], ports["sendsms"]
        self._config = directory / "kannel.conf"
        self._config.write_text(CONFIG.format(smsc=smsc, password=password, at_once=str(at_once).lower(), **ports))
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Kannel:
        for box, port in zip(BOXES, (self._admin, self._sendsms), strict=True):
            with (self._directory / f"{box}.log").open("wb") as log:
                path = shutil.which(box) or f"/usr/sbin/{box}"
                command = [path, str(self._config)]
                self._processes.append(subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log))
            eventually(lambda port=port: _listens(port), f"{box} to listen")
        return self

    def awaited(self) -> int:
        """How many messages it awaits a receipt for: it has heard their ids. A receipt before that it drops."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/status.txt", timeout=30) as answer:
            found = re.search(r"DLR: (\d+) queued", answer.read().decode("utf-8", "replace"))
        assert found
        return int(found[1])

    def __exit__(self, *_: object) -> None:
        # Told to stop, bearerbox may wait for its boxes for ever. It has nothing that is worth keeping.
        for process in self._processes:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
