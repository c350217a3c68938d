"""A message as an SMS.

Public: `as_sms`, and `words` for channels that compose it themselves. Nothing
goes wrong; a message with neither text nor subject gives an empty one.
"""

from __future__ import annotations

from kumotwist.config.translate import SmsTextOptions, SmsWordsOptions
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.sms.segments import Sms, compose
from kumotwist.proto.translate.blank import is_blank
from kumotwist.proto.translate.body import document_of
from kumotwist.proto.translate.document import to_plain


def as_sms(parts: Decomposed, options: SmsTextOptions) -> Sms:
    """The text of `parts`, in as many segments as `options` allow."""
    return compose(words(parts, options), transliterate_to_gsm=options.transliterate, max_segments=options.max_segments)


def words(parts: Decomposed, options: SmsWordsOptions) -> str:
    """What an SMS of `parts` says, without blank lines and of any length; "" when there is nothing to say."""
    subject = "" if is_blank(parts.subject) else parts.subject
    text = "" if options.subject == "only" and subject else _text(parts, options)
    if options.subject == "prefix" and subject and not text.startswith(subject):
        text = f"{subject}: {text}" if text else subject
    return text or subject


def _text(parts: Decomposed, options: SmsWordsOptions) -> str:
    lines = [line for line in document_of(parts, options) if not line.is_blank]
    return to_plain(lines, with_urls=options.urls)
