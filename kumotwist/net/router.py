"""Requests, replies and routes of our HTTP servers, apart from the wire.

A handler is an async function from `HttpRequest` to `Reply`; refusals are
raised as `HttpError`. Which handler serves a method and path is looked up in a
table: our paths have no variable parts.

Public: `HttpRequest`, `Reply`, `HttpError`, `Route`, `Router`, `text_reply`,
`json_reply`. What can go wrong: `HttpError` 404 and 405 from `Router.find`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from attrs import define, field, frozen

from kumotwist.config.kumomta import is_unsupported_path
from kumotwist.core.connection import AuthInfo
from kumotwist.core.errors import KumotwistError
from kumotwist.net.operation import Operation

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"


class HttpError(KumotwistError):
    """The request is refused with this status and text; whose fault it is, the status says."""

    def __init__(self, code: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text
        self.headers = headers or {}


@define(eq=False)
class HttpRequest:
    """One request. `headers` by lower-case name; `local_address` is `ip:port`, `hostname` what the listener is called.

    `headers` gives of a repeated header the last value, `repeats` how often it is there.
    `body` is as received until `auth` is settled, inflated afterwards; `hold`
    tells the server that so many octets more are in memory until the reply,
    and raises HttpError 503 when that is too much.
    """

    method: str
    path: str
    query_string: str
    headers: Callable[[str], str | None]
    body: bytes
    peer_address: str
    local_address: str
    auth: AuthInfo = field(factory=AuthInfo)
    hold: Callable[[int], None] = field(default=lambda _: None)
    hostname: str | None = None
    repeats: Callable[[str], int] = field(kw_only=True)

    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


@frozen
class Reply:
    """What to answer."""

    code: int
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(factory=dict)


def text_reply(code: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply in plain text."""
    return Reply(code, text.encode(), TEXT, headers or {})


def json_reply(value: object, code: int = 200) -> Reply:
    """A reply with `value` as JSON: anything that msgspec encodes."""
    return Reply(code, msgspec.json.encode(value), JSON)


Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Reply]]


@frozen
class Route:
    """A handler for one method of one path, and what `/api/openapi.json` says of it.

    One that is not `is_guarded` judges for itself who may ask.
    """

    method: str
    path: str
    handler: Handler
    operation: Operation | None = None
    is_guarded: bool = True


class Router:
    """The routes by path and method; HEAD is served by GET."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError when two routes are for the same."""
        self._paths: dict[str, dict[str, Handler]] = {}
        self._unguarded: set[str] = set()
        for route in routes:
            methods = self._paths.setdefault(route.path, {})
            if route.method in methods:
                raise ValueError(f"two handlers for {route.method} {route.path}")
            methods[route.method] = route.handler
            if not route.is_guarded:
                self._unguarded.add(route.path)

    def is_guarded(self, path: str) -> bool:
        """Whether it is for the listener to judge who may ask for `path`."""
        return path not in self._unguarded

    def find(self, method: str, path: str) -> Handler:
        """The handler. Raises HttpError 404 or 405."""
        methods = self._paths.get(path)
        if methods is None:
            raise HttpError(404, _nothing_at(path))
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise HttpError(405, f"{path} takes {allowed}, not {method[:32]}", {"Allow": allowed})
        return handler


def _nothing_at(path: str) -> str:
    if is_unsupported_path(path):
        return f"{path} is known to KumoMTA but not supported by kumotwist; see docs/kumomta-users.md"
    return f"there is nothing at {path[:256]}"
