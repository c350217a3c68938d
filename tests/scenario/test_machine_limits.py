"""Limits hold for the machine, however many workers there are."""

from __future__ import annotations

import itertools
import smtplib
import threading
import time

from support.daemon import SMTP_LISTENER, Daemon, Sink, eventually, mail, relay_policy

#: What two workers may send at once, before the rate shows: a second's worth, and what each was handed in advance.
BURST = 60


def test_a_rate_is_kept_over_all_workers(tmp_path) -> None:
    """40 messages a second over two workers are 40, not 80: within 5 %.

    Never more, but for the burst at the beginning, and as many in the best five seconds: in others this machine may
    have had no time for us. Who must wait waits for whole seconds (semantics a.8), so one second's worth may still be
    to come when we look.
    """
    with Sink(tmp_path) as sink:
        policy = relay_policy(tmp_path, sink.port, SMTP_LISTENER).replace(
            "prohibited_hosts = {},", "prohibited_hosts = {}, max_message_rate = '40/s',"
        )
        with Daemon(tmp_path, policy, workers=2) as daemon:
            clients = [daemon.smtp() for _ in range(4)]
            looks = [(time.monotonic(), 0)]

            def has_seen(count: int) -> bool:
                passed = len(sink.messages())
                looks.append((time.monotonic(), passed))
                return passed >= count

            for number in range(800):
                clients[number % 4].sendmail("a@example.com", ["b@example.org"], mail(str(number)))
            for client in clients:
                client.quit()
            eventually(lambda: has_seen(BURST + 10 * 40), "the burst and ten seconds' worth have passed", 60)
            daemon.kill()
    started = looks[0][0]
    assert all(passed <= BURST + 1.05 * 40 * (now - started) for now, passed in looks)
    spans = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.combinations(looks, 2)]
    assert any(passed >= 0.95 * 40 * (seconds - 1) for seconds, passed in spans if seconds >= 5)


def test_connections_are_counted_over_all_workers(tmp_path) -> None:
    """connection_limit 3 over two workers: the peer never sees a fourth connection."""
    rules = [{"at": "dot", "delay": 0.2}]
    with Sink(tmp_path, rules) as sink:
        policy = relay_policy(tmp_path, sink.port, SMTP_LISTENER).replace(
            "prohibited_hosts = {},", "prohibited_hosts = {}, connection_limit = 3,"
        )
        with Daemon(tmp_path, policy, workers=2) as daemon:
            clients = [daemon.smtp() for _ in range(4)]
            for number in range(30):
                clients[number % 4].sendmail("a@example.com", ["b@example.org"], mail(str(number)))
            for client in clients:
                client.quit()
            most = 0
            deadline = time.monotonic() + 60
            while len(sink.messages()) < 30 and time.monotonic() < deadline:
                most = max(most, _connections_to(sink.port))
                threading.Event().wait(0.01)  # each is there for 0.2 s at least
            assert len(sink.messages()) == 30
    assert 1 <= most <= 3


def test_clients_are_counted_over_all_workers(tmp_path) -> None:
    """max_connections = 4 over two workers: the fifth client hears 421, whichever worker it meets, until one leaves."""
    listener = "kumo.start_esmtp_listener { listen = '127.0.0.1:0', max_connections = 4 }"
    with Daemon(tmp_path, relay_policy(tmp_path, 9, listener), workers=2) as daemon:
        clients = [daemon.smtp() for _ in range(4)]
        for _ in range(8):
            assert _greeting(daemon) == 421
        clients.pop().quit()
        eventually(lambda: _greeting(daemon) == 220, "there is room for one again")
        for client in clients:
            client.quit()


def _greeting(daemon: Daemon) -> int:
    """The code of the banner that a new client gets."""
    with smtplib.SMTP(timeout=30) as client:
        return client.connect("127.0.0.1", daemon.port())[0]


def _connections_to(port: int) -> int:
    """Established connections to a local port, from the kernel's table."""
    wanted = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as table:
        return sum(1 for line in table if line.split()[2] == wanted and line.split()[3] == "01")
