"""A message whose handler takes the process down: it must not do so for ever."""

from __future__ import annotations

import contextlib
import smtplib
import sqlite3
from pathlib import Path

from support.daemon import Daemon, mail

from kumotwist.core.ids import from_hex

#: The handler ends its own process as a broken C module would; every other message is delivered.
POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.configure_local_logs {{ log_dir = '{log}', max_segment_duration = '1 second' }}
  kumo.start_esmtp_listener {{ listen = '127.0.0.1:0' }}
end)
kumo.on('get_queue_config', function()
  return kumo.make_queue_config {{ protocol = {{ custom_lua = {{ constructor = 'make.mailer' }} }} }}
end)
kumo.on('make.mailer', function()
  local mailer = {{}}
  function mailer:send(msg)
    if msg:get_first_named_header_value('X-Poison') then
      os.execute('kill -9 $PPID')
    end
    return 'sent'
  end
  return mailer
end)
"""


def send(daemon: Daemon, subject: str, extra: str = "") -> None:
    # The process may end before the client has its reply.
    with contextlib.suppress(smtplib.SMTPServerDisconnected), daemon.smtp() as client:
        client.sendmail("a@example.com", ["b@example.org"], mail(subject, extra=extra))


def test_a_message_that_kills_the_worker_is_held_and_in_the_end_given_up(tmp_path: Path) -> None:
    """The worker is replaced and serves the others; the log names message and handler; the third time it bounces."""
    policy = POLICY.format(log=tmp_path / "log")
    with Daemon(tmp_path, policy, workers=1) as daemon:
        assert daemon.process is not None
        send(daemon, "poison", "X-Poison: 1\r\n")
        (delayed,) = daemon.wait_for_records("Delayed", 1)
        assert delayed["response"]["content"].startswith("Context: Enumerated, ProcessEndedInPolicy. Next due in ")
        send(daemon, "fine")
        daemon.wait_for_records("Delivery", 1)
        said = f"{delayed['id']}: the process ended 1 time while policy handled this message in make.mailer"
        assert said in daemon.process.text()
    # Two more such ends, without waiting the minutes that lie between them.
    with sqlite3.connect(next((tmp_path / "state").glob("*.sqlite"))) as state:
        state.execute("UPDATE suspect SET alone = 3 WHERE spool_id = ?", (from_hex(delayed["id"]),))
    state.close()
    with Daemon(tmp_path, policy, workers=1) as daemon:
        (bounce,) = daemon.wait_for_records("Bounce", 1)
        assert bounce["id"] == delayed["id"]
        assert bounce["response"]["code"] == 554
        place = Path(bounce["response"]["content"].rpartition("a copy is in ")[2])
        assert b"X-Poison" in (place / f"{bounce['id']}.eml").read_bytes()
        send(daemon, "fine")
        daemon.wait_for_records("Delivery", 2)


def test_without_a_supervisor_the_next_start_knows(tmp_path: Path) -> None:
    """With --workers 0 the process is gone until someone starts it again; then the message is held all the same."""
    policy = POLICY.format(log=tmp_path / "log")
    daemon = Daemon(tmp_path, policy).start()
    assert daemon.process is not None
    send(daemon, "poison", "X-Poison: 1\r\n")
    assert daemon.process.wait(30) == -9
    with Daemon(tmp_path, policy) as daemon:
        daemon.wait_for_records("Delayed", 1)
        send(daemon, "fine")
        daemon.wait_for_records("Delivery", 1)
