"""CPU of a delivery on an open SMTP connection, against Postfix's smtp-sink.

Run: `python tests/bench/smtp_out.py [--size 1024] [--messages 20000] [--sessions 20]`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.fakes_egress import make_channels, make_message, make_request
from twisted.internet import defer, reactor, task

from kumotwist.config.queue import SmtpProtocol
from kumotwist.core.errors import ConnectFailed

LINE = b"x" * 76 + b"\r\n"


async def connected(channel, request):
    """A session, as soon as the sink listens."""
    while True:
        session = channel.open(request)
        try:
            await session.connect()
        except ConnectFailed:
            await task.deferLater(reactor, 0.05)
        else:
            return session


async def measure(port, options):
    channel = make_channels(reactor).channel_for(SmtpProtocol(mx_list=(f"[127.0.0.1:{port}]",)))
    sessions = [await connected(channel, make_request()) for _ in range(options.sessions)]
    body = b"Subject: x\r\n\r\n" + LINE * (options.size // len(LINE))
    messages = [make_message(body=body) for _ in range(options.messages)]

    async def drain(session):
        while messages:
            await session.deliver([messages.pop()])
        await session.close()

    cpu, wall = time.process_time(), time.monotonic()
    await defer.gatherResults([defer.Deferred.fromCoroutine(drain(session)) for session in sessions])
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(
        f"{options.size} octets: {cpu / options.messages * 1e6:.0f} us CPU a message, {options.messages / wall:.0f}/s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("size", 1024), ("messages", 20000), ("sessions", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    sink = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
    if sink is None:
        sys.exit("smtp-sink is missing; on Debian: apt install postfix")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([sink, *user, f"127.0.0.1:{port}", "1000"]) as running:
        try:
            task.react(lambda _: defer.Deferred.fromCoroutine(measure(port, options)))
        finally:
            running.terminate()


if __name__ == "__main__":
    main()
