"""The body of a message as a `Document`: the better of its texts, without quotes and signature.

Public: `read`, `document_of`, `title_of`. What can go wrong: ValueError for a message
that has no readable text, such as an encrypted one.
"""

from __future__ import annotations

import re
from typing import Final

from kumotwist.config.translate import TextOptions
from kumotwist.proto.mime.losses import NotRepresentable
from kumotwist.proto.mime.parts import Decomposed, decompose
from kumotwist.proto.translate import hypertext
from kumotwist.proto.translate.blank import is_blank
from kumotwist.proto.translate.document import Line, fold, from_plain
from kumotwist.proto.translate.quotes import cut_quotes, cut_signature

#: Characters of a plain text that are read. Ours: no channel that asks takes more than 40,000.
MAX_TEXT: Final = 200_000

#: Characters below which a plain text may be only a hint that there is more in HTML. Ours.
_MAX_HINT: Final = 300
#: What such hints say, in English, German, French and Spanish.
_HINT: Final = re.compile(
    r"\b(?:view|open|read|see|display)\b.{0,40}\b(?:in|with|using) (?:your|a|the|any) (?:web )?browser\b"
    r"|\b(?:view|read|see) (?:this|the|it)\b.{0,30}\b(?:online|in html|html version)\b"
    r"|(?:not|n't|cannot) (?:support|display|show|read|view)\b.{0,40}\bhtml\b|\bhtml[ -](?:e-?mail|capable|compatible)"
    r"|\bim browser\b|\bhtml-f.hig|\bhtml[ -](?:format|version|ansicht|darstellung)"
    r"|\b(?:dans|avec) (?:votre|un) navigateur\b|\ben (?:su|tu|el) navegador\b",
    re.IGNORECASE | re.DOTALL,
)


def read(message: bytes) -> Decomposed:
    """The parts of an RFC 5322 message, to take a text from. Raises ValueError, saying why there is none."""
    parts = decompose(message, for_reading=True)
    if isinstance(parts, NotRepresentable):
        raise ValueError(f"the message has no readable text: {parts.reason}")
    return parts


def document_of(parts: Decomposed, options: TextOptions) -> list[Line]:
    """The lines to send, never two blank ones together; none when the message has no text."""
    has_text, has_html = not is_blank(parts.text), not is_blank(parts.html)
    if has_html and (options.prefer == "html" or not has_text or _is_hint(parts.text)):
        lines = hypertext.read(parts.html).lines
    else:
        lines = from_plain(parts.text[:MAX_TEXT])
    if not options.keep_quotes:
        lines = cut_quotes(lines)
    if not options.keep_signature:
        lines = cut_signature(lines)
    return fold(lines)


def _is_hint(text: str) -> bool:
    """Whether all that a plain text says is that the message is to be read in HTML."""
    return len(text) < _MAX_HINT and _HINT.search(text) is not None


def title_of(parts: Decomposed) -> str:
    """The subject, else the sender's name or address, else ""."""
    if parts.subject:
        return parts.subject
    sender = parts.from_[0] if parts.from_ else None
    return (sender.name or sender.email) if sender is not None else ""
