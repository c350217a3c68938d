"""A text between its forms: lines of runs, each with what chats can show of it.

HTML and plain text become a `Document`, quotes and signatures are cut out of
it, and it is written as plain text or in a chat's markup. Public: `Run`, `Line`,
`Document`, `from_plain`, `to_plain`, `fold`, `shows`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, TypeAlias
from urllib.parse import unquote

from attrs import frozen

from kumotwist.proto.translate.blank import is_blank

_QUOTE: Final = re.compile(r"(?:>[ \t]?)+")
#: Deeper quotes than a reader tells apart. Ours.
MAX_QUOTE: Final = 20
_SCHEME: Final = re.compile(r"(?:https?://|mailto:|tel:|sms:|ftp://)(?:www\.)?|www\.", re.IGNORECASE)


@frozen
class Run:
    """Characters of one look, without line ends; `url` when they are (part of) a link."""

    text: str
    url: str = ""
    is_bold: bool = False
    is_italic: bool = False
    is_code: bool = False


@frozen
class Line:
    """One line; `quote` is how deep it is quoted, `marker` what a list puts before it (`- `, `2. `)."""

    runs: tuple[Run, ...] = ()
    quote: int = 0
    marker: str = ""

    @property
    def text(self) -> str:
        """Its characters without quote marks, list marker and links."""
        return "".join([run.text for run in self.runs])

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to read."""
        return all(is_blank(run.text) for run in self.runs)


Document: TypeAlias = Sequence[Line]


def from_plain(text: str) -> list[Line]:
    """Lines of a plain text with bare newlines; `>` in front of a line is its quote depth."""
    lines = []
    for line in text.split("\n"):
        match = _QUOTE.match(line)
        marks = match[0] if match is not None else ""
        rest = line[len(marks) :]
        lines.append(Line((Run(rest),) if rest else (), min(marks.count(">"), MAX_QUOTE)))
    return lines


def to_plain(document: Document, *, with_urls: bool = True) -> str:
    """`document` as plain text. A link that its words do not show stands behind them in brackets, once."""
    shown: set[str] = set()
    lines = []
    for line in document:
        pieces = [f"{'>' * line.quote} " if line.quote else "", line.marker]
        for url, runs in groupby(line.runs, key=lambda run: run.url):
            text = "".join([run.text for run in runs])
            pieces.append(_with_url(text, url, shown) if url and with_urls else text)
        lines.append("".join(pieces).rstrip())
    return "\n".join(lines).strip("\n")


def fold(document: Iterable[Line]) -> list[Line]:
    """`document` without blank lines at its ends, and never two of them together."""
    folded: list[Line] = []
    for line in document:
        if not line.is_blank:
            folded.append(line)
        elif folded and not folded[-1].is_blank:
            folded.append(Line(quote=line.quote))
    if folded and folded[-1].is_blank:
        folded.pop()
    return folded


def shows(words: str, url: str) -> bool:
    """Whether the words of a link are its address, as people write it: scheme, `www.` and last slash do not matter."""
    return _bare(_address(url)) in _bare(words)


def _with_url(text: str, url: str, shown: set[str]) -> str:
    is_new = url not in shown and not shows(text, url)
    shown.add(url)
    words = text.rstrip()
    return f"{words} ({_address(url)}){text[len(words) :]}" if is_new and words else text


def _address(url: str) -> str:
    """What a reader calls the address: the mailbox of `mailto:`, the number of `tel:`."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "mailto":
        return unquote(rest.partition("?")[0])
    return rest if scheme.lower() in ("tel", "sms") else url


def _bare(address: str) -> str:
    return _SCHEME.sub("", address).rstrip("/").lower()
