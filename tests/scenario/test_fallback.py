"""E-mail, and a text message if no receipt says in time that it has arrived: a real daemon between two providers."""

from __future__ import annotations

import http.client
import json
import smtplib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from support.daemon import Daemon, eventually, mail
from support.receipts import SendgridKey

#: Seconds that the mail has where nothing is reported in time.
WAIT = 3
#: Enough to report on it before, and to cut the power, on a busy machine, too.
LONG_WAIT = 12
POLICY = """
local kumo = require 'kumo'

kumo.on('init', function()
  kumo.start_esmtp_listener { listen = '127.0.0.1:0' }
  kumo.start_http_listener {
    listen = '127.0.0.1:0',
    receipts = { sendgrid = { main = { verification_key = { key_data = os.getenv 'SENDGRID_KEY' } } } },
  }
  kumo.configure_local_logs { log_dir = os.getenv 'LOGS', max_segment_duration = '1 second' }
end)

kumo.on('smtp_server_message_received', function(msg)
  msg:set_meta('phone', msg:get_first_named_header_value 'x-phone')
end)

kumo.on('get_queue_config', function()
  return kumo.make_queue_config { route_table = 'mail', retry_interval = '1 second' }
end)

kumo.on('get_route_table', function(name)
  local url, key = os.getenv 'PROVIDERS', { key_data = 'k' }
  if name == 'mail' then
    local protocol = { sendgrid = { api_key = key, base_url = url } }
    return kumo.make_route_table {
      name = name,
      routes = { { name = 'sendgrid', weight = 1, protocol = protocol } },
      fallback = { { route_table = 'text', wait = os.getenv 'MAIL_HAS' } },
    }
  end
  local protocol = {
    twilio = { account_sid = 'AC1', auth_token = key, sender = '+15550001111', to_meta = 'phone', base_url = url },
  }
  return kumo.make_route_table { name = name, routes = { { name = 'twilio', weight = 1, protocol = protocol } } }
end)
"""


class World(ThreadingHTTPServer):
    """SendGrid and Twilio. Mail to `refused@…` is refused; texts get 503 while `is_text_down`."""

    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.is_text_down = False
        self.mails: list[str] = []
        self.texts: list[str] = []


class _Answers(BaseHTTPRequestHandler):
    server: World

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/v3/mail/send":
            to = json.loads(body)["personalizations"][0]["to"][0]["email"]
            self.server.mails.append(to)
            bad = {
                "errors": [{"message": "Does not contain a valid address.", "field": "personalizations.0.to.0.email"}]
            }
            self._say(*((400, bad) if to.startswith("refused") else (202, None)), message_id=f"id-{to}")
        elif self.server.is_text_down:
            self._say(503, {"code": 20503, "message": "Service unavailable"})
        else:
            self.server.texts.append(parse_qs(body)["To"][0])
            self._say(201, {"sid": f"SM{len(self.server.texts):032}", "status": "queued"})

    def _say(self, status: int, answer: Any, message_id: str | None = None) -> None:
        body = json.dumps(answer).encode() if answer is not None else b""
        self.send_response(status)
        if message_id is not None:
            self.send_header("X-Message-Id", message_id)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def world() -> Iterator[World]:
    with World() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def phone(name: str) -> str:
    return f"+1555{sum(name.encode()) * 7919 % 10_000_000:07}"


def write(client: smtplib.SMTP, name: str) -> None:
    client.sendmail("shop@src.test", [f"{name}@dest.test"], mail("code", extra=f"X-Phone: {phone(name)}\r\n"))


class Shop:
    """Who sends, and reports as SendGrid does."""

    def __init__(self, daemon: Daemon, key: SendgridKey) -> None:
        self.daemon = daemon
        self.key = key

    def send(self, *names: str) -> None:
        with self.daemon.smtp() as client:
            for name in names:
                write(client, name)

    def sync(self) -> None:
        """One message to each worker. When it is acknowledged, all that the worker did before is on disk as well."""
        for number, client in enumerate(self.daemon.clients_of_each_worker()):
            with client:
                write(client, f"sync{number}")

    def report(self, name: str, **event: str) -> None:
        remote_id = f"id-{name}@dest.test.filter0001.1.5515E0B88.0"
        told = {"email": f"{name}@dest.test", "sg_message_id": remote_id, "sg_event_id": f"{name} {event}", **event}
        body = json.dumps([told]).encode()
        headers = {name.replace("_", "-"): value for name, value in self.key.headers(body, time.time()).items()}
        assert self.ask("POST", "/receipts/sendgrid/main", body, headers)[0] == 200

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", self.daemon.port("http"), timeout=30)
        try:
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def fallbacks(self) -> dict[str, list[tuple[str, str]]]:
        """The moves of each recipient: to where, and why."""
        found: dict[str, list[tuple[str, str]]] = {}
        for record in self.daemon.records("Fallback"):
            move = record["fallback"]
            found.setdefault(record["recipient"].partition("@")[0], []).append((move["to"], move["reason"]))
        return found


@contextmanager
def shop(
    tmp_path: Path, world: World, key: SendgridKey, workers: int, wait: int = WAIT, policy: str = POLICY
) -> Iterator[Shop]:
    env = {"MAIL_HAS": f"{wait} seconds"} | {
        "PROVIDERS": world.url,
        "SENDGRID_KEY": key.public,
        "LOGS": str(tmp_path / "log"),
    }
    with Daemon(tmp_path, policy, workers=workers, env=env) as daemon:
        yield Shop(daemon, key)


