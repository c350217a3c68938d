"""HTTP servers of a policy under test, as the test gives them: what stands behind `kumo.http`.

    t:web('POST https://api.example.com/', { status = 202, json = { id = 'x' }, delay = '2 seconds' })

The longest beginning of a URL counts, one with a method before one without.
What nobody answers fails the test.

Public: `Web`, `shown`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec
from attrs import define, field

from kumotwist.config.structure import hint
from kumotwist.core.errors import KumotwistError
from kumotwist.lua.binding import LuaFunction, callback, duration, integer, mapping, sequence, text
from kumotwist.net.clock import Clock, sleep
from kumotwist.net.http import HttpError, HttpRequest, HttpResponse, HttpSettings
from kumotwist.trial.policytest.unscripted import Unscripted

#: Requests kept for the test to look at: a loop of a policy must not eat memory. Ours.
_MAX_REQUESTS: Final = 10_000
_WHOM: Final = re.compile(r"(?:([A-Z]+)\s+)?(\S.*)\Z")
_KEYS: Final = ("status", "headers", "body", "json", "delay", "error")
_TIMEOUT: Final = "timeout"


@define(eq=False)
class Web:
    """HTTP servers by method and the beginning of their URLs; in the place of `net.http.HttpTransports`."""

    clock: Clock
    unscripted: Unscripted
    requests: list[HttpRequest] = field(factory=list)
    #: By URL and method, "" for any.
    _answers: dict[tuple[str, str], deque[object]] = field(factory=dict)

    def give(self, whom: str, value: object) -> None:
        """From now on `METHOD URL`, or `URL`, is answered so: a table, a list, a function. Raises ValueError."""
        match = _WHOM.match(whom)
        if match is None or not _may_begin_a_url(match[2]):
            raise ValueError(f"no URL begins with {whom!r}; write it like 'https://api.example/' or 'POST https://...'")
        is_single = callable(value) or isinstance(value, dict)
        given = [value] if is_single else sequence(value, "HTTP answers")
        if not given:
            raise ValueError("there must be an answer")
        for one in given:
            if callable(one):
                callback(one, "an answer")
            else:
                with suppress(HttpError):  # of an answer that is one
                    _response(one)
        self._answers[match[2], match[1] or ""] = deque(given)

    def client(self, settings: HttpSettings) -> WebClient:
        """A client of this web."""
        return WebClient(self, settings)

    def asked(self, whom: str | None) -> list[HttpRequest]:
        """The requests so far, or those to `METHOD URL` or `URL`."""
        match = _WHOM.match(whom) if whom is not None else None
        if match is None:
            return self.requests
        return [
            one
            for one in self.requests
            if one.url.startswith(match[2]) and (match[1] is None or one.method.decode() == match[1])
        ]

    async def answer(self, request: HttpRequest, timeout: float) -> HttpResponse:
        """The reply to `request`. Raises HttpError when none comes within `timeout` seconds."""
        if len(self.requests) < _MAX_REQUESTS:
            self.requests.append(request)
        value = self._next(request)
        if callable(value):
            function: LuaFunction = value
            value = await self._returned(function, request)
        table = mapping(value, "an HTTP answer")
        delay = duration(table["delay"], "delay") if "delay" in table else 0.0
        if delay >= timeout or table.get("error") == _TIMEOUT:
            await sleep(self.clock, timeout)
            raise HttpError(f"{request.url}: no reply within {timeout:g} s", was_sent=True)
        if delay > 0.0:
            await sleep(self.clock, delay)
        return _response(table)

    async def _returned(self, function: LuaFunction, request: HttpRequest) -> object:
        """What a function of the test answers. Raises HttpError, noted, when it fails."""
        try:
            results = await function(shown(request))
            with suppress(HttpError):  # of an answer that is one
                _response(results[0] if results else None)
        except (KumotwistError, ValueError) as error:
            raise HttpError(self.unscripted.note(str(error))) from None
        return results[0]

    def _next(self, request: HttpRequest) -> object:
        method = request.method.decode()
        places = [one for one in self._answers if request.url.startswith(one[0]) and one[1] in ("", method)]
        if not places:
            asked = f"{method} {request.url.partition('?')[0]}"
            given = [f"{one[1]} {one[0]}".lstrip() for one in self._answers]
            raise HttpError(
                self.unscripted.note(
                    f"the policy asked for {asked}, and the test has no answer to it; "
                    f"t:web('{asked}', {{ status = 200 }}) gives one{hint(asked, given)}"
                )
            )
        answers = self._answers[max(places, key=lambda place: (len(place[0]), place[1]))]
        return answers.popleft() if len(answers) > 1 else answers[0]


@define(eq=False)
class WebClient:
    """In the place of `net.http.HttpClient`."""

    web: Web
    settings: HttpSettings

    async def send(self, request: HttpRequest, timeout: float | None = None) -> HttpResponse:
        """The reply. Raises HttpError."""
        return await self.web.answer(request, self.settings.timeout if timeout is None else timeout)


def _may_begin_a_url(text: str) -> bool:
    return any(text.startswith(scheme) or scheme.startswith(text) for scheme in ("http://", "https://"))


def shown(request: HttpRequest) -> Mapping[str, object]:
    """A request as a test sees it; header names in lower case, `json` where the body is that."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
    found: dict[str, object] = {
        "method": request.method.decode(),
        "url": request.url,
        "headers": headers,
        "body": request.body or b"",
    }
    if "json" in headers.get("content-type", ""):
        with suppress(msgspec.DecodeError):
            found["json"] = msgspec.json.decode(request.body or b"")
    return found


def _response(value: object) -> HttpResponse:
    """`{ status =, headers =, body = or json =, delay = }`; `{ error = }` is a connection that fails."""
    table = mapping(value, "an HTTP answer")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ValueError(f"an HTTP answer has {', '.join(_KEYS)}, not {unknown[0]!r}")
    if "delay" in table:
        duration(table["delay"], "delay")
    if "error" in table:
        raise HttpError(text(table["error"], "error"))
    headers = {name: str(one) for name, one in mapping(table.get("headers") or {}, "headers").items()}
    if "json" in table:
        octets = msgspec.json.encode(table["json"])
        headers = {"content-type": "application/json", **headers}
    else:
        body = table.get("body", "")
        octets = body if isinstance(body, bytes) else str(body).encode()
    return HttpResponse(integer(table.get("status", 200), "status"), list(headers.items()), octets)
