"""The demonstration's senders: a bounded stream of messages over SMTP and HTTP.

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
from typing import Final

from attrs import define, field

#: Recipients' domains; each makes a scheduled queue per route.
_DOMAINS: Final = ("gmail.example", "yahoo.example", "outlook.example", "corp.example")
_SENDER: Final = "news@shop.example"
#: Messages over one SMTP connection before it is closed in good order.
_PER_CONNECTION: Final = 50
#: Part of the stream that goes in over HTTP.
_HTTP_SHARE: Final = 0.3


@define(eq=False)
class Stream:
    """Sends `rate` messages a second until stopped."""

    smtp_port: int
    http_port: int
    rate: float
    accepted_smtp: int = field(default=0, init=False)
    accepted_http: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    _stopping: threading.Event = field(factory=threading.Event, init=False)
    _threads: list[threading.Thread] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1), init=False)

    @property
    def accepted(self) -> int:
        """Messages that the daemon has taken over."""
        return self.accepted_smtp + self.accepted_http

    def start(self) -> None:
        """Begin to send."""
        for run in (self._send_smtp, self._send_http):
            thread = threading.Thread(target=run, name=run.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Send no more; returns when the last answer is there."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _send_smtp(self) -> None:
        beat = _Beat(self.rate * (1 - _HTTP_SHARE), self._stopping)
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

    def _send_http(self) -> None:
        beat = _Beat(self.rate * _HTTP_SHARE, self._stopping)
        client = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        while beat.wait():
            try:
                self._inject(client, next(self._numbers))
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
        client.request("POST", "/api/inject/v1", json.dumps(request), {"Content-Type": "application/json"})
        answer = client.getresponse()
        body = answer.read()
        if answer.status == http.client.OK:
            self.accepted_http += json.loads(body)["success_count"]
        else:
            self.refused += 1


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


def _message(number: int) -> str:
    filler = base64.encodebytes(number.to_bytes(4, "big") * 180).decode().replace("\n", "\r\n")
    return (
        f"From: The Shop <{_SENDER}>\r\nTo: <{_recipient(number)}>\r\nSubject: Newsletter {number}\r\n"
        f"\r\nDear customer {number},\r\n\r\n{filler}"
    )
