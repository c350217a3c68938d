"""The demonstration's senders: a bounded stream of messages over SMTP and both HTTP APIs.

Plain threads with the standard library's clients, as other people's programs
would send. What the daemon refuses for the moment is counted, not repeated.

Public: `Stream`, with `start`, `stop` and the counts.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import smtplib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from kumotwist.demo.google import GONE

#: Recipients' domains; each makes a scheduled queue per route.
_DOMAINS: Final = ("gmail.example", "yahoo.example", "outlook.example", "corp.example")
_SENDER: Final = "news@shop.example"
#: Messages over one SMTP connection before it is closed in good order.
_PER_CONNECTION: Final = 50
#: Parts of the stream that go in by HTTP injection and by the send API, whose requests make one message of each kind.
_INJECT_SHARE: Final = 0.2
_SEND_SHARE: Final = 0.3
_KINDS: Final = 2
#: Of so many numbers five have a phone that the application was removed from.
_GONE_EVERY: Final = 100
#: Every so manieth request to the send API is sent once more, as after a lost reply.
_REPEAT: Final = 10


@define(eq=False)
class Stream:
    """Sends `rate` messages a second until stopped."""

    smtp_port: int
    http_port: int
    rate: float
    accepted_smtp: int = field(default=0, init=False)
    accepted_http: int = field(default=0, init=False)
    accepted_send: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    _stopping: threading.Event = field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)
    _requests: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)

    @property
    def accepted(self) -> int:
        """Messages that the daemon has taken over."""
        return self.accepted_smtp + self.accepted_http + self.accepted_send

    def start(self) -> None:
        """Begin to send."""
        for run in (self._send_smtp, self._send_injections, self._send_neutral):
            thread = threading.Thread(target=run, name=run.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Send no more; returns when the last answer is there."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _send_smtp(self) -> None:
        beat = _Beat(self.rate * (1 - _INJECT_SHARE - _SEND_SHARE), self._stopping)
        while not self._stopping.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=20) as client:
                    for _ in range(_PER_CONNECTION):
                        if not beat.wait():
                            return
                        self._send_one(client)
            except (OSError, smtplib.SMTPException):
                self.refused += 1
                self._stopping.wait(0.5)

    def _send_one(self, client: smtplib.SMTP) -> None:
        number = next(self._numbers)
        try:
            client.sendmail(_SENDER, [_recipient(number)], _message(number))
        except smtplib.SMTPResponseException:
            self.refused += 1
        else:
            self.accepted_smtp += 1

    def _send_injections(self) -> None:
        self._post(self.rate * _INJECT_SHARE, self._inject)

    def _send_neutral(self) -> None:
        self._post(self.rate * _SEND_SHARE / _KINDS, self._send)

    def _post(self, rate: float, one: Callable[[http.client.HTTPConnection, int], None]) -> None:
        """Send `rate` requests a second over one connection."""
        beat = _Beat(rate, self._stopping)
        client = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        while beat.wait():
            try:
                one(client, next(self._numbers))
            except (OSError, http.client.HTTPException, ValueError):
                self.refused += 1
                client.close()
        client.close()

    def _inject(self, client: http.client.HTTPConnection, number: int) -> None:
        request = {
            "envelope_sender": _SENDER,
            "recipients": [{"email": _recipient(number), "name": f"Customer {number}"}],
            "content": {
                "subject": f"Order {number}",
                "text_body": "Dear {{ name }}, your order is on its way.",
                "from": {"email": _SENDER, "name": "The Shop"},
            },
        }
        reply = self._ask(client, "/api/inject/v1", request, {})
        self.accepted_http += reply.get("success_count", 0)

    def _send(self, client: http.client.HTTPConnection, number: int) -> None:
        request = {
            "to": [{"phone": f"+1555{number % 10**7:07d}"}, {"device_token": _token(number), "platform": "fcm"}],
            "subject": f"Order {number}",
            "text": f"The Shop: your order {number} is on its way.",
        }
        # A key of its own for each request, so that a repetition counts once.
        headers = {"Idempotency-Key": f'"order {number}"'}
        reply = self._ask(client, "/api/send/v1", request, headers)
        self.accepted_send += reply.get("accepted", 0)
        if reply and next(self._requests) % _REPEAT == 0:
            self.repeated += self._ask(client, "/api/send/v1", request, headers) == reply

    def _ask(
        self, client: http.client.HTTPConnection, path: str, request: object, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """The decoded reply; empty when the daemon refused for the moment."""
        client.request("POST", path, json.dumps(request), {"Content-Type": "application/json", **headers})
        answer = client.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            self.refused += 1
            return {}
        reply: dict[str, Any] = json.loads(body)
        return reply


@define(eq=False)
class _Beat:
    """Lets `rate` events a second pass; behind schedule it catches up, but by no more than a second's worth."""

    rate: float
    stopping: threading.Event
    _next: float = field(factory=time.monotonic, init=False)

    def wait(self) -> bool:
        """Wait for the next beat; False when it is time to stop."""
        now = time.monotonic()
        self._next = max(self._next + 1 / self.rate, now - 1)
        return not self.stopping.wait(max(0.0, self._next - now))


def _recipient(number: int) -> str:
    return f"customer{number}@{_DOMAINS[number % len(_DOMAINS)]}"


def _token(number: int) -> str:
    """The application's address on somebody's phone; some have removed it."""
    return f"demo:{number:08d}{GONE if number % _GONE_EVERY < 5 else ''}"


def _message(number: int) -> str:
    filler = base64.encodebytes(number.to_bytes(4, "big") * 180).decode().replace("\n", "\r\n")
    return (
        f"From: The Shop <{_SENDER}>\r\nTo: <{_recipient(number)}>\r\nSubject: Newsletter {number}\r\n"
        f"\r\nDear customer {number},\r\n\r\n{filler}"
    )
