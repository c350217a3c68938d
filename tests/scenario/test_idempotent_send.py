"""Requests with an Idempotency-Key are sent again and again while processes are killed.

Each request has a number as its subject. Whatever is killed when, a number ends
up as one message: the one that the answer names, however often it is asked
for. A message that was on the wire at a kill may be delivered twice, so copies
are told by their Message-ID.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
from typing import Any

import pytest
from support.daemon import HTTP_LISTENER, Daemon, Sink, eventually, relay_policy


def send(port: int, number: int) -> tuple[int, Any]:
    """Status and decoded reply of request `number`. Raises OSError, HTTPException."""
    body = {
        "to": [{"email": f"u{number}@d{number % 5}.example"}],
        "from": {"email": "shop@example.com"},
        "subject": str(number),
        "text": "Hello.",
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": f'"request {number}"'}
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("POST", "/api/send/v1", json.dumps(body), headers)
        answer = client.getresponse()
        text = answer.read()
    finally:
        client.close()
    return answer.status, json.loads(text) if answer.status == 200 else text.decode()


class Load:
    """Threads that each send number after number, once; `answers` by number of those that were answered."""

    def __init__(self, port: int, first: int, threads: int = 8) -> None:
        self.port = port
        self.answers: dict[int, Any] = {}
        self.next = first
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                number, self.next = self.next, self.next + 1
            try:
                status, reply = send(self.port, number)
            except (OSError, http.client.HTTPException):
                self._stopping.wait(0.05)
                continue
            if status == 200:
                self.answers[number] = reply


def answer_in_the_end(port: int, number: int) -> Any:
    """The reply of request `number`, repeated until there is one."""

    def ask() -> Any:
        try:
            status, reply = send(port, number)
        except (OSError, http.client.HTTPException):
            return None
        assert status in (200, 409, 503), reply
        return reply if status == 200 else None

    return eventually(ask, f"an answer to request {number}")


def check(daemon: Daemon, sink: Sink, answers: dict[int, Any], asked: int) -> None:
    """Ask for every number again: the answers that were given stand, and each number is one message."""
    port = daemon.port("http")
    final = {number: answer_in_the_end(port, number) for number in range(asked)}
    assert {number: final[number] for number in answers} == answers
    expected = {number: reply["recipients"][0]["id"] for number, reply in final.items()}
    copies = eventually(lambda: arrived(sink, asked), f"{asked} messages arrived")
    assert {number: sorted(ids) for number, ids in copies.items()} == {n: [one] for n, one in expected.items()}


def arrived(sink: Sink, count: int) -> dict[int, set[str]]:
    """The ids of the messages that arrived for each number; nothing until all numbers are there."""
    found: dict[int, set[str]] = {}
    for message in sink.messages():
        lines = dict(
            line.split(": ", 1) for line in message["data"].splitlines() if line.startswith(("Sub", "Message-"))
        )
        found.setdefault(int(lines["Subject"]), set()).add(lines["Message-ID"].strip("<>").partition("@")[0])
    return found if len(found) >= count else {}


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_of_everything(tmp_path, workers: int) -> None:
    """The daemon is killed under load and started again; no request is lost or done twice."""
    chance = random.Random(8941 + workers)
    answers: dict[int, Any] = {}
    asked = 0
    with Sink(tmp_path) as sink:
        policy = relay_policy(tmp_path, sink.port, HTTP_LISTENER)
        for _ in range(3):
            daemon = Daemon(tmp_path, policy, workers).start()
            load = Load(daemon.port("http"), asked)
            eventually(lambda: len(load.answers) >= 10, "requests are answered")  # noqa: B023
            threading.Event().wait(chance.uniform(0.0, 0.5))
            daemon.kill()
            load.stop()
            answers |= load.answers
            asked = load.next
        assert len(answers) > 20
        with Daemon(tmp_path, policy, workers) as daemon:
            check(daemon, sink, answers, asked)


def test_kill_9_of_one_worker(tmp_path) -> None:
    """A worker is killed; the others go on, and what it had begun is known again when its successor is there."""
    with Sink(tmp_path) as sink, Daemon(tmp_path, relay_policy(tmp_path, sink.port, HTTP_LISTENER), 2) as daemon:
        load = Load(daemon.port("http"), 0)
        for _ in range(3):
            eventually(lambda: len(daemon.worker_pids()) == 2, "two workers run")
            before = len(load.answers)
            eventually(lambda: len(load.answers) > before + 20, "requests are answered")  # noqa: B023
            os.kill(daemon.worker_pids()[0], signal.SIGKILL)
        load.stop()
        check(daemon, sink, load.answers, load.next)
