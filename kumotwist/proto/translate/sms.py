"""A message as an SMS.

Public: `as_sms`. Nothing goes wrong; a message with neither text nor subject
gives an empty one.
"""

from __future__ import annotations

from kumotwist.config.translate import SmsTextOptions
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.sms.segments import Sms, compose
from kumotwist.proto.translate.body import document_of
from kumotwist.proto.translate.document import to_plain


def as_sms(parts: Decomposed, options: SmsTextOptions) -> Sms:
    """The text of `parts`, without blank lines, in as many segments as `options` allow."""
    text = "" if options.subject == "only" and parts.subject else _text(parts, options)
    if options.subject == "prefix" and parts.subject and not text.startswith(parts.subject):
        text = f"{parts.subject}: {text}" if text else parts.subject
    return compose(text or parts.subject, transliterate_to_gsm=options.transliterate, max_segments=options.max_segments)


def _text(parts: Decomposed, options: SmsTextOptions) -> str:
    lines = [line for line in document_of(parts, options) if not line.is_blank]
    return to_plain(lines, with_urls=options.urls)
