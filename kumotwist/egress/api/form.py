"""Requests to providers that take forms.

Public: `form_request`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumotwist.net.http import HttpRequest
from kumotwist.net.httpform import url_encoded


def form_request(url: str, fields: Sequence[tuple[str, str]]) -> HttpRequest:
    """A POST of `fields` as an url-encoded form, in their order."""
    headers = ((b"Content-Type", b"application/x-www-form-urlencoded"), (b"Accept", b"application/json"))
    return HttpRequest(b"POST", url, headers, url_encoded(fields))
