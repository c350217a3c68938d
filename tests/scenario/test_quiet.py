"""The diagnostic log of a daemon on which all is well says no more than its operator wants."""

from __future__ import annotations

import re
import ssl

import pytest
from support.daemon import HTTP_LISTENER, SMTP_LISTENER, Daemon, Sink, mail, relay_policy

HTTPS_LISTENER = " kumo.start_http_listener { listen = '127.0.0.1:0', use_tls = true }"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_day_without_trouble(tmp_path, workers) -> None:
    """Start, a message with TLS on both sides, a restart with mail waiting, stop: listeners, "complete", what waited.

    No factories that start and stop, no connections, no messages.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    listeners = SMTP_LISTENER + HTTP_LISTENER + HTTPS_LISTENER
    said = []
    with Sink(tmp_path, [{"at": "rcpt", "match": "later", "reply": "451 4.2.0 later"}]) as sink:
        policy = relay_policy(tmp_path, sink.port, listeners, enable_tls="OpportunisticInsecure")
        policy = policy.replace("'1 second', max_retry_interval = '2 seconds'", "'1 hour'")
        for _ in range(2):
            with Daemon(tmp_path, policy, workers) as daemon:
                with daemon.smtp() as client:
                    client.starttls(context=context)
                    client.sendmail("a@example.com", ["b@example.org"], mail("now"))
                    client.sendmail("a@example.com", ["later@example.org"], mail("later"))
                daemon.wait_for_records("Delivery", len(said) + 1)
                daemon.wait_for_records("TransientFailure", len(said) + 1)
            said.append([line for line in daemon.process.lines if not re.match(r"(smtp|https?) listener on ", line)])
    assert said[0] == ["initialization complete"]
    assert [line.partition("kumotwist.")[2] for line in said[1] if line != "initialization complete"] == [
        "queue.recovery: 1 messages taken up from the spool"
    ]
