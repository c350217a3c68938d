"""What the server core hands out: decisions for the shell, one at a time.

The shell answers each with `ServerSession.answer`. `Answer` is one that the
core has decided itself; the shell only passes it on (so that policy can
rewrite it and a refusal can be logged).

Public: `Hello`, `Mail`, `Rcpt`, `StartData`, `EndOfData`, `StartTls`,
`Credentials`, `Xclient`, `Answer`, `Event`; `END_OF_DATA`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import define, field

from kumotwist.core.address import EnvelopeAddress

#: What KumoMTA calls the command that the end of data is.
END_OF_DATA: Final = "."


@define(eq=False)
class _FromLine:
    line: bytes

    @property
    def command(self) -> str:
        """The command line with its CRLF."""
        return self.line.decode("utf-8", "replace") + "\r\n"


@define(eq=False)
class Hello(_FromLine):
    """HELO or, when `is_extended`, EHLO."""

    domain: str
    is_extended: bool


@define(eq=False)
class Mail(_FromLine):
    """MAIL: may this sender start a transaction? Parameter names are in upper case."""

    address: EnvelopeAddress
    parameters: Mapping[str, str]


@define(eq=False)
class Rcpt(_FromLine):
    """RCPT: may this recipient be added?"""

    address: EnvelopeAddress
    parameters: Mapping[str, str]


@define(eq=False)
class StartData(_FromLine):
    """DATA: answer 354 to have the body."""


@define(eq=False)
class EndOfData:
    """A whole body that met the rules: CRLF line ends (unless allowed otherwise), dots unstuffed.

    Without `has_dots` none stands where a reader may see the start of a line.
    """

    sender: EnvelopeAddress
    recipients: tuple[EnvelopeAddress, ...]
    body: bytes = field(repr=False)
    has_dots: bool = True

    @property
    def command(self) -> str:
        """The end of data has no command line."""
        return END_OF_DATA


@define(eq=False)
class StartTls(_FromLine):
    """STARTTLS: answer 220, start TLS on the transport, then say so to the core."""


@define(eq=False)
class Credentials:
    """What AUTH gave; `authz` is never empty. Answer 235 or refuse."""

    mechanism: str
    authz: str
    authc: str
    password: str = field(repr=False)

    @property
    def command(self) -> str:
        """The command without its secret."""
        return f"AUTH {self.mechanism}\r\n"


@define(eq=False)
class Xclient(_FromLine):
    """XCLIENT with what the client says of its origin. Answer 220."""

    attributes: Mapping[str, str]


@define(eq=False)
class Answer:
    """Decided by the core; `command` is None when it answers none (a challenge, say)."""

    code: int
    text: str
    command: str | None


Event: TypeAlias = Hello | Mail | Rcpt | StartData | EndOfData | StartTls | Credentials | Xclient | Answer
