"""SASL exchanges of the server: PLAIN (RFC 4616) and LOGIN (the draft that clients follow).

An exchange is fed one client response at a time, still in base64, and says
what comes next: a challenge, the credentials, or a refusal. Whether the
credentials are right is policy's to say.

Public: `MECHANISMS`, `Exchange`, `Challenge`, `Given`, `Failed`.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

from attrs import define, field, frozen

from kumotwist.proto.smtp import replies


@frozen
class Challenge:
    """Send 334 with this text and wait for a response."""

    text: str


@frozen
class Given:
    """The client's claim. `authz` equals `authc` when it asked for none."""

    authz: str
    authc: str
    password: str = field(repr=False)


@frozen
class Failed:
    """The exchange is over; an SMTP reply says why."""

    code: int
    text: str


Step: TypeAlias = Challenge | Given | Failed

_MALFORMED: Final = Failed(*replies.AUTH_MALFORMED)
_CANCELLED: Final = Failed(*replies.AUTH_CANCELLED)


class Exchange(Protocol):
    """One run of a mechanism."""

    def receive(self, response: bytes | None) -> Step:
        """The next step after `response` in base64; None at the start when the client sent none."""
        ...


@define
class Plain:
    """One response: authorisation identity, authentication identity, password, apart by NUL."""

    def receive(self, response: bytes | None) -> Step:
        """See `Exchange`."""
        if response is None:
            return Challenge("")
        text = _decode(response)
        if isinstance(text, Failed):
            return text
        parts = text.split("\0")
        if len(parts) != 3 or not parts[1]:
            return _MALFORMED
        authz, authc, password = parts
        return Given(authz or authc, authc, password)


@define
class Login:
    """Two responses: the name, then the password."""

    _name: str | None = None

    def receive(self, response: bytes | None) -> Step:
        """See `Exchange`."""
        if response is None:
            return Challenge("VXNlcm5hbWU6")
        text = _decode(response)
        if isinstance(text, Failed):
            return text
        if self._name is None:
            self._name = text
            return Challenge("UGFzc3dvcmQ6") if text else _MALFORMED
        return Given(self._name, self._name, text)


#: What EHLO offers, by upper-case name, in that order.
MECHANISMS: Final[Mapping[str, type[Plain] | type[Login]]] = {"PLAIN": Plain, "LOGIN": Login}


def _decode(response: bytes) -> str | Failed:
    response = response.strip(b" ")
    if response == b"*":
        return _CANCELLED
    if response == b"=":
        return ""
    try:
        return binascii.a2b_base64(response, strict_mode=True).decode()
    except ValueError:
        return _MALFORMED
