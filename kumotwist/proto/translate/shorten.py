"""Texts cut to a size where a reader would cut them.

Between words if that costs little, never within a character as readers see it
(a letter and its accent, a flag) nor within a link. Public: `shorten`,
`octets`, `utf16`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import regex

_CLUSTER: Final = regex.compile(r"\X")
_LINK: Final = regex.compile(r"(?:https?://|www\.)\S+", regex.IGNORECASE)
_LAST_WORD: Final = regex.compile(r"\s+\S*\Z")


def octets(text: str) -> int:
    """The length of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def utf16(text: str) -> int:
    """The length of `text` in UTF-16 code units, as JavaScript and Telegram count."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def shorten(text: str, limit: int, size: Callable[[str], int], ellipsis: str = "…") -> str:
    """As much of `text` as has `size` up to `limit`, with `ellipsis` behind it when that is not all.

    A `limit` below the ellipsis' own size gives "".
    """
    if size(text) <= limit:
        return text
    room = limit - size(ellipsis)
    if room < 0:
        return ""
    head = _head(text, room, size)
    return _at_word(head, text).rstrip() + ellipsis


def _head(text: str, room: int, size: Callable[[str], int]) -> str:
    """The longest start of `text` that fits, in whole clusters."""
    end = used = 0
    for match in _CLUSTER.finditer(text):
        used += size(match[0])
        if used > room:
            break
        end = match.end()
    return text[:end]


def _at_word(head: str, text: str) -> str:
    """`head` of `text` without the link or the word that it ends in the middle of."""
    for match in _LINK.finditer(text):
        if match.start() < len(head) < match.end():
            return head[: match.start()].rstrip("([<")
        if match.start() >= len(head):
            break
    if text[len(head) : len(head) + 1].isspace():
        return head
    word = _LAST_WORD.search(head)
    # Languages without spaces have words as long as the text: then the cut stays where it is. A quarter is ours.
    return head[: word.start()] if word is not None and word.start() > len(head) * 3 // 4 else head
