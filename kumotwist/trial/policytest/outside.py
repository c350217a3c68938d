"""The outside world of a policy under test: DNS, HTTP servers and secrets, as the test gives them.

Nothing is looked up, requested or read but what the test has given. Without
zones every domain is its own mail exchanger.

Public: `OpenZone`, `Web`, `Secrets`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import define, field

from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, KeySource, LiteralKey, VaultKey
from kumotwist.core.errors import ResolveError, SecretUnavailable
from kumotwist.core.json import Json
from kumotwist.lua.binding import LuaFunction, callback, integer, mapping, sequence
from kumotwist.net.dns import MxRecord
from kumotwist.net.http import HttpError, HttpRequest, HttpResponse, HttpSettings

if TYPE_CHECKING:
    from kumotwist.config.egress import IpLookupStrategy

#: The address that every host has without zones (RFC 5737).
_ADDRESS: Final = "192.0.2.1"
#: Requests kept for the test to look at: a loop of a policy must not eat memory. Ours.
_MAX_REQUESTS: Final = 10_000


class OpenZone:
    """A `net.dns.Resolver` for which every name exists."""

    async def mx(self, domain: str) -> Sequence[MxRecord]:
        """The domain itself."""
        return [MxRecord(10, domain.rstrip(".").lower())]

    async def addresses(self, host: str, strategy: IpLookupStrategy = "Ipv4AndIpv6") -> Sequence[str]:  # noqa: ARG002
        """The same for all."""
        return [_ADDRESS]

    async def txt(self, name: str) -> Sequence[str]:
        """None."""
        raise ResolveError(f"{name} has no TXT record in this test", permanent=True)

    async def ptr(self, address: str) -> Sequence[str]:
        """None."""
        raise ResolveError(f"{address} has no name in this test", permanent=True)


@define(eq=False)
class Web:
    """HTTP servers by the beginning of their URLs; in the place of `net.http.HttpTransports`."""

    requests: list[HttpRequest] = field(factory=list)
    _answers: dict[str, deque[object]] = field(factory=dict)

    def give(self, prefix: str, value: object) -> None:
        """From now on URLs that begin so are answered so: a table, a list of them or a function. Raises ValueError."""
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
        self._answers[prefix] = deque(given)

    def client(self, settings: HttpSettings) -> WebClient:  # noqa: ARG002
        """A client of this web."""
        return WebClient(self)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The reply to `request`. Raises HttpError when nobody answers."""
        if len(self.requests) < _MAX_REQUESTS:
            self.requests.append(request)
        prefixes = [one for one in self._answers if request.url.startswith(one)]
        if not prefixes:
            raise HttpError(f"the test has no answer for {request.url}; t:web(url, answer) gives one")
        answers = self._answers[max(prefixes, key=len)]
        value = answers.popleft() if len(answers) > 1 else answers[0]
        if callable(value):
            function: LuaFunction = value
            results = await function(shown(request))
            value = results[0] if results else None
        return _response(value)


@define(eq=False)
class WebClient:
    """In the place of `net.http.HttpClient`."""

    web: Web

    async def send(self, request: HttpRequest, timeout: float | None = None) -> HttpResponse:  # noqa: ARG002
        """The reply. Raises HttpError."""
        return await self.web.answer(request)


def shown(request: HttpRequest) -> Mapping[str, object]:
    """A request as a test sees it; header names in lower case."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
    return {"method": request.method.decode(), "url": request.url, "headers": headers, "body": request.body or b""}


def _response(value: object) -> HttpResponse:
    """`{ status =, headers =, body = }`; `{ error = }` is a connection that fails."""
    table = mapping(value, "an HTTP answer")
    unknown = set(table) - {"status", "headers", "body", "error"}
    if unknown:
        raise ValueError(f"an HTTP answer has status, headers, body or error, not {sorted(unknown)[0]!r}")
    if "error" in table:
        raise HttpError(str(table["error"]))
    body = table.get("body", "")
    headers = mapping(table.get("headers") or {}, "headers")
    octets = body if isinstance(body, bytes) else str(body).encode()
    return HttpResponse(
        integer(table.get("status", 200), "status"), [(name, str(value)) for name, value in headers.items()], octets
    )


RunEvent = Callable[[str, Sequence[Json]], Awaitable[bytes]]


@define(eq=False)
class Secrets:
    """A `core.interfaces.KeyLoader`: what the test gave, by `mount/path`, `mount/path#key`, file or variable."""

    run_event: RunEvent
    given: dict[str, bytes] = field(factory=dict, repr=False)

    async def load(self, source: KeySource) -> bytes:
        """The secret. Raises SecretUnavailable."""
        match source:
            case LiteralKey():
                return source.key_data
            case EventKey():
                return await self.run_event(source.event_name, source.event_args)
            case FileKey():
                return self._find(source.path)
            case EnvironmentKey():
                return self._find(source.env)
            case VaultKey():
                place = f"{source.vault_mount}/{source.vault_path}"
                return self._find(f"{place}#{source.vault_key}", place)

    async def refresh(self, source: KeySource) -> bytes:
        """The same."""
        return await self.load(source)

    def _find(self, *names: str) -> bytes:
        for name in names:
            if name in self.given:
                return self.given[name]
        raise SecretUnavailable(f"the test gives no secret {names[-1]!r}; t:secret does", permanent=True)
