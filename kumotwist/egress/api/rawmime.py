"""A message as providers take it whole, for those that accept MIME.

The provider signs and traces it in its own name, so what says the same in ours
goes: its readers would see two of each, and our hosts.

Public: `outgoing`, `addressed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formataddr
from typing import Final

from kumotwist.proto.mime import addresses, headers

#: Trace and signature fields of ours, and the one field that must never leave (RFC 5322 s3.6.3).
_DROPPED: Final = frozenset(("received", "return-path", "dkim-signature", "bcc"))
#: Between two addresses: a line for each.
_FOLD: Final = ",\r\n "


def outgoing(body: bytes) -> bytes:
    """The message without fields that the provider adds itself, and without Bcc."""
    return headers.remove(body, lambda name: name in _DROPPED)


def addressed(body: bytes, recipients: Sequence[str]) -> bytes:
    """The same for providers that read the recipients from the headers: they name `recipients` and nobody else.

    Who is not among them leaves To and Cc, or would get the message again; who is in neither stands in
    Bcc, which the provider takes out.
    """
    left = {one.lower(): one for one in recipients}
    fields: list[tuple[str, str]] = []
    for name in ("To", "Cc"):
        kept = []
        for value in headers.fields(body[: headers.block_end(body)]):
            if value[0].lower() == name.lower().encode():
                found, _ = addresses.read(value[1])
                kept += [one for one in found if left.pop(one.email.lower(), None) is not None]
        if kept:
            fields.append((name, _FOLD.join(formataddr((one.name, one.email)) for one in kept)))
    if left:
        fields.append(("Bcc", _FOLD.join(left.values())))
    message = headers.remove(body, lambda name: name in _DROPPED or name in ("to", "cc"))
    for name, text in reversed(fields):
        message = headers.prepend(message, name, text)
    return message
