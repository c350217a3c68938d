"""A stand-in for other people's APIs: SendGrid, Mailgun, SparkPost and FCM in one process.

Runs beside demonstrations and tests: `python -m kumotwist.demo.standin_http
[--listen IP:PORT] [--key KEY] [--share 0.05] [--failures 429,503] [--delay S]
[--output FILE]`. It prints `listening on IP:PORT` on stdout and answers

- `POST /v3/mail/send` as SendGrid (`Authorization: Bearer KEY`),
- `POST /v3/{domain}/messages.mime` as Mailgun (Basic, user `api`),
- `POST /api/v1/transmissions` as SparkPost (`Authorization: KEY`),
- `POST /token` and `POST /v1/projects/{project}/messages:send` as Google (a token for any service account, and FCM),
- `GET /stand-in/count` with `{"requests", "accepted", "failed", "refused"}`,
- `POST /stand-in/outage` with `{"provider", "seconds"}`: for so long that provider refuses everything with 503.

`--share` of the good requests fail, by turns with the statuses of
`--failures`; counted, not random, so the same run gives the same result.
Without `--key` every key is good. Each request is appended to FILE as one JSON
line: provider, path, headers, status, and `json` or `form`.

Public: `main`, `StandIn`. It shares no code with our own HTTP listener, so
that neither hides the other's mistakes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, field
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kumotwist.demo import google
from kumotwist.demo.providers import Answered, Asked, Provider, failure, find, form_parts
from kumotwist.net.clock import Clock

#: Statuses that a failing provider gives by turns: mostly what passes, now and then what does not.
FAILURES: Final = (429, 503, 500, 429, 400)
#: Twisted knows fewer.
_REASONS: Final = {one.value: one.phrase.encode() for one in HTTPStatus}
#: Characters of a form part that the output file keeps.
_KEPT: Final = 65536


@define(eq=False)
class StandIn:
    """The answers, the failures among them, and the counts."""

    key: str | None = None
    share: float = 0.0
    failures: Sequence[int] = FAILURES
    output: IO[str] | None = None
    #: Monotonic seconds.
    now: Callable[[], float] = time.monotonic
    counts: dict[str, int] = field(factory=lambda: dict.fromkeys(("requests", "accepted", "failed", "refused"), 0))
    _statuses: Any = field(init=False)
    _good: int = field(default=0, init=False)
    #: When the outage of a provider is over.
    _out_until: dict[str, float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._statuses = cycle(self.failures)

    def answer(self, method: str, path: str, asked: Asked) -> Answered:
        """What the provider at `path` says."""
        if path == "/stand-in/count":
            return Answered(200, dict(self.counts))
        if path == "/stand-in/outage":
            wanted = json.loads(asked.body)
            self._out_until[wanted["provider"]] = self.now() + wanted["seconds"]
            return Answered(200, {})
        self.counts["requests"] += 1
        found = find(path) or google.find(path)
        if found is None:
            return Answered(404, {"message": "nothing here"})
        if method != "POST":
            return Answered(405, {"message": "method not allowed"}, {"Allow": "POST"})
        provider, domain = found
        answered = self._judge(provider, Asked(asked.headers, asked.body, domain))
        if self.output is not None:
            self.output.write(json.dumps(_entry(provider, path, asked, answered)) + "\n")
            self.output.flush()
        return answered

    def _judge(self, provider: Provider, asked: Asked) -> Answered:
        if self.now() < self._out_until.get(provider.name, 0.0):
            self.counts["failed"] += 1
            return failure(provider, HTTPStatus.SERVICE_UNAVAILABLE)
        key = provider.credential(asked)
        is_known = key is not None and self.key in (None, key)
        answered = provider.answer(asked) if is_known else provider.unauthorized
        if not answered.accepted:
            self.counts["refused"] += answered.status >= HTTPStatus.BAD_REQUEST
            return answered
        if self._is_turn():
            self.counts["failed"] += 1
            return failure(provider, next(self._statuses))
        self.counts["accepted"] += answered.accepted
        return answered

    def _is_turn(self) -> bool:
        before, after = int(self._good * self.share), int((self._good + 1) * self.share)
        self._good += 1
        return before != after


def _entry(provider: Provider, path: str, asked: Asked, answered: Answered) -> dict[str, object]:
    entry: dict[str, object] = {
        "provider": provider.name,
        "path": path,
        "headers": {name: value for name, value in asked.headers.items() if name != "authorization"},
        "status": answered.status,
    }
    try:
        entry["json"] = json.loads(asked.body)
    except ValueError:
        entry["form"] = [
            {"name": name, "file_name": file_name, "value": value.decode("utf-8", "replace")[:_KEPT]}
            for name, file_name, value in form_parts(asked)
        ]
    return entry


class _Root(Resource):
    """Every path leads here."""

    isLeaf = True  # noqa: N815 (Twisted's name)

    def __init__(self, stand_in: StandIn, clock: Clock, delay: float) -> None:
        Resource.__init__(self)
        self._stand_in = stand_in
        self._clock = clock
        self._delay = delay

    def render(self, request: Request) -> bytes | int:
        """Answer now, or after the delay."""
        headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read() if request.content is not None else b""
        method, path = request.method.decode("latin-1"), request.path.decode("latin-1")
        answered = self._stand_in.answer(method, path, Asked(headers, body))
        if self._delay and request.path != b"/stand-in/count":
            self._clock.callLater(self._delay, _finish, request, answered)
            return NOT_DONE_YET
        return _write(request, answered)


def _write(request: Request, answered: Answered) -> bytes:
    request.setResponseCode(answered.status, _REASONS.get(answered.status, b"Refused"))
    for name, value in answered.headers.items():
        request.setHeader(name, value)
    if answered.body is None:
        request.setHeader("Content-Length", "0")
        return b""
    request.setHeader("Content-Type", "application/json")
    return json.dumps(answered.body).encode()


def _finish(request: Request, answered: Answered) -> None:
    if not request._disconnected:
        request.write(_write(request, answered))
        request.finish()


def site(stand_in: StandIn, clock: Clock, delay: float = 0.0) -> Site:
    """The service as a factory."""
    make: Any = _Site
    made: Site = make(_Root(stand_in, clock, delay), reactor=clock, parsePOSTFormSubmission=False)
    return made


class _Site(Site):
    """Keeps no access log."""

    def log(self, request: object) -> None:
        """Nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description="Answers as SendGrid, Mailgun, SparkPost and FCM do.")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--key", help="the one good API key; otherwise all are")
    parser.add_argument("--share", type=float, default=0.0, help="share of good requests that fail")
    parser.add_argument("--failures", default=",".join(map(str, FAILURES)), help="statuses of failures, by turns")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--output", type=Path, help="file to which each request is appended as JSON")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor

    clock: Any = reactor
    output = options.output.open("a", encoding="utf-8") if options.output else None
    stand_in = StandIn(options.key, options.share, tuple(map(int, options.failures.split(","))), output)
    host, _, port = options.listen.rpartition(":")
    bound = clock.listenTCP(int(port), site(stand_in, clock, options.delay), interface=host, backlog=1024).getHost()
    sys.stdout.write(f"listening on {bound.host}:{bound.port}\n")
    sys.stdout.flush()
    clock.run()


if __name__ == "__main__":
    main()
