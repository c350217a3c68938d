"""A handler that never comes to an end."""

from __future__ import annotations

import smtplib

import pytest
from support.daemon import SMTP_LISTENER, Daemon, Sink, mail, relay_policy

LOOP = """
kumo.on('smtp_server_message_received', function(msg)
  if msg:get_first_named_header_value('x-loop') then
    while true do end
  end
  if msg:get_first_named_header_value('x-pcall') then
    while true do pcall(function() while true do end end) end
  end
end)
"""


@pytest.mark.parametrize("header", ["X-Loop: 1\r\n", "X-Pcall: 1\r\n"])
def test_it_is_stopped_and_the_daemon_lives(tmp_path, header: str) -> None:
    """The client hears 421, the log names the handler's line, and the next message is served."""
    with Sink(tmp_path) as sink:
        policy = relay_policy(tmp_path, sink.port, SMTP_LISTENER, LOOP)
        with Daemon(tmp_path, policy) as daemon:
            with daemon.smtp() as client, pytest.raises(smtplib.SMTPDataError) as error:
                client.sendmail("a@example.com", ["b@example.org"], mail("loop", extra=header))
            assert error.value.smtp_code == 421
            with daemon.smtp() as client:
                client.sendmail("a@example.com", ["b@example.org"], mail("fine"))
            daemon.wait_for_records("Delivery", 1)
            assert "init.lua:" in daemon.process.text()
