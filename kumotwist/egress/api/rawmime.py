"""A message as providers take it whole, for those that accept MIME.

The provider signs and traces it in its own name, so what says the same in ours
goes: its readers would see two of each, and our hosts.

Public: `outgoing`.
"""

from __future__ import annotations

from typing import Final

from kumotwist.proto.mime import headers

#: Trace and signature fields of ours, and the one field that must never leave (RFC 5322 s3.6.3).
_DROPPED: Final = frozenset(("received", "return-path", "dkim-signature", "bcc"))


def outgoing(body: bytes) -> bytes:
    """The message without fields that the provider adds itself, and without Bcc."""
    return headers.remove(body, lambda name: name in _DROPPED)
