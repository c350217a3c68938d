"""Options of turning a message into an SMS, a notification or a chat message.

The same classes are arguments of `message:as_sms`, `as_push` and `as_chat` and
stand as `text` among the options of channels. Public: `SmsTextOptions`,
`SmsWordsOptions`, `PushTextOptions`, `ChatWordsOptions`,
`ChatTextOptions`, `TextOptions`, `Dialect`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from kumotwist.config.bounds import between
from kumotwist.config.option import option, options

#: Whose markup a chat message is written in.
Dialect: TypeAlias = Literal["plain", "slack", "discord", "telegram", "teams"]


@options
class TextOptions:
    """What of a message's body is taken."""

    prefer: Literal["text", "html"] = option(
        "Which of the two texts of a message to read when it has both.", default="text"
    )
    keep_quotes: bool = option("Keep what a reply quotes.", default=False)
    keep_signature: bool = option("Keep the signature.", default=False)
    urls: bool = option("Write the address of a link behind its words, where they do not show it.", default=True)


@options
class SmsWordsOptions(TextOptions):
    """Which words an SMS has."""

    subject: Literal["leave_out", "prefix", "only"] = option(
        "What becomes of the subject. A message without text sends it in any case.", default="leave_out"
    )


@options
class SmsTextOptions(SmsWordsOptions):
    """The text of an SMS."""

    max_segments: int = option(
        "The most messages it may take; what is longer is cut at a word, never within a link.",
        default=3,
        unit="segments",
        validator=between(1, 255),
    )
    transliterate: bool = option(
        "Write look-alikes for characters outside the GSM alphabet where that avoids UCS-2.", default=False
    )


@options
class PushTextOptions(TextOptions):
    """Title, body and data of a notification."""

    title: str | None = option("The title; none: the subject, else the sender's name.", default=None)
    max_title: int = option("Longer titles are cut at a word.", default=150, unit="octets", validator=between(1, 4096))
    max_body: int = option("Longer bodies are cut at a word.", default=1000, unit="octets", validator=between(1, 4096))
    preheader: bool = option(
        "Take the hidden preview text of an HTML message for the body, if it has one.", default=False
    )
    data_meta: str = option("The metadata key whose object is sent along as data.", default="data")


@options
class ChatWordsOptions(TextOptions):
    """Which words a chat message has."""

    prefer: Literal["text", "html"] = option(
        "Which of the two texts of a message to read when it has both; HTML brings bold, italics and links along.",
        default="html",
    )
    subject: bool = option("Begin with the subject, in bold.", default=True)
    max_characters: int | None = option(
        "Longer texts are cut; none: what the service takes.",
        default=None,
        unit="characters",
        validator=between(1, 40_000),
    )


@options
class ChatTextOptions(ChatWordsOptions):
    """A chat message."""

    dialect: Dialect = option("Whose markup to write.", default="plain")
