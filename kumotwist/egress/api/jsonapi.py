"""JSON to and from providers.

Public: `json_request`, `json_of`, `id_in`, `text_of`, `with_header`. `json_of` never
raises: a reply that is not JSON is an empty object, judged by its status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from attrs import evolve

from kumotwist.core.json import at
from kumotwist.egress.api.dialect import Unreadable
from kumotwist.net.http import HttpRequest, HttpResponse, clean_header

_JSON: Final = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))


def json_request(url: str, value: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> HttpRequest:
    """A POST of `value` as JSON."""
    return HttpRequest(b"POST", url, (*_JSON, *headers), msgspec.json.encode(value))


def json_of(reply: HttpResponse) -> Any:
    """What the reply's body says; {} when it is not JSON."""
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, RecursionError):
        return {}


def id_in(answer: Any, *path: str | int) -> str:
    """The provider's name for what it took. Raises Unreadable without one: what says yes may be a proxy on the way."""
    name = at(answer, *path)
    if not isinstance(name, (str, int)) or not name:
        raise Unreadable(f"no {'.'.join(map(str, path))} in the reply")
    return str(name)


def text_of(reply: HttpResponse) -> str:
    """The body as text, for what is not JSON."""
    return reply.body.decode("utf-8", "replace").strip()


def with_header(request: HttpRequest, name: bytes, value: str) -> HttpRequest:
    """The request with one more header. Raises ValueError for a value that cannot stand in one."""
    return evolve(request, headers=(*request.headers, clean_header(name, value.encode())))
