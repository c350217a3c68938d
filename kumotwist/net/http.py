"""The HTTP client: pooled connections, TLS, one deadline per request, bounded replies.

Under `kumo.http` in the policy, and for whatever else of ours speaks HTTP to
somebody. It stands on twisted.web's Agent and connection pool; treq, which
costs two thirds more per request, encodes forms (see `net.httpform` and
decision 0041).

Public: `HttpTransports`, `HttpClient`, `HttpSettings`, `HttpRequest`, `HttpResponse`, `HttpError`,
`clean_url`, `clean_header`, `basic_auth`. What can go
wrong: HttpError when no reply came (refused, TLS, time-out, too large, too
many redirects); its text names the target without user, password and query.
ValueError for a request that could not be sent to anybody.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, cast
from urllib.parse import quote, unquote, urljoin, urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.ssl import Certificate
from twisted.logger import Logger
from twisted.web._newclient import ParseError
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import _MalformedChunkedDataError
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer

from kumotwist.core.errors import KumotwistError
from kumotwist.net.clock import Clock
from kumotwist.net.ending import why_ended
from kumotwist.net.httpclientbody import RequestBody, ResponseShape, read_body
from kumotwist.net.httphead import BoundedPool
from kumotwist.net.httptls import Endpoints, Lender

log: Final = Logger()

#: Octets of a reply's body. Delivery APIs answer with a few KiB; this lets a
#: policy fetch a list or a shaping file and still bounds memory.
MAX_RESPONSE: Final = 16 << 20
#: Redirects followed: reqwest's default, which KumoMTA policies rely on.
MAX_REDIRECTS: Final = 10
#: Idle connections kept per host: the sessions of four ready queues at their default `connection_limit`.
MAX_IDLE: Final = 128
#: Pools kept: kinds of settings in use at a time.
MAX_POOLS: Final = 16
#: Our name in requests whose client says no other.
USER_AGENT: Final = f"kumotwist/{version('kumotwist')}"

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
#: Not sent on to another host, as in RFC 9110 s15.4.
_PRIVATE: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization"))
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00\r\n]")
_CLEAN_URL: Final = re.compile(r"https?://(?![/?#:])[!-~]+\Z", re.IGNORECASE)


class HttpError(KumotwistError):
    """No usable reply came: the network's or the peer's fault. Try again later.

    `was_sent`: the request had left us whole, so the peer may have acted on it.
    """

    def __init__(self, text: str, was_sent: bool = False) -> None:
        super().__init__(text)
        self.was_sent = was_sent


@frozen(kw_only=True)
class HttpSettings:
    """How a client behaves; times in seconds, `timeout` from the first byte sent to the last received.

    With `max_redirects` 0 a redirect is a reply like any other. Without
    `allow_private` it connects to public addresses only, whatever a URL, a
    redirect or DNS says: for URLs that strangers choose.
    """

    user_agent: str = USER_AGENT
    timeout: float = 60.0
    pool_idle_timeout: float = 90.0
    accept_invalid_certs: bool = False
    connection_verbose: bool = False
    max_response: int = MAX_RESPONSE
    allow_private: bool = True
    max_redirects: int = MAX_REDIRECTS


@frozen
class HttpResponse:
    """A whole reply. `headers` as (name, value) in the order received, values as Latin-1."""

    code: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def reason(self) -> str | None:
        """The registered phrase of the code; None for an unknown code."""
        try:
            return HTTPStatus(self.code).phrase
        except ValueError:
            return None

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever its case; None without it."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


@frozen
class HttpRequest:
    """One request: `headers` are names and values as octets, `body` is sent with its length.

    With `has_secret_path`, who knows the path may do what we do: errors name the host only.
    """

    method: bytes
    url: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | None = field(default=None, repr=False)
    has_secret_path: bool = field(default=False, kw_only=True)


@define(eq=False)
class HttpTransports:
    """Connection pools, shared by all clients that trust alike and keep connections alike.

    A policy may build a client in each constructor, or carelessly one per
    message: their connections are the same ones all the same. `trust_root`
    stands in for the platform's authorities.
    """

    reactor: Clock
    trust_root: Certificate | None = None
    _kept: OrderedDict[tuple[bool, float, bool], _Transport] = field(factory=OrderedDict, init=False)

    def client(self, settings: HttpSettings) -> HttpClient:
        """A client on the pool that fits its settings."""
        key = (settings.accept_invalid_certs, settings.pool_idle_timeout, settings.allow_private)
        transport = self._kept.get(key)
        if transport is None:
            verify, allow_private = not settings.accept_invalid_certs, settings.allow_private
            endpoints = Endpoints(self.reactor, verify, self.trust_root, allow_private)
            transport = self._kept[key] = _Transport.make(self.reactor, endpoints, settings.pool_idle_timeout)
            if len(self._kept) > MAX_POOLS:
                self._kept.popitem(last=False)  # its connections close when they have been idle long enough
        return HttpClient(self.reactor, transport, settings)

    async def close(self) -> None:
        """Close the idle connections; requests under way end undisturbed."""
        for transport in self._kept.values():
            await transport.pool.closeCachedConnections()
        self._kept.clear()


@frozen
class _Transport:
    """A pool of connections and what makes new ones."""

    pool: HTTPConnectionPool
    endpoints: Endpoints

    @classmethod
    def make(cls, reactor: Clock, endpoints: Endpoints, idle_timeout: float) -> _Transport:
        pool = BoundedPool(reactor, persistent=True)  # type: ignore[no-untyped-call] # Twisted's
        pool.maxPersistentPerHost = MAX_IDLE
        pool.cachedConnectionTimeout = idle_timeout  # type: ignore[assignment] # it takes floats
        return cls(pool, endpoints)


@frozen(eq=False)
class HttpClient:
    """Sends requests as its settings say; made by `HttpTransports`."""

    reactor: Clock
    _transport: _Transport
    settings: HttpSettings

    async def send(self, request: HttpRequest, timeout: float | None = None) -> HttpResponse:
        """The reply, whole, after redirects. `timeout` stands in for that of the settings.

        Any status is a reply. Raises HttpError, ValueError. May be cancelled.
        """
        seconds = self.settings.timeout if timeout is None else timeout
        body = RequestBody(request.body) if request.body is not None else None
        pool = Lender(self._transport.pool)
        work = Deferred.fromCoroutine(self._follow(request, body, pool))
        # Twisted tells of a cancellation in other words for each stage of a request; here it is told from a failure.
        is_cancelled: list[bool] = []

        def cancel(_: object) -> None:
            is_cancelled.append(True)
            work.cancel()

        result: Deferred[HttpResponse] = Deferred(cancel)
        work.addCallbacks(result.callback, result.errback)
        deadline = self.reactor.callLater(seconds, work.cancel)
        try:
            response = await result
        except (CancelledError, HttpError) as error:
            if is_cancelled:
                raise CancelledError from None
            if deadline.active():
                raise
            raise HttpError(f"{_target(request)}: no reply within {seconds:g} s", pool.has_lent) from error
        finally:
            if deadline.active():
                deadline.cancel()
        if self.settings.connection_verbose:
            log.info("{target}: {code}", target=_target(request), code=response.code)
        return response

    async def _follow(self, request: HttpRequest, body: RequestBody | None, pool: Lender) -> HttpResponse:
        for _ in range(self.settings.max_redirects + 1):
            response = await self._exchange(request, body if request.body is not None else None, pool)
            location = response.header("location") if response.code in _REDIRECTS else None
            if location is None or not self.settings.max_redirects:
                return response
            request = _redirected(request, response.code, location)
        raise HttpError(f"{_target(request)}: more than {self.settings.max_redirects} redirects", True)

    async def _exchange(self, request: HttpRequest, body: RequestBody | None, pool: Lender) -> HttpResponse:
        headers = Headers()
        for name, value in request.headers:
            headers.addRawHeader(name, value)
        if not headers.hasHeader(b"user-agent"):
            headers.setRawHeaders(b"user-agent", [self.settings.user_agent])
        url, authorization = _split_credentials(request.url)
        if authorization is not None and not headers.hasHeader(b"authorization"):
            headers.setRawHeaders(b"authorization", [authorization])
        agent = Agent.usingEndpointFactory(self.reactor, self._transport.endpoints, pool=pool)
        try:
            reply = await agent.request(request.method, url, headers, cast("IBodyProducer | None", body))
            response = cast("ResponseShape", reply)
            received = await read_body(response, self.settings.max_response, self.reactor)
        except (CancelledError, ValueError):
            raise
        except Exception as error:
            raise HttpError(f"{_target(request)}: {describe(error)}", pool.has_lent) from error
        pairs = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.getAllRawHeaders()
            for value in values
        ]
        if isinstance(response.length, int):  # twisted.web keeps the headers of the connection to itself
            pairs.append(("Content-Length", str(response.length)))
        return HttpResponse(response.code, pairs, received)


def clean_url(url: str) -> str:
    """`url` in ASCII, non-ASCII parts encoded as RFC 3986 and IDNA say. Raises ValueError."""
    if _CLEAN_URL.match(url):
        return url
    parts = urlsplit(url.strip())
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https URL: {_without_secrets(url)!r}")
    netloc = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    encoded = parts._replace(netloc=netloc, path=quote(parts.path, _KEEP), query=quote(parts.query, _KEEP), fragment="")
    return encoded.geturl()


#: What RFC 3986 s2.2 lets stand in a path or query, and `%` of what is encoded already.
_KEEP: Final = "!$%&'()*+,-./:;=?@_~[]"


def clean_header(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The pair when it may go into a request. Raises ValueError: a line break would begin another header."""
    if not _TOKEN.match(name):
        raise ValueError(f"not a header name: {name.decode('utf-8', 'replace')!r}")
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ValueError(f"the value of header {name.decode()} has a line break or NUL in it")
    return name, value


