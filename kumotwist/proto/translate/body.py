"""The body of a message as a `Document`: the better of its texts, without quotes and signature.

Public: `read`, `document_of`, `title_of`. What can go wrong: ValueError for a message
that has no readable text, such as an encrypted one.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.translate import TextOptions
from kumotwist.proto.mime.losses import NotRepresentable
from kumotwist.proto.mime.parts import Decomposed, decompose
from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.document import Line, fold, from_plain
from kumotwist.proto.translate.quotes import cut_quotes, cut_signature

#: Characters of a plain text that are read. Ours: no channel that asks takes more than 40,000.
MAX_TEXT: Final = 200_000


def read(message: bytes) -> Decomposed:
    """The parts of an RFC 5322 message, to take a text from. Raises ValueError, saying why there is none."""
    parts = decompose(message, for_reading=True)
    if isinstance(parts, NotRepresentable):
        raise ValueError(f"the message has no readable text: {parts.reason}")
    return parts


def document_of(parts: Decomposed, options: TextOptions) -> list[Line]:
    """The lines to send, never two blank ones together; none when the message has no text."""
    has_text, has_html = bool(parts.text.strip()), bool(parts.html.strip())
    if has_html and (options.prefer == "html" or not has_text):
        lines = hypertext.read(parts.html).lines
    else:
        lines = from_plain(parts.text[:MAX_TEXT])
    if not options.keep_quotes:
        lines = cut_quotes(lines)
    if not options.keep_signature:
        lines = cut_signature(lines)
    return fold(lines)


def title_of(parts: Decomposed) -> str:
    """The subject, else the sender's name or address, else ""."""
    if parts.subject:
        return parts.subject
    sender = parts.from_[0] if parts.from_ else None
    return (sender.name or sender.email) if sender is not None else ""
