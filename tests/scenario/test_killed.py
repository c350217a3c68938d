"""The daemon is killed at any moment, again and again, under load.

A message is known by its X-Number header. "Acknowledged" is what a client
heard 250 for; each of those must be delivered in the end, whatever happened
in between. What was on the wire may be delivered twice.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import smtplib
import threading

import pytest
from support.daemon import STOP_TIMEOUT, Daemon, Sink, eventually, mail, relay_policy

NUMBER = re.compile(r"X-Number: (\d+)")


class Load:
    """Threads that send as fast as they are answered; `acknowledged` has the numbers of what was taken."""

    def __init__(self, port: int, first: int, threads: int = 4) -> None:
        self.port = port
        self.acknowledged: list[int] = []
        self._next = first
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def go_on(self, count: int) -> None:
        """Wait until `count` more are acknowledged."""
        wanted = len(self.acknowledged) + count
        eventually(lambda: len(self.acknowledged) >= wanted, f"{count} more messages are taken")

    def stop(self) -> int:
        """End it; the first number not used."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self._next

    def _run(self) -> None:
        while not self._stopping.is_set():
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP("127.0.0.1", self.port, timeout=10) as client,
            ):
                while not self._stopping.is_set():
                    with self._lock:
                        number, self._next = self._next, self._next + 1
                    text = mail(str(number), extra=f"X-Number: {number}\r\n")
                    client.sendmail("a@example.com", [f"u{number}@d{number % 7}.example"], text)
                    self.acknowledged.append(number)
            self._stopping.wait(0.02)


def arrived(sink: Sink) -> list[int]:
    return [int(NUMBER.search(message["data"])[1]) for message in sink.messages()]


@pytest.mark.parametrize(("workers", "kills"), [(0, 2), (1, 3), (2, 4)])
def test_nothing_acknowledged_is_lost(tmp_path, workers: int, kills: int) -> None:
    """kill -9 under load, many times: every acknowledged message arrives after the last restart."""
    rules = [{"at": "rcpt", "share": 0.1, "reply": "451 4.2.1 later"}]
    chance = random.Random(2821)
    acknowledged: list[int] = []
    first = 0
    with Sink(tmp_path, rules) as sink:
        policy = relay_policy(tmp_path, sink.port)
        for _ in range(kills):
            daemon = Daemon(tmp_path, policy, workers).start()
            load = Load(daemon.port(), first)
            load.go_on(50)
            threading.Event().wait(chance.uniform(0.0, 1.0))
            daemon.kill()
            first = load.stop()
            acknowledged += load.acknowledged
        assert len(acknowledged) > 100
        with Daemon(tmp_path, policy, workers):
            missing = set(acknowledged)

            def all_there() -> bool:
                missing.difference_update(arrived(sink))
                return not missing

            eventually(all_there, "every acknowledged message is at the sink", 60)
        counts = arrived(sink)
        doubled = len(counts) - len(set(counts))
        # Per kill at most what was on the wire: the sessions of the connections then open.
        assert doubled <= kills * 64, f"{doubled} of {len(counts)} came twice"


def test_one_worker_dies_and_is_replaced(tmp_path) -> None:
    """kill -9 of one worker of two: the other goes on, the dead one's messages are delivered by its successor."""
    with Sink(tmp_path) as sink:
        daemon = Daemon(tmp_path, relay_policy(tmp_path, sink.port), workers=2).start()
        load = Load(daemon.port(), 0)
        for _ in range(3):
            load.go_on(50)
            before = daemon.worker_pids()
            os.kill(before[0], signal.SIGKILL)
            eventually(
                lambda before=before: len(daemon.worker_pids()) == 2 and before[0] not in daemon.worker_pids(),
                "a new worker takes the place of the dead one",
            )
        load.stop()
        missing = set(load.acknowledged)

        def all_there() -> bool:
            missing.difference_update(arrived(sink))
            return not missing

        eventually(all_there, "every acknowledged message is at the sink", 60)
        daemon.stop()


def test_the_supervisor_dies_and_its_workers_with_it(tmp_path) -> None:
    """kill -9 of the supervisor alone: its workers drain and end, and the next start finds a free spool."""
    with Sink(tmp_path) as sink:
        policy = relay_policy(tmp_path, sink.port)
        daemon = Daemon(tmp_path, policy, workers=2).start()
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("one"))
        daemon.process.popen.kill()
        # Its workers hold the other ends of its pipes: this waits for them too.
        daemon.process.wait(STOP_TIMEOUT)
        with Daemon(tmp_path, policy, workers=2) as again:
            with again.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("two"))
            sink.wait_for(2)


def test_workers_change_between_two_starts(tmp_path) -> None:
    """What two workers took, three keep, and one delivers: nothing is lost and nothing doubled."""
    with Sink(tmp_path) as sink:
        numbers = range(40)
        with Daemon(tmp_path, relay_policy(tmp_path, 9), workers=2) as daemon:
            for number in numbers:
                with daemon.smtp() as client:
                    client.sendmail("a@example.com", ["b@example.org"], mail("x", extra=f"X-Number: {number}\r\n"))
        with Daemon(tmp_path, relay_policy(tmp_path, 9), workers=3):
            pass
        with Daemon(tmp_path, relay_policy(tmp_path, sink.port), workers=0):
            sink.wait_for(len(numbers), 60)
        assert sorted(arrived(sink)) == list(numbers)
