"""HTML cut into tags and text, in one pass.

The standard library's parser takes time that grows with the square of some
inputs, and of the tree builders the one that was weighed takes minutes for
deeply nested elements: mail is what strangers write. No tree is needed here.

Public: `scan`, `Tag`, `Text`, `attributes`, `unescape`. Nothing goes wrong; a
document that ends within a tag or comment ends before it, as browsers have it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from attrs import frozen

#: Characters of HTML that are read. Ours: a newsletter has 100,000, and Gmail shows no more than that of it.
MAX_HTML: Final = 500_000

#: Where markup begins; any other `<` is a character of the text.
_MARK: Final = re.compile(r"<[a-zA-Z/!?]")
_LETTER: Final = re.compile(r"[a-zA-Z]")
#: HTML 13.2.5.8 to 13.2.5.40, possessive throughout: nothing is tried twice.
_TAG: Final = re.compile(
    r"<(/?)([a-zA-Z][^\s/>]*+)"
    r"((?:[\s/]++|[^\s/>=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+)?+|=)*+)>"
)
_ATTRIBUTE: Final = re.compile(
    r"([^\s/>=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"'][^\s>]*+))?+)?+", re.DOTALL
)
#: Elements whose content is no markup (HTML 13.1.2).
_RAW: Final = frozenset(("script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"))
#: Attributes of one tag that are looked at; the ones that matter come early in all real mail.
MAX_ATTRIBUTES: Final = 50


@frozen
class Tag:
    """A start or end tag; `name` in lower case, `attributes` as written."""

    name: str
    is_end: bool = False
    attributes: str = ""


@frozen
class Text:
    """Characters between tags, entities decoded."""

    text: str


Token: TypeAlias = Tag | Text


def scan(markup: str) -> Iterator[Token]:
    """The tags and texts of `markup`; comments, declarations, scripts and styles are left out."""
    markup = markup[:MAX_HTML]
    lowered = markup.lower() if markup.isascii() else "".join([c.lower() if c < "\x80" else c for c in markup])
    position = 0
    while position < len(markup):
        match = _MARK.search(markup, position)
        start = match.start() if match is not None else len(markup)
        if start > position:
            yield Text(unescape(markup[position:start]))
        if match is None:
            return
        token, position = _token(markup, lowered, start)
        if token is not None:
            yield token


def _token(markup: str, lowered: str, start: int) -> tuple[Tag | None, int]:
    """What begins with the `<` at `start`, and where it ends; the document's end when it does not."""
    following = markup[start + 1 : start + 2]
    if following in ("!", "?") or (following == "/" and not _LETTER.match(markup, start + 2)):
        return None, _behind(markup, "-->" if markup.startswith("<!--", start) else ">", start)
    match = _TAG.match(markup, start)
    if match is None:
        return None, len(markup)
    tag = Tag(match[2].lower(), bool(match[1]), match[3])
    if tag.name in _RAW and not tag.is_end:
        end = lowered.find(f"</{tag.name}", match.end())
        return None, _behind(markup, ">", end) if end >= 0 else len(markup)
    return tag, match.end()


def _behind(markup: str, mark: str, start: int) -> int:
    end = markup.find(mark, start)
    return end + len(mark) if end >= 0 else len(markup)


def attributes(tag: Tag) -> dict[str, str]:
    """The attributes of a tag by lower-cased name, values decoded; the first of a name counts."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(tag.attributes):
        if len(found) >= MAX_ATTRIBUTES:
            break
        value = next((group for group in match.groups()[1:] if group is not None), "")
        found.setdefault(match[1].lower(), unescape(value))
    return found


def unescape(text: str) -> str:
    """`text` with its character references decoded."""
    if "&" not in text:
        return text
    try:
        return html.unescape(text)
    except ValueError:
        # A reference by a number of thousands of digits: Python refuses to read it, and it names no character.
        return text
