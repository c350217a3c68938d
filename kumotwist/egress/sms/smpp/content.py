"""The words of a message: its plain text, or its subject when it has none.

Public: `words_of`. A message that cannot be said as text gives a `NotRepresentable`.
"""

from __future__ import annotations

import re
from typing import Final

from kumotwist.proto.mime import headers
from kumotwist.proto.mime.losses import NotRepresentable
from kumotwist.proto.mime.parts import decompose

#: A header that makes the body something else than plain text as it stands.
_MIME: Final = re.compile(
    rb"^content-(?!type:[ \t]*text/plain(?:;[ \t]*charset=\"?(?:utf-8|us-ascii)\"?)?[ \t]*\r?$)",
    re.IGNORECASE | re.MULTILINE,
)


def words_of(message: bytes) -> str | NotRepresentable:
    """The words, white space around them cut. A plain text is not taken apart: that spares most of the time."""
    head, divider, body = message.partition(b"\r\n\r\n")
    if divider and not _MIME.search(head):
        try:
            return body.decode().strip() or headers.first_value(head, "subject") or ""
        except UnicodeDecodeError:
            pass
    parts = decompose(message)
    return parts if isinstance(parts, NotRepresentable) else parts.text.strip() or parts.subject
