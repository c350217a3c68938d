"""How long to wait, as providers put it.

In this order: `Retry-After` (seconds, or a date: RFC 9110 s10.2.3), the drafts'
`ratelimit-reset` and Brevo's `x-sib-ratelimit-reset` (seconds), and
`x-ratelimit-reset`, which some give in seconds and others as a Unix time. What
a body says, the provider's own module reads, with `seconds_of`.

Public: `retry_after`, `seconds_of`, `MAX_WAIT`. What cannot be read is no hint.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

from kumotwist.net.http import HttpResponse

#: The longest wait that we obey: a day, the longest period that a provider counts by. Whoever
#: says more is asked again after that.
MAX_WAIT: Final = 86400.0
#: From here on a number is a Unix time, not a span: September 2001, or 31 years.
_EPOCH: Final = 1e9
_NAMES: Final = ("retry-after", "ratelimit-reset", "x-sib-ratelimit-reset", "x-ratelimit-reset")
_NUMBER: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:s|sec|seconds?)?\s*\Z")


def retry_after(reply: HttpResponse, now: float) -> float | None:
    """Seconds to wait from `now` (Unix seconds) as the headers say; None when they say nothing.

    The rate headers count only when the reply is a refusal: some providers send them always.
    """
    for name in _NAMES:
        if name == "retry-after" or reply.code >= 400:
            value = reply.header(name)
            seconds = seconds_of(value, now) if value is not None else None
            if seconds is not None:
                return seconds
    return None


def seconds_of(value: str | float, now: float) -> float | None:
    """Seconds from `now`, of a span, a Unix time or an HTTP date; None when it is none of them. At least one."""
    match = _NUMBER.match(value) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        moment = _date(value)
        return _bounded(moment - now) if moment is not None else None
    number = float(match[1] if match is not None else value)
    if not isfinite(number):
        return None
    return _bounded(number - now if number >= _EPOCH else number)


def _bounded(span: float) -> float:
    return min(max(span, 1.0), MAX_WAIT)


def _date(value: str) -> float | None:
    try:
        found = parsedate_to_datetime(value.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
