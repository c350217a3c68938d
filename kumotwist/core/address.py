"""Envelope addresses: the reverse path and the forward paths of a message.

RFC 5321 s4.1.2 and, for non-ASCII mailboxes, RFC 6531 s3.3. Case is kept as
written; `domain` of the null path and of a bare `Postmaster` is "".

Public: `EnvelopeAddress`, `NULL_SENDER`, `parse_address`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from attrs import field, frozen

#: RFC 5321 s4.5.3.1.1 to s4.5.3.1.3: octets in a local part, a domain and a path.
MAX_LOCAL_PART: Final = 64
MAX_DOMAIN: Final = 255
MAX_PATH: Final = 256

# Classes that take all beyond ASCII say what they leave out: ranges up to U+10FFFF take 30 ms to compile.
_ATEXT: Final = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
_LET_DIG: Final = r"[^\x00-/:-@\[-^`{-\x7f]"
_LABEL: Final = rf"{_LET_DIG}(?:[^\x00-,./:-@\[-^`{{-\x7f]*{_LET_DIG})?"
_LOCAL: Final = rf'(?:{_ATEXT}+(?:\.{_ATEXT}+)*|"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*")'
_DOMAIN: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[A-Za-z0-9:.\-]+\])"
_MAILBOX: Final = re.compile(rf"({_LOCAL})@({_DOMAIN})\Z")
_SOURCE_ROUTE: Final = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")


@frozen(hash=True)
class EnvelopeAddress:
    """One mailbox; `str()` is `user@domain` without brackets, "" for the null path."""

    user: str
    domain: str
    #: `user@domain`; just `user` when there is no domain. Asked for ten times a message.
    email: str = field(init=False, eq=False, repr=False)

    @email.default
    def _email(self) -> str:
        return f"{self.user}@{self.domain}" if self.domain else self.user

    @property
    def is_null(self) -> bool:
        """Whether this is the null reverse path `<>` of bounces."""
        return not self.user and not self.domain

    @property
    def is_ascii(self) -> bool:
        """Whether the address can go out without SMTPUTF8."""
        return self.user.isascii() and self.domain.isascii()

    def __str__(self) -> str:
        return self.email


NULL_SENDER: Final = EnvelopeAddress("", "")


@lru_cache(maxsize=4096)
def parse_address(text: str) -> EnvelopeAddress:
    """Read `<path>`, a bare mailbox, `<>`, "" or `Postmaster`.

    A source route is dropped (RFC 5321 s4.1.1.3). Raises ValueError, naming
    what is wrong; CR, LF, NUL and every other control is always refused.
    """
    path = text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
    if not path:
        return NULL_SENDER
    if path[0] == "@":
        path = _SOURCE_ROUTE.sub("", path, count=1)
    if path.lower() == "postmaster":
        return EnvelopeAddress(path, "")
    match = _MAILBOX.match(path)
    if match is None:
        raise ValueError(f"not a mailbox: {text!r}")
    user, domain = match.group(1), match.group(2)
    if len(user.encode()) > MAX_LOCAL_PART:
        raise ValueError(f"local part is longer than {MAX_LOCAL_PART} octets")
    if len(domain.encode()) > MAX_DOMAIN:
        raise ValueError(f"domain is longer than {MAX_DOMAIN} octets")
    return EnvelopeAddress(user, domain)
