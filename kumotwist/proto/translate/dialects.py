"""How chat services mark text up, and what must be escaped in each.

Slack: docs "Formatting text for app surfaces" (mrkdwn). Discord: its Markdown.
Telegram: Bot API, MarkdownV2. Teams: the Markdown of Adaptive Cards. Public:
`Markup`, `MARKUPS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from kumotwist.config.translate import Dialect
from kumotwist.proto.translate.shorten import utf16

_LINK_IN_TEXT: Final = re.compile(r"https?://\S+", re.IGNORECASE)


@frozen
class Markup:
    """A service's ways of saying bold, italic, code and link, each given escaped text.

    `bold`, `italic` and `code` are what stands on both sides, "" where there is nothing;
    `link` is given words and URL; `quote` stands before a quoted line. `limit` is the most
    that one message holds, as `utf16` counts.
    """

    escape: Callable[[str], str]
    link: Callable[[str, str], str]
    limit: int
    bold: str = ""
    italic: str = ""
    code: str = ""
    quote: str = "> "
    newline: str = "\n"
    size: Callable[[str], int] = utf16


def _as_it_is(text: str) -> str:
    return text


def _escaper(characters: str) -> Callable[[str], str]:
    """Puts a backslash before each of `characters`."""
    pattern = re.compile(f"([{re.escape(characters)}])")

    def escape(text: str) -> str:
        return pattern.sub(r"\\\1", text)

    return escape


def _but_links(escape: Callable[[str], str]) -> Callable[[str], str]:
    """`escape` for all but bare links: there a backslash would become part of the address."""

    def escaped(text: str) -> str:
        pieces, position = [], 0
        for match in _LINK_IN_TEXT.finditer(text):
            pieces += [escape(text[position : match.start()]), match[0]]
            position = match.end()
        return "".join([*pieces, escape(text[position:])])

    return escaped


def _plain_link(words: str, url: str) -> str:
    return f"{words} ({url})"


def _slack_escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack_link(words: str, url: str) -> str:
    address = _slack_escape(url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E"))
    return f"<{address}|{words}>"


def _bracketed(words: str, url: str) -> str:
    address = url.replace("(", "%28").replace(")", "%29").replace("\\", "%5C").replace("<", "%3C").replace(">", "%3E")
    return f"[{words}]({address})"


def _telegram_link(words: str, url: str) -> str:
    return f"[{words}]({_TELEGRAM_URL(url)})"


_TELEGRAM_URL: Final = _escaper(")\\")

MARKUPS: Final[Mapping[Dialect, Markup]] = {
    # The widest of the others: whoever asks for plain text knows the limit of where it goes.
    "plain": Markup(_as_it_is, _plain_link, 40_000),
    # chat.postMessage: "text … should be no more than 4,000 characters"; longer is cut at 40,000.
    "slack": Markup(_slack_escape, _slack_link, 4_000, bold="*", italic="_", code="`"),
    # Create Message: content, up to 2,000 characters.
    "discord": Markup(_but_links(_escaper("\\`*_~|<>[]#")), _bracketed, 2_000, bold="**", italic="*", code="`"),
    # sendMessage: 1-4096 characters after entities parsing; ours counts the marks as well.
    "telegram": Markup(
        _escaper("\\_*[]()~`>#+-=|{}.!"), _telegram_link, 4_096, bold="*", italic="_", code="`", quote=">"
    ),
    # Incoming messages have 28 KB all told; three octets to a character leave room for the card around it.
    "teams": Markup(_but_links(_escaper("\\`*_[]#")), _bracketed, 8_000, bold="**", italic="_", newline="\n\n"),
}
