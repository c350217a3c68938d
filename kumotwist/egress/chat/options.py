"""The options that channels for chats have.

Public: `ChatOptions`, `HookOptions`. A service's options class derives from one of them.
"""

from __future__ import annotations

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.config.translate import ChatWordsOptions
from kumotwist.egress.api.options import ApiOptions


@options
class ChatOptions(ApiOptions):
    """How a message becomes a chat message."""

    text: ChatWordsOptions = option(
        "Which words of the message are sent, as a table; `docs/translation.md`.", factory=ChatWordsOptions
    )
    to_meta: str | None = option("Meta key that names the chat; goes before all else.", default=None)
    to_header: str | None = option("Header that names the chat; goes before meta `to.chat`.", default=None)


@options
class HookOptions(ChatOptions):
    """The same for services that give out a URL to post to."""

    webhook: KeySource | None = option(
        "The URL to post to, or what of it stands behind `base_url`; none: each message names its own.",
        default=None,
        secret=True,
    )
    allow_private_addresses: bool = option(
        "Let URLs that messages name reach addresses that are not on the public Internet.", default=False
    )