def delivered(shop: Shop) -> Counter[tuple[str, str]]:
    return Counter(
        (record["recipient"].partition("@")[0], record["route"]) for record in shop.daemon.records("Delivery")
    )


def test_what_decides_whether_a_text_goes_out(tmp_path: Path, world: World) -> None:
    """No receipt, one in time, a refusal, a bounce: by whichever of two workers hears of it."""
    with shop(tmp_path, world, SendgridKey(), 2, LONG_WAIT) as one:
        started = time.monotonic()
        one.send("silent", "arrived", "refused", "bounced")
        eventually(lambda: len(world.mails) == 4, "four mails")
        one.daemon.wait_for_records("Delivery", 3)
        one.report("arrived", event="delivered")
        one.report("bounced", event="bounce", type="bounce", reason="550 5.1.1 none")
        eventually(lambda: delivered(one)["silent", "twilio"], "the text to who was silent")
        assert time.monotonic() - started >= LONG_WAIT
        told = eventually(lambda: len(found := one.fallbacks()) >= 3 and found, "three records")
        assert told == {
            "silent": [("text", "no_receipt")],
            "refused": [("text", "refused")],
            "bounced": [("text", "failed_receipt")],
        }
        assert delivered(one) == Counter(
            [("silent", "sendgrid"), ("arrived", "sendgrid"), ("bounced", "sendgrid")]
            + [(name, "twilio") for name in ("silent", "refused", "bounced")]
        )
        assert len(world.texts) == 3
        (refusal,) = one.daemon.records("TransientFailure")
        assert refusal["recipient"] == "refused@dest.test"
        assert not one.daemon.records("Bounce", "Expiration")
        metrics = one.ask("GET", "/metrics")[1]
    for reason in ("no_receipt", "refused", "failed_receipt"):
        assert f'total_fallbacks{{table="mail",to="text",reason="{reason}"}} 1' in metrics


def test_a_late_success_cancels_the_text(tmp_path: Path, world: World) -> None:
    """The text's provider is down when its turn comes; the mail arrives after all, and no text goes out."""
    world.is_text_down = True
    with shop(tmp_path, world, SendgridKey(), 0) as one:
        one.send("late")
        one.daemon.wait_for_records("TransientFailure", 1)
        one.report("late", event="delivered")
        (_, cancelled) = one.daemon.wait_for_records("Fallback", 2)
        assert cancelled["fallback"]["reason"] == "cancelled"
        world.is_text_down = False
        status = one.ask("GET", f"/api/admin/message/v1?id={cancelled['id']}")
        assert json.loads(status[1])["state"] == "finished"
    assert world.texts == []


@contextmanager
def host_that_does_not_answer() -> Iterator[str]:
    """A port of this machine whose backlog is full: who connects waits for nothing."""
    with ExitStack() as stack:
        host = stack.enter_context(socket.socket())
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(host.getsockname())
        yield f"127.0.0.1:{host.getsockname()[1]}"


def test_a_mail_host_that_does_not_answer_delays_no_text(tmp_path: Path, world: World) -> None:
    """Mail is still connecting at its deadline, and for a minute yet: the text goes out all the same."""
    with host_that_does_not_answer() as host:
        policy = POLICY.replace(
            "local protocol = { sendgrid = { api_key = key, base_url = url } }",
            f"local protocol = {{ smtp = {{ mx_list = {{ '{host}' }} }} }}",
        )
        policy += (
            "kumo.on('get_egress_path_config', function() return kumo.make_egress_path { prohibited_hosts = {} } end)"
        )
        with shop(tmp_path, world, SendgridKey(), 0, policy=policy) as one:
            started = time.monotonic()
            one.send("waiting")
            eventually(lambda: world.texts, "the text")
            assert WAIT <= time.monotonic() - started < 30, "a connection has sixty seconds"
            eventually(lambda: delivered(one) == {("waiting", "twilio"): 1}, "its record")
            assert one.fallbacks() == {"waiting": [("text", "not_handed_over")]}
            assert not one.daemon.records("TransientFailure")


def test_a_power_cut_while_messages_wait(tmp_path: Path, world: World) -> None:
    """Nothing is lost and nothing is sent twice; a receipt that came before the cut counts after it."""
    names = [f"u{number}" for number in range(20)]
    key = SendgridKey()
    with shop(tmp_path, world, key, 2, LONG_WAIT) as one:
        one.send(*names)
        one.daemon.wait_for_records("Delivery", 20)
        one.report("u0", event="delivered")
        one.sync()  # what was on the wire at the cut may go out twice: let it be these
        one.daemon.kill()
    texts = sorted(map(phone, names[1:]))
    with shop(tmp_path, world, key, 1, LONG_WAIT) as one:
        eventually(lambda: sum(route == "twilio" for _, route in delivered(one)) >= 19 + 2, "all texts")
    assert sorted(to for to in world.mails if not to.startswith("sync")) == sorted(
        f"{name}@dest.test" for name in names
    )
    assert sorted(to for to in world.texts if to not in map(phone, ("sync0", "sync1"))) == texts
