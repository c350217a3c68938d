"""What the APIs that make messages refuse, and how HTTP says it.

Public: `RequestProblem`, `refusals`, `require_json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kumotwist.core.errors import KumotwistError, Overload, SpoolFull, SpoolUnhealthy, StateUnavailable
from kumotwist.net.router import HttpError, HttpRequest

#: Seconds after which a client that heard 503 should try again. Ours: the gate looks every three seconds.
RETRY_AFTER: Final = "5"
#: axum's text, which KumoMTA's clients know.
_NOT_JSON: Final = "Expected request with `Content-Type: application/json`"


class RequestProblem(KumotwistError):
    """The client's request is wrong; answer it with `code` and the text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def refusals() -> Iterator[None]:
    """What an injection refuses, as HTTP says it."""
    try:
        yield
    except RequestProblem as problem:
        raise HttpError(problem.code, str(problem)) from None
    except (Overload, SpoolUnhealthy, SpoolFull, StateUnavailable) as error:
        raise HttpError(503, f"Error: {error}", {"Retry-After": RETRY_AFTER}) from None


def require_json(request: HttpRequest) -> None:
    """Raises HttpError 415 for a body that is not called JSON."""
    kind = (request.headers("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpError(415, _NOT_JSON)
