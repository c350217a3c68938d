"""Quoted replies and signatures cut from a text, so that what was written remains.

Programs announce a quotation in the writer's language and in shapes of their
own: a line like `On Monday, Ann wrote:` above `>` lines, `-----Original
Message-----`, or Outlook's block of headers. What somebody forwards is not a
reply and stays.

Public: `cut_quotes`, `cut_signature`. Nothing goes wrong: where cutting would
leave nothing, the text stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kumotwist.proto.translate.document import Document, Line
from kumotwist.proto.translate.phrases import (
    ADDED,
    ATTRIBUTION,
    FIELDS,
    FORWARDED,
    FROM,
    SEPARATOR,
    SIGNATURE,
    WRAPPED_ATTRIBUTION,
)

#: Characters of a line that announces a quotation: longer ones are paragraphs.
MAX_ATTRIBUTION: Final = 300
#: It may be wrapped into so many lines.
_ATTRIBUTION_LINES: Final = 3
#: Lines of a header block that are looked at.
_HEADER_LINES: Final = 6
#: Lines below the signature mark that are still taken for one. Four is good style (RFC 1855), companies need more.
MAX_SIGNATURE: Final = 15
_RULE: Final = re.compile(r"[-_=*]{5,}\Z")
_ENDS: Final = (":", "\N{FULLWIDTH COLON}")


def cut_quotes(document: Document) -> list[Line]:
    """`document` without what it answers to. Answers between quoted lines stay, in order."""
    lines = list(document[: _answered(document)])
    kept: list[Line] = []
    for index, line in enumerate(lines):
        if line.quote:
            if not (index and lines[index - 1].quote):
                _drop_attribution(kept)
        else:
            kept.append(line)
    return kept if any(not line.is_blank for line in kept) else list(document)


def cut_signature(document: Document) -> list[Line]:
    """`document` without a signature below `-- `, and without what phones add at the end."""
    lines = list(document)
    for index, line in enumerate(lines):
        if not line.quote and SIGNATURE.match(line.text[:10]) and len(lines) - index - 1 <= MAX_SIGNATURE:
            lines = lines[:index]
            break
    while lines and (lines[-1].is_blank or _is_added(lines)):
        lines.pop()
    return lines if any(not line.is_blank for line in lines) else list(document)


def _answered(document: Document) -> int:
    """Where a mail that is answered begins without quote marks; the length of the text when there is none."""
    has_text = False
    for index, line in enumerate(document):
        text = _start(line)
        if not text:
            continue
        if FORWARDED.match(text):
            return len(document)
        if has_text and not line.quote and (SEPARATOR.match(text) or _is_header_block(document, index)):
            return _without_rule(document, index)
        if has_text and not line.quote and _is_bare_attribution(document, index):
            return index
        has_text = True
    return len(document)


def _is_header_block(document: Document, index: int) -> bool:
    if not FROM.match(_start(document[index])):
        return False
    following = [_start(line) for line in document[index + 1 : index + 1 + _HEADER_LINES]]
    # Two of them are no coincidence.
    return sum(1 for text in following if FIELDS.match(text)) >= 2


def _without_rule(document: Document, index: int) -> int:
    """`index`, or that of the line of dashes or underscores above it."""
    above = index - 1
    while above > 0 and document[above].is_blank:
        above -= 1
    return above if above >= 0 and _RULE.match(_start(document[above])) else index


def _is_bare_attribution(document: Document, index: int) -> bool:
    """Whether a quotation without marks begins here. A date in it tells it from a story's "she wrote:"."""
    for count in range(1, _ATTRIBUTION_LINES + 1):
        lines = document[index : index + count]
        if _announces(lines) and any(character.isdigit() for line in lines for character in _start(line)):
            following = next((line for line in document[index + count :] if not line.is_blank), None)
            return following is None or not following.quote
    return False


def _drop_attribution(kept: list[Line]) -> None:
    """Take the lines that announce a quotation off the end of `kept`."""
    end = len(kept)
    while end and kept[end - 1].is_blank:
        end -= 1
    for count in range(1, min(_ATTRIBUTION_LINES, end) + 1):
        if _announces(kept[end - count : end], WRAPPED_ATTRIBUTION):
            del kept[end - count :]
            return
    if end and _announces(kept[end - 1 : end]):
        del kept[end - 1 :]


def _announces(lines: Sequence[Line], pattern: re.Pattern[str] | None = None) -> bool:
    if not lines or not _start(lines[-1]).endswith(_ENDS):
        return False
    text = " ".join([_start(line) for line in lines])
    pattern = pattern or (ATTRIBUTION if len(lines) == 1 else WRAPPED_ATTRIBUTION)
    return len(text) <= MAX_ATTRIBUTION and pattern.match(text) is not None


def _start(line: Line) -> str:
    """As much of a line as tells whether it is one of ours."""
    return line.text.strip()[: MAX_ATTRIBUTION + 1]


def _is_added(lines: Sequence[Line]) -> bool:
    """Whether the last line is a phone's greeting and not all there is."""
    text = _start(lines[-1])
    return len(text) < 100 and ADDED.match(text) is not None and any(not line.is_blank for line in lines[:-1])