def _redirected(request: HttpRequest, code: int, location: str) -> HttpRequest:
    """The request to send next: 307 and 308 repeat it, the others fetch (RFC 9110 s15.4)."""
    try:
        url = clean_url(urljoin(request.url, location))
    except ValueError as error:
        raise HttpError(f"{_target(request)}: redirected to what is {error}") from None
    headers, method, body = list(request.headers), request.method, request.body
    if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
        headers = [pair for pair in headers if pair[0].lower() not in _PRIVATE]
    if code not in (307, 308) and method != b"HEAD":
        method, body = b"GET", None
        headers = [pair for pair in headers if not pair[0].lower().startswith(b"content-")]
    return HttpRequest(method, url, headers, body, has_secret_path=request.has_secret_path)


def basic_auth(user: str, password: str) -> bytes:
    """The value of an Authorization header, RFC 7617."""
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def _split_credentials(url: str) -> tuple[bytes, bytes | None]:
    """The URL to connect to, and what `user:password@` in it says as an Authorization header."""
    if "@" not in url:
        return url.encode("ascii"), None
    parts = urlsplit(url)
    if parts.username is None:
        return url.encode("ascii"), None
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return bare.encode("ascii"), basic_auth(unquote(parts.username), unquote(parts.password or ""))


def _target(request: HttpRequest) -> str:
    url = _without_secrets(request.url)
    if request.has_secret_path:
        url = urlsplit(url)._replace(path="").geturl()
    return f"{request.method.decode()} {url}"


def _without_secrets(url: str) -> str:
    """Scheme, host and path; user, password and query may hold keys."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def describe(error: BaseException) -> str:
    """What went wrong on the way, in words; of several reasons the first."""
    if isinstance(error, ResponseFailed):
        reasons = [one.value for one in error.reasons if not isinstance(one.value, (ResponseDone, type(None)))]
        return describe(reasons[0]) if reasons and reasons[0] is not None else "the reply is not HTTP"
    match error:
        case ConnectionClosed():
            return f"{why_ended(error)} before the reply was complete"
        case ConnectError() | DNSLookupError():
            return f"cannot connect: {why_ended(error)}"
        case ParseError() | _MalformedChunkedDataError():
            return "the reply is not HTTP"
    return why_ended(error)
