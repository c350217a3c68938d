"""The words of a message, by the rules of translation.

Public: `words_of`. What can go wrong: ValueError for a message that has no
readable text, such as an encrypted one.
"""

from __future__ import annotations

import re
from typing import Final

from kumotwist.config.translate import SmsWordsOptions
from kumotwist.proto.translate.body import read
from kumotwist.proto.translate.sms import words

#: A header that makes the body something else than plain text as it stands.
_MIME: Final = re.compile(
    rb"^content-(?!type:[ \t]*text/plain(?:;[ \t]*charset=\"?(?:utf-8|us-ascii)\"?)?[ \t]*\r?$)",
    re.IGNORECASE | re.MULTILINE,
)
#: One line that begins with a word and has nothing in it that translation might see more in than words.
_LINE: Final = re.compile(r"\w[^\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff]*\Z")
#: Longer lines are left to translation. Ours.
_MAX_LINE: Final = 2_000


def words_of(message: bytes, options: SmsWordsOptions) -> str:
    """What is said; "" when there is nothing to say.

    Most texts are one plain line, which translation leaves as it is: taking
    the message apart to find that out would double what sending it costs.
    """
    head, divider, body = message.partition(b"\r\n\r\n")
    if divider and len(body) < _MAX_LINE and options.subject == "leave_out" and not _MIME.search(head):
        try:
            line = body.decode().rstrip()
        except UnicodeDecodeError:
            line = ""
        if _LINE.match(line):
            return line
    return words(read(message), options)
