"""Replies repeat what they were asked: a proxy's page quotes the URL, a provider the key. Records must not.

Public: `discreet`, `without`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from attrs import evolve

from kumotwist.core.outcome import Outcome
from kumotwist.net.http import HttpRequest

_MASK: Final = "***"
#: Characters below which a secret is none, and would blacken words that only look like it. Ours.
_LEAST: Final = 6


def discreet(outcomes: Sequence[Outcome], request: HttpRequest, secrets: Mapping[str, str]) -> Sequence[Outcome]:
    """The outcomes without the secrets that the request had, nor its path where that is one."""
    hidden = _hidden(request, secrets)
    texts = {one.response.content for one in outcomes}
    if not any(secret in text for text in texts for secret in hidden):
        return outcomes
    return [
        evolve(one, response=evolve(one.response, content=_masked(one.response.content, hidden))) for one in outcomes
    ]


def without(secrets: Mapping[str, str], text: str) -> str:
    """`text` without any of the secrets."""
    return _masked(text, [one for one in secrets.values() if one])


def _hidden(request: HttpRequest, secrets: Mapping[str, str]) -> list[str]:
    found = list(secrets.values())
    urls = [one for one in found if "://" in one]
    if request.has_secret_path:
        urls.append(request.url)
    for url in urls:
        parts = urlsplit(url)
        found += (parts.path.strip("/"), parts.query)
    return sorted({one for one in found if len(one) >= _LEAST}, key=len, reverse=True)


def _masked(text: str, hidden: Sequence[str]) -> str:
    for one in hidden:
        text = text.replace(one, _MASK)
    return text
