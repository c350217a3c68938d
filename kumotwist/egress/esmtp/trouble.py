"""What goes wrong on a connection, as exceptions inside this channel, and what recipients are told of it.

Public: `WireTrouble` and its kinds `ConnectionGone`, `ReplyTimeout`,
`OutOfStep`, `HandshakeFailed`; `HostFailed`; `show_seconds`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.core.response import INTERNAL_PREFIX, Response, internal

#: KumoMTA's words before an error that is no reply.
_DELIVER_ERROR: Final = f"{INTERNAL_PREFIX}error in deliver_message: "


class WireTrouble(Exception):
    """The connection is of no more use. `str()` says why; `waiting_for` is the command without an answer."""

    def __init__(self, text: str, waiting_for: str = "") -> None:
        super().__init__(text)
        self.waiting_for = waiting_for

    def response(self, site: str, addr: str) -> Response:  # noqa: ARG002
        """The transient response for the recipients that are undecided because of it."""
        return Response(400, f"{_DELIVER_ERROR}{self}")


class ConnectionGone(WireTrouble):
    """The peer closed or reset it, or we did."""


class OutOfStep(WireTrouble):
    """The peer broke the protocol."""


class HandshakeFailed(WireTrouble):
    """TLS did not come about."""


class ReplyTimeout(WireTrouble):
    """No answer in time."""

    def __init__(self, waiting_for: str, seconds: float) -> None:
        super().__init__(f"Timed Out waiting {show_seconds(seconds)} for response to {waiting_for}", waiting_for)

    def response(self, site: str, addr: str) -> Response:
        """421 4.4.2, as KumoMTA words it; rules of operators look for it."""
        command = self.waiting_for if self.waiting_for == "." else f"{self.waiting_for}\r\n"
        made = internal(421, f"4.4.2 failed to send message to {site} {addr}: {self}")
        return made.with_command(command)


class HostFailed(Exception):
    """One candidate could not be used; `str()` is its part of the summary.

    `is_tls` marks a failure that TLS brought about, which clear text might not have.
    """

    def __init__(self, text: str, is_tls: bool = False) -> None:
        super().__init__(text)
        self.is_tls = is_tls


def show_seconds(seconds: float) -> str:
    """`300s`, `1.5s`."""
    return f"{seconds:g}s"
