"""`kumo.http`: requests to HTTP servers, as a chain of calls that ends in `send`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

from kumotwist.config.library import HttpClientConfig
from kumotwist.config.structure import structure
from kumotwist.core.address import EnvelopeAddress
from kumotwist.lua.binding import Function, binary, duration, facade, mapping, octets, text
from kumotwist.net.http import (
    USER_AGENT,
    HttpClient,
    HttpRequest,
    HttpResponse,
    HttpSettings,
    HttpTransports,
    basic_auth,
    clean_header,
    clean_url,
)
from kumotwist.net.httpform import Part, multipart, url_encoded

_REQUEST_METHODS: Final = (
    *("basic_auth", "bearer_auth", "body", "form_multipart_data", "form_url_encoded"),
    *("header", "headers", "send", "timeout"),
)
_STATUS_CLASSES: Final = ("informational", "success", "redirection", "client_error", "server_error")
_RESPONSE_METHODS: Final = (
    *("bytes", "content_length", "headers", "status_code", "status_reason", "text"),
    *(f"status_is_{name}" for name in _STATUS_CLASSES),
)


class HttpLibrary:
    """The functions of `kumo.http`."""

    namespace = "http"

    def __init__(self, transports: HttpTransports) -> None:
        self._transports = transports

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {"build_client": self.build_client, "build_url": self.build_url}

    def build_client(self, params: object = None) -> Client:
        """A client; clients with the same options share their connections."""
        chosen = structure(HttpClientConfig, params if params is not None else {}, "kumo.http.build_client")
        settings = HttpSettings(
            timeout=chosen.timeout,
            pool_idle_timeout=chosen.pool_idle_timeout,
            accept_invalid_certs=chosen.accept_invalid_certs,
            connection_verbose=chosen.connection_verbose,
            user_agent=USER_AGENT if chosen.user_agent is None else chosen.user_agent,
        )
        return Client(self._transports.client(settings))

    def build_url(self, base: object, params: object) -> str:
        """The URL with the parameters added to its query, in the order of their names."""
        url = text(base, "base")
        fields = sorted((name, text(value, name)) for name, value in mapping(params, "params").items())
        if not fields:
            return url
        url, hash_sign, fragment = url.partition("#")
        joint = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
        return f"{url}{joint}{urlencode(fields)}{hash_sign}{fragment}"


@facade("http client", methods=("close", "get", "post", "put"))
class Client:
    """Makes requests."""

    def __init__(self, client: HttpClient) -> None:
        self._client: HttpClient | None = client

    def get(self, url: object) -> Request:
        """A GET request for the URL."""
        return self._request(b"GET", url)

    def post(self, url: object) -> Request:
        """A POST request to the URL."""
        return self._request(b"POST", url)

    def put(self, url: object) -> Request:
        """A PUT request to the URL."""
        return self._request(b"PUT", url)

    def close(self) -> None:
        """Be done with this client; its idle connections close by their time-out."""
        self._client = None

    def _request(self, method: bytes, url: object) -> Request:
        if self._client is None:
            raise ValueError("this http client has been closed")
        return Request(self._client, method, clean_url(text(url, "url")))


@facade("http request", methods=_REQUEST_METHODS)
class Request:
    """A request under construction; every method but `send` returns it again."""

    def __init__(self, client: HttpClient, method: bytes, url: str) -> None:
        self._client = client
        self._method = method
        self._url = url
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | None = None
        self._timeout: float | None = None
        self._is_sent = False

    def header(self, name: object, value: object) -> Request:
        """Add a header."""
        self._headers.append(clean_header(octets(name, "name"), octets(value, "value")))
        return self

    def headers(self, headers: object) -> Request:
        """Add all headers of a table."""
        for name, value in mapping(headers, "headers").items():
            self.header(name, value)
        return self

    def timeout(self, limit: object) -> Request:
        """Bound this exchange; a text like `30s` or a number of seconds, whole numbers too."""
        self._timeout = duration(limit, "timeout")
        return self

    def basic_auth(self, username: object, password: object = None) -> Request:
        """Authenticate with user name and, when given, password (RFC 7617)."""
        name = text(username, "username")
        return self._authorize(basic_auth(name, "" if password is None else text(password, "password")))

    def bearer_auth(self, token: object) -> Request:
        """Authenticate with a token (RFC 6750)."""
        return self._authorize(b"Bearer " + octets(token, "token"))

    @binary
    def body(self, body: object) -> Request:
        """Send this string, which may be binary."""
        self._body = octets(body, "body")
        return self

    def form_url_encoded(self, params: object) -> Request:
        """Send the table as an `application/x-www-form-urlencoded` form."""
        fields = [(name, text(value, name)) for name, value in mapping(params, "params").items()]
        self._body = url_encoded(fields)
        return self._content_type(b"application/x-www-form-urlencoded")

    def form_multipart_data(self, params: object) -> Request:
        """Send the table as a `multipart/form-data` form; a value is a string, an address or `{data=, file_name=}`."""
        kind, self._body = multipart([_part(name, value) for name, value in mapping(params, "params").items()])
        return self._content_type(kind.encode("ascii"))

    async def send(self) -> Response:
        """Send the request, once, and return the response; raises when there is none."""
        if self._is_sent:
            raise ValueError("this http request has been sent already; make a new one")
        self._is_sent = True
        request = HttpRequest(self._method, self._url, self._headers, self._body)
        return Response(await self._client.send(request, self._timeout))

    def _authorize(self, credentials: bytes) -> Request:
        try:
            self._headers.append(clean_header(b"Authorization", credentials))
        except ValueError:
            hint = "kumo.string.trim takes off the one that a key file ends in"
            raise ValueError(f"the credentials have a line break or NUL in them; {hint}") from None
        return self

    def _content_type(self, value: bytes) -> Request:
        self._headers = [pair for pair in self._headers if pair[0].lower() != b"content-type"]
        self._headers.append((b"Content-Type", value))
        return self


def _part(name: str, value: object) -> Part:
    # KumoMTA's guide gives a form `message:recipient()`.
    if isinstance(value, EnvelopeAddress):
        return Part(name, str(value))
    if not isinstance(value, dict):
        return Part(name, value if isinstance(value, bytes) else text(value, name))
    unknown = set(value) - {"data", "file_name"}
    if unknown:
        raise ValueError(f"{name}: unknown key {sorted(unknown)[0]!r}; a part has data and file_name")
    data = value.get("data")
    file_name = value.get("file_name")
    return Part(
        name,
        data if isinstance(data, bytes) else text(data, f"{name}.data"),
        None if file_name is None else text(file_name, f"{name}.file_name"),
    )


@facade("http response", methods=_RESPONSE_METHODS)
class Response:
    """A whole response."""

    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    def status_code(self) -> int:
        """The status as a number."""
        return self._response.code

    def status_reason(self) -> str | None:
        """The registered phrase of the status, nil for an unknown one; for people, not for decisions."""
        return self._response.reason

    def status_is_informational(self) -> bool:
        """Whether the status is 100 to 199."""
        return self._response.code // 100 == 1

    def status_is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return self._response.code // 100 == 2

    def status_is_redirection(self) -> bool:
        """Whether the status is 300 to 399."""
        return self._response.code // 100 == 3

    def status_is_client_error(self) -> bool:
        """Whether the status is 400 to 499."""
        return self._response.code // 100 == 4

    def status_is_server_error(self) -> bool:
        """Whether the status is 500 to 599."""
        return self._response.code // 100 == 5

    def headers(self) -> HeaderMap:
        """The headers: index by name in any case, or go through them with pairs."""
        return HeaderMap(self._response)

    def content_length(self) -> int | None:
        """What the Content-Length header says, nil without one."""
        value = self._response.header("content-length")
        return int(value) if value is not None and value.isascii() and value.isdigit() else None

    def bytes(self) -> bytes:
        """The body as it came."""
        return self._response.body

    def text(self) -> str:
        """The body as UTF-8, from the charset that Content-Type names; what cannot be read becomes U+FFFD."""
        return _decoded(self._response.body, self._response.header("content-type") or "")


@facade("http headers", meta={"__index": "find", "__pairs": "entries", "__len": "size"})
class HeaderMap:
    """The headers of a response."""

    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    def find(self, name: object) -> str | None:
        """The first value of a header; nil without it."""
        return self._response.header(name) if isinstance(name, str) else None

    def entries(self) -> Iterable[tuple[object, object]]:
        """Names in lower case and values, in the order received."""
        return [(name.lower(), value) for name, value in self._response.headers]

    def size(self) -> int:
        """How many there are."""
        return len(self._response.headers)


_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def _decoded(body: bytes, content_type: str) -> str:
    """A byte order mark decides before the charset parameter, and that before UTF-8."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    _, _, charset = content_type.lower().partition("charset=")
    name = charset.partition(";")[0].strip(" \"'") or "utf-8"
    try:
        return body.decode(name, "replace")
    except LookupError:
        return body.decode("utf-8", "replace")
