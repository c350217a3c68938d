"""A message as a chat message, in the markup of the service.

Public: `as_chat`. Nothing goes wrong; a message with neither text nor subject
gives "".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import Final

from kumotwist.config.translate import ChatTextOptions
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.translate.blank import is_blank
from kumotwist.proto.translate.body import document_of
from kumotwist.proto.translate.dialects import MARKUPS, Markup
from kumotwist.proto.translate.document import Line, Run, shows, to_plain
from kumotwist.proto.translate.shorten import shorten

#: A line that is cut below this many characters is left out altogether: ours, a few words.
_LEAST: Final = 20


def as_chat(parts: Decomposed, options: ChatTextOptions) -> str:
    """The text of `parts`, in whole lines up to the limit; a line that is cut has no markup."""
    lines = document_of(parts, options)
    if options.subject and not is_blank(parts.subject) and not (lines and lines[0].text.strip() == parts.subject):
        lines = [Line((Run(parts.subject, is_bold=True),)), *lines]
    markup = MARKUPS[options.dialect]
    if options.dialect == "plain":
        text = to_plain(lines, with_urls=options.urls)
        return shorten(text, options.max_characters or markup.limit, markup.size)
    if markup.newline != "\n":
        # A line is a paragraph there, and stands apart as it is.
        lines = [line for line in lines if not line.is_blank]
    limit = min(options.max_characters or markup.limit, markup.limit)
    return _within(lines, markup, limit, options.urls)


def _within(lines: list[Line], markup: Markup, limit: int, urls: bool) -> str:
    written: list[str] = []
    used = 0
    gap = markup.size(markup.newline)
    for line in lines:
        text = _written(line, markup, urls)
        cost = markup.size(text) + (gap if written else 0)
        if used + cost > limit:
            written.append(_cut(line, markup, limit - used - (gap if written else 0)))
            break
        written.append(text)
        used += cost
    return markup.newline.join(written).strip("\n")


def _cut(line: Line, markup: Markup, room: int) -> str:
    """As much of a line as fits when it is escaped."""
    wanted = room
    while wanted >= _LEAST or wanted == room:
        text = markup.escape(shorten(line.text, wanted, markup.size))
        excess = markup.size(text) - room
        if excess <= 0:
            return text
        wanted -= max(excess // 2, 1)
    return "…" if room > 0 else ""


def _written(line: Line, markup: Markup, urls: bool) -> str:
    quote = markup.quote * bool(line.quote)
    return f"{quote}{_marker(line.marker, markup)}{''.join(_pieces(line, markup, urls))}".rstrip()


def _marker(marker: str, markup: Markup) -> str:
    """A list's mark. Blanks in front of it would be lost or make it code."""
    return markup.escape(marker.replace("  ", "\u2003").replace("- ", "• "))


def _pieces(line: Line, markup: Markup, urls: bool) -> Iterator[str]:
    for url, linked in groupby(line.runs, key=lambda run: run.url):
        runs = list(linked)
        words = "".join([run.text for run in runs])
        if not url or not urls or shows(words, url):
            yield from _marked(runs, markup)
        else:
            # Marks within a link are read differently by each client: its words go plain.
            yield _within_blanks(words, partial(_linked, markup, url))


def _linked(markup: Markup, url: str, words: str) -> str:
    return markup.link(markup.escape(words), url)


def _marked(runs: list[Run], markup: Markup) -> Iterator[str]:
    for (is_bold, is_italic, is_code), alike in groupby(
        runs, key=lambda run: (run.is_bold, run.is_italic, run.is_code)
    ):
        text = "".join([run.text for run in alike])
        marks = [markup.code] if is_code and markup.code else [markup.bold * is_bold, markup.italic * is_italic]
        yield _within_blanks(text, partial(_between, markup, marks))


def _between(markup: Markup, marks: list[str], text: str) -> str:
    return f"{''.join(marks)}{markup.escape(text)}{''.join(reversed(marks))}"


def _within_blanks(text: str, write: Callable[[str], str]) -> str:
    """`text` written, with its outer blanks outside: a mark beside a blank marks nothing."""
    bare = text.strip()
    if not bare:
        return text
    start = text.index(bare)
    return f"{text[:start]}{write(bare)}{text[start + len(bare) :]}"
