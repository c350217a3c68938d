"""The addresses in a raw address header, names decoded.

The list is cut apart first and RFC 2047 words are decoded afterwards: an
encoded name may hold a comma. Reads what is sent in practice; groups are
flattened, comments become the name when there is no other.

Public: `read`, `Address`, which counts what is no address and leaves it out; `mailboxes`,
`Mailbox`, which raises ValueError for it.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from kumotwist.core.address import parse_address
from kumotwist.proto.mime.charset import clean
from kumotwist.proto.mime.headers import decode

#: Octets read of one header: some two thousand addresses, twice what any provider's API takes.
MAX_VALUE: Final = 131_072

#: Octets of a wrong value that an error shows.
_SHOWN: Final = 200

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|\((?:[^()\\]|\\.)*\)|<[^<>]*>?|[,;:()]|[^",;:()<>]+|>', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


@frozen
class Address:
    """A mailbox with its display name, "" when there is none. Both without control characters."""

    name: str
    email: str


def read(raw: bytes) -> tuple[tuple[Address, ...], int]:
    """The addresses of a raw header value, and how many entries of it were no address."""
    found, unreadable = [], 0
    for entry in _entries(_FOLD.sub(b"", raw[:MAX_VALUE])):
        address = _address(entry)
        if address is None:
            unreadable += 1
        else:
            found.append(address)
    return tuple(found), unreadable + (len(raw) > MAX_VALUE)


@frozen
class Mailbox:
    """One address in its parts; `name` is the decoded display name or None."""

    name: str | None
    user: str
    domain: str

    @property
    def email(self) -> str:
        """`user@domain`."""
        return f"{self.user}@{self.domain}"


def mailboxes(raw: bytes) -> list[Mailbox]:
    """The addresses in the raw value of an address header. Raises ValueError when there is none or one is not one."""
    found, unreadable = read(raw)
    if unreadable or not found:
        shown = decode(raw[:_SHOWN])
        raise ValueError(f"not an address list: {shown!r}" if unreadable else f"no address in {shown!r}")
    parts = [(one.name or None, *one.email.rpartition("@")) for one in found]
    return [Mailbox(name, user, domain) for name, user, _, domain in parts]


def _entries(raw: bytes) -> list[list[bytes]]:
    """Tokens between the commas; the name of a group (`team: a@b, c@d;`) is left out."""
    entries: list[list[bytes]] = [[]]
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if token in (b",", b";"):
            entries.append([])
        elif token == b":":
            entries[-1] = []
        elif token.strip():
            entries[-1].append(token)
    return [entry for entry in entries if entry]


def _address(tokens: list[bytes]) -> Address | None:
    angle = next((token for token in reversed(tokens) if token.startswith(b"<")), None)
    comments = [token[1:-1] for token in tokens if token.startswith(b"(") and len(token) > 1]
    words = [token for token in tokens if token[:1] not in (b"<", b"(", b")", b">")]
    if angle is not None:
        spec, name = angle.strip(b"<>"), b" ".join(word.strip() for word in words)
    else:
        # `"a b"@example.com` comes as two tokens that belong together.
        spec, name = b"".join(words), b""
    email = _checked(spec)
    if email is None:
        return None
    return Address(_name(name or b" ".join(comments)), email)


def _checked(spec: bytes) -> str | None:
    try:
        address = parse_address(spec.decode().strip())
    except ValueError:
        return None
    return address.email if address.domain else None


def _name(raw: bytes) -> str:
    """A display name: quotes gone, RFC 2047 words decoded, also those within quotes, where many put them."""
    text = raw.strip()
    if len(text) > 1 and text[:1] == text[-1:] == b'"' and b'"' not in text[1:-1].replace(b'\\"', b""):
        text = _ESCAPE.sub(r"\1", text[1:-1].decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return _BLANKS.sub(" ", clean(decode(text))).strip()
