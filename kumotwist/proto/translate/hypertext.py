"""HTML as a `Document`: what a reader sees of a message, in the order in which it is read.

Hidden elements, scripts, styles and pictures without a description are left
out; a table's row becomes a line, a quotation's lines are quoted ones. Links
stay with their words.

Public: `read`, `Page`. Nothing goes wrong: whatever is no HTML is text.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from kumotwist.proto.translate.document import MAX_QUOTE, Line, Run, fold
from kumotwist.proto.translate.tags import Tag, Text, attributes, scan

#: Open elements that are remembered. Ours: table layouts nest some forty deep.
MAX_OPEN: Final = 150
#: Characters of the preview text that is kept; inboxes show about a hundred.
MAX_PREHEADER: Final = 300
#: A line that is longer gets no further table cell. Ours: beyond it, cells are paragraphs side by side.
MAX_ROW: Final = 100

_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
_DROPPED: Final = frozenset(
    ("head", "template", "svg", "math", "object", "video", "audio", "canvas", "select", "datalist", "map")
)
#: Elements that begin a new line, and those that also stand apart from what is around them.
_LINES: Final = frozenset(
    (
        *(
            "div",
            "tr",
            "tbody",
            "thead",
            "tfoot",
            "caption",
            "li",
            "dt",
            "dd",
            "section",
            "article",
            "header",
            "footer",
        ),
        *(
            "main",
            "nav",
            "aside",
            "address",
            "center",
            "form",
            "fieldset",
            "legend",
            "figcaption",
            "details",
            "summary",
        ),
    )
)
_APART: Final = frozenset(
    (
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "figure", "hr"),
        *("menu", "dir"),
    )
)
_BOLD: Final = frozenset(("b", "strong", "h1", "h2", "h3", "h4", "h5", "h6", "th"))
_ITALIC: Final = frozenset(("i", "em", "cite", "dfn"))
_CODE: Final = frozenset(("code", "kbd", "samp", "tt"))
#: An element that ends when another of its kind begins, and what it cannot reach beyond (HTML 13.1.2.4).
_IMPLIED: Final = {
    "p": ({"p"}, {"table", "td", "th", "li", "blockquote", "div"}),
    "li": ({"li"}, {"ul", "ol", "menu", "dir", "table"}),
    "dt": ({"dt", "dd"}, {"dl", "table"}),
    "dd": ({"dt", "dd"}, {"dl", "table"}),
    "td": ({"td", "th"}, {"table"}),
    "th": ({"td", "th"}, {"table"}),
    "tr": ({"tr", "td", "th"}, {"table"}),
}
_LISTS: Final = frozenset(("ul", "ol", "menu", "dir"))

_HIDDEN: Final = re.compile(
    r"display:none|visibility:hidden|max-height:0(?:px)?(?:[;!]|$)|opacity:0(?:\.0+)?(?:[;!]|$)"
)
#: Blanks as HTML has them, and no-break ones; widths of nothing, which pad preview texts, and soft hyphens.
_BLANKS: Final = re.compile(r"[ \t\n\r\f\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_NOTHING: Final = re.compile(
    r"[\u200b\u200c\u2060\u2007\u034f\u00ad\ufeff\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u2061-\u2064]"
)
_URL: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_SCHEMES: Final = frozenset(("http", "https", "mailto", "tel", "sms", "ftp"))


@frozen
class Page:
    """What a page says. `preheader` is the hidden text at its top that inboxes show as a preview, "" without one."""

    lines: list[Line]
    preheader: str


def read(markup: str) -> Page:
    """`markup` as lines without doubled blank ones."""
    reader = _Reader()
    for token in scan(markup):
        if isinstance(token, Text):
            reader.text(token.text)
        elif token.is_end:
            reader.end(token.name)
        else:
            reader.start(token)
    return reader.page()


@define(eq=False)
class _Element:
    name: str
    is_hidden: bool = False
    quote: int = 0
    url: str = ""
    is_bold: bool = False
    is_italic: bool = False
    is_code: bool = False
    is_pre: bool = False
    #: Lists: the number of the next item, 0 for one with dashes; and how many lists are open.
    number: int = 0
    depth: int = 0


@define(eq=False)
class _Reader:
    """The lines so far, and the one that is being written."""

    _open: list[_Element] = field(factory=lambda: [_Element("")])
    _count: Counter[str] = field(factory=Counter)
    _lines: list[Line] = field(factory=list)
    _runs: list[Run] = field(factory=list)
    _marker: str = ""
    _needs_space: bool = False
    _needs_bar: bool = False
    _preheader: list[str] = field(factory=list)
    _is_preheader_over: bool = False

    # -- tags -------------------------------------------------------------------------------------

    def start(self, tag: Tag) -> None:
        name = tag.name
        if name in _IMPLIED:
            self._close(*_IMPLIED[name])
        element = self._element(tag)
        if not element.is_hidden:
            self._break_before(name, element)
        if name not in _VOID and len(self._open) < MAX_OPEN:
            self._open.append(element)
            self._count[name] += 1

    def end(self, name: str) -> None:
        if name == "br":
            self._end_line()
        if name not in _VOID:
            self._close({name}, set())

    def _close(self, names: set[str], borders: set[str]) -> None:
        """End the innermost open element with one of these names, and what is open within it."""
        if not any(self._count.get(name) for name in names):
            return
        for index in range(len(self._open) - 1, 0, -1):
            element = self._open[index]
            if element.name in names:
                self._end_from(index)
                return
            if element.name in borders:
                return

    def _end_from(self, index: int) -> None:
        ended, outer = self._open[index:], self._open[index - 1]
        is_seen = not ended[0].is_hidden
        if is_seen and any(element.name in _LINES or element.name in _APART for element in ended):
            self._end_line()
        del self._open[index:]
        for element in ended:
            self._count[element.name] -= 1
        if is_seen and any(_is_apart(element.name, element.depth) for element in ended):
            self._blank_line()
        elif not is_seen and not outer.is_hidden and self._preheader:
            self._is_preheader_over = True

    def _element(self, tag: Tag) -> _Element:
        """The element that `tag` opens, with what it inherits."""
        name, outer = tag.name, self._open[-1]
        element = _Element(name, outer.is_hidden or name in _DROPPED, outer.quote, outer.url)
        element.is_bold = outer.is_bold or name in _BOLD
        element.is_italic = outer.is_italic or name in _ITALIC
        element.is_code = outer.is_code or name in _CODE
        element.is_pre = outer.is_pre or name == "pre"
        element.depth = outer.depth
        if name in _LISTS:
            element.depth += 1
        found = attributes(tag) if tag.attributes.strip(" /") else {}
        if found:
            element.is_hidden = element.is_hidden or _is_hidden(found)
        if name == "ol":
            start = found.get("start", "1")
            element.number = int(start) if re.fullmatch(r"[0-9]{1,6}", start) else 1
        elif name == "a":
            element.url = _url(found.get("href", ""))
        elif name == "blockquote" and _is_quotation(found):
            element.quote = min(outer.quote + 1, MAX_QUOTE)
        elif name == "img" and not element.is_hidden:
            self._picture(found, element)
        return element

    def _break_before(self, name: str, element: _Element) -> None:
        if name == "br":
            self._end_line(is_forced=True)
        elif _is_apart(name, element.depth):
            self._blank_line()
        elif name in _LINES or name in _APART:
            self._end_line()
        if name == "li":
            self._item(element)
        elif name in ("td", "th") and self._runs:
            self._needs_bar = True

    def _item(self, element: _Element) -> None:
        around = next((one for one in reversed(self._open) if one.name in _LISTS), None)
        indent = "  " * max(element.depth - 1, 0)
        if around is not None and around.number:
            self._marker = f"{indent}{around.number}. "
            around.number += 1
        else:
            self._marker = f"{indent}- "

    def _picture(self, found: dict[str, str], element: _Element) -> None:
        description = found.get("alt", "").strip()
        if description and found.get("width") not in ("0", "1"):
            self._open.append(element)
            self.text(f" {description} ")
            self._open.pop()

    # -- text -------------------------------------------------------------------------------------

    def text(self, text: str) -> None:
        element = self._open[-1]
        text = _NOTHING.sub("", text)
        if element.is_hidden:
            self._hidden_text(text)
        elif element.is_pre:
            self._preformatted(text, element)
        else:
            self._flowing(text, element)

    def _hidden_text(self, text: str) -> None:
        in_head = any(element.name in _DROPPED for element in self._open)
        if not in_head and not self._is_preheader_over and text.strip():
            self._preheader.append(text)

    def _flowing(self, text: str, element: _Element) -> None:
        words = _BLANKS.sub(" ", text)
        bare = words.strip(" ")
        if not bare:
            self._needs_space = self._needs_space or bool(words)
            return
        if self._needs_bar and self._runs:
            if sum(len(run.text) for run in self._runs) > MAX_ROW:
                self._end_line()
            else:
                self._runs.append(Run(" | "))
        elif self._runs and (self._needs_space or words[0] == " "):
            self._add_space(element)
        self._needs_bar = False
        self._add(bare, element)
        self._needs_space = words[-1] == " "

    def _add_space(self, element: _Element) -> None:
        """A blank between two runs belongs to both looks or to none."""
        last = self._runs[-1]
        url = last.url if last.url == element.url else ""
        is_bold, is_italic = last.is_bold and element.is_bold, last.is_italic and element.is_italic
        self._runs.append(Run(" ", url, is_bold, is_italic, last.is_code and element.is_code))

    def _preformatted(self, text: str, element: _Element) -> None:
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
            if number:
                self._end_line(is_forced=True)
            if line.strip() or self._runs:
                self._add(line.replace("\t", "    "), element)

    def _add(self, text: str, element: _Element) -> None:
        self._runs.append(Run(text, element.url, element.is_bold, element.is_italic, element.is_code))

    # -- lines ------------------------------------------------------------------------------------

    def _end_line(self, is_forced: bool = False) -> None:
        """End the line, if there is one; with `is_forced` an empty one as well."""
        self._needs_space = self._needs_bar = False
        if self._runs:
            self._lines.append(Line(tuple(self._runs), self._open[-1].quote, self._marker))
            self._runs, self._marker = [], ""
        elif is_forced and not self._marker:
            self._lines.append(Line(quote=self._open[-1].quote))

    def _blank_line(self) -> None:
        self._end_line()
        if not self._marker:
            self._lines.append(Line(quote=self._open[-1].quote))

    def page(self) -> Page:
        """All of it, when the input has ended."""
        self._end_line()
        preheader = _BLANKS.sub(" ", "".join(self._preheader)[: MAX_PREHEADER * 4]).strip()
        return Page(fold(self._lines), preheader[:MAX_PREHEADER])


def _is_apart(name: str, depth: int) -> bool:
    """Whether blank lines stand around an element: not within a list, be it a paragraph or another list."""
    return name in _APART and depth <= (1 if name in _LISTS else 0)


def _is_hidden(found: dict[str, str]) -> bool:
    if "hidden" in found or "preheader" in found.get("class", "").lower():
        return True
    style = found.get("style")
    return bool(style and _HIDDEN.search("".join(style.lower().split())))


def _is_quotation(found: dict[str, str]) -> bool:
    """Whether a blockquote quotes. Webmail indents with it, too, and says `border: none` then."""
    if found.get("type") == "cite" or "quote" in found.get("class", "").lower() or found.get("cite"):
        return True
    return "border:none" not in "".join(found.get("style", "").lower().split())


def _url(href: str) -> str:
    """`href` when it leads somewhere from outside a browser, else ""."""
    url = _URL.sub("", href)
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in _SCHEMES and (parts.netloc or parts.path) else ""
