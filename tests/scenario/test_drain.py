"""The daemon is told to stop."""

from __future__ import annotations

import signal
import smtplib
import socket

import pytest
from support.daemon import Daemon, Sink, eventually, mail, relay_policy


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_on_the_wire_is_finished(tmp_path, workers: int) -> None:
    """SIGTERM while a peer takes its time: the delivery ends as the peer says, and is not repeated."""
    rules = [{"at": "dot", "delay": 2.0}]
    with Sink(tmp_path, rules) as sink:
        policy = relay_policy(tmp_path, sink.port)
        daemon = Daemon(tmp_path, policy, workers).start()
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("slow"))
        eventually(lambda: daemon.records("Reception"), "the message is taken")
        daemon.stop()
        assert len(daemon.records("Delivery")) == len(sink.messages()) == 1
        with Daemon(tmp_path, policy, workers) as again:
            with again.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("next"))
            again.wait_for_records("Delivery", 2)
        assert len(sink.messages()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_stop_signal_ends_it_with_status_0(tmp_path, number: int) -> None:
    """SIGTERM, SIGINT and SIGHUP all stop it gracefully, as they stop KumoMTA."""
    daemon = Daemon(tmp_path, relay_policy(tmp_path, 9), workers=0).start()
    daemon.stop(number)


def test_a_peer_that_never_answers_holds_the_stop_up_only_so_long(tmp_path) -> None:
    """Past the bound the delivery is given up, kept in the spool, and tried after the next start."""
    rules = [{"at": "dot", "delay": 3600.0, "times": 1}]
    with Sink(tmp_path, rules) as sink:
        policy = relay_policy(tmp_path, sink.port)
        daemon = Daemon(tmp_path, policy, workers=1, shutdown_timeout=1.0).start()
        with daemon.smtp() as client:
            client.sendmail("a@example.com", ["b@example.org"], mail("stuck"))
        eventually(lambda: daemon.records("Reception"), "the message is taken")
        daemon.stop()
        assert not daemon.records("Delivery")
        with Daemon(tmp_path, policy, workers=1) as again:
            again.wait_for_records("Delivery", 1)


def test_connected_clients_are_told(tmp_path) -> None:
    """A client that is connected hears 421, a new one cannot connect."""
    daemon = Daemon(tmp_path, relay_policy(tmp_path, 9), workers=0).start()
    client = smtplib.SMTP("127.0.0.1", daemon.port(), timeout=30)
    client.ehlo()
    port = daemon.port()
    daemon.stop()
    assert client.getreply()[0] == 421
    client.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)
