"""Responses: what a peer (or we in its stead) said about a command or message.

One shape for SMTP replies, HTTP results and refusals of our own, because
records, retries and policy treat them alike.

Public: `EnhancedCode`, `Response`, `internal`.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve, frozen

#: The mark before every response that no peer sent; shaping rules look for it.
INTERNAL_PREFIX: Final = "KumoMTA internal: "

_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |\Z)")


@frozen
class EnhancedCode:
    """An enhanced status code, RFC 3463 s2. `class_` is 2, 4 or 5."""

    class_: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"


@frozen
class Response:
    r"""A reply: three-digit `code`, text without codes, and the command it answers.

    `content` may hold several lines separated by "\n". `command` is the whole
    command line with its CRLF, or "." for the end of data; None when the
    response answers no command.
    """

    code: int
    content: str
    enhanced: EnhancedCode | None = None
    command: str | None = None

    @classmethod
    def parse(cls, code: int, text: str, command: str | None = None) -> Response:
        """Split a leading enhanced status code off `text`."""
        match = _ENHANCED.match(text)
        if match is None:
            return cls(code, text, None, command)
        enhanced = EnhancedCode(int(match[1]), int(match[2]), int(match[3]))
        return cls(code, text[match.end() :], enhanced, command)

    def to_line(self) -> str:
        """`code [enhanced ]text` on one line: the form policy and classifiers see."""
        text = self.content.replace("\r\n", "\\r\\n").replace("\n", "\\r\\n")
        return f"{self.code} {self.enhanced} {text}" if self.enhanced else f"{self.code} {text}"

    def with_command(self, command: str) -> Response:
        """The same response as an answer to `command`."""
        return evolve(self, command=command)


def internal(code: int, text: str) -> Response:
    """A response of our own making; `text` may begin with an enhanced code."""
    parsed = Response.parse(code, text)
    return evolve(parsed, content=INTERNAL_PREFIX + parsed.content)
