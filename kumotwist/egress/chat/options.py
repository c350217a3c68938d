"""The options that channels for chats have.

Public: `ChatOptions`, `HookOptions`. A service's options class derives from one of them.
"""

from __future__ import annotations

from typing import ClassVar

from kumotwist.config.keysource import KeySource
from kumotwist.config.option import option, options
from kumotwist.config.translate import ChatWordsOptions
from kumotwist.egress.api.options import ApiOptions
from kumotwist.proto.translate.whom import AddressedBy


@options
class ChatOptions(ApiOptions):
    """How a message becomes a chat message."""

    addressed_by: ClassVar[AddressedBy] = "chat"

    text: ChatWordsOptions = option(
        "Which words of the message are sent, as a table; `docs/translation.md`.", factory=ChatWordsOptions
    )
    to_meta: str | None = option("Meta key that names the chat; goes before all else.", default=None)
    to_header: str | None = option("Header that names the chat; goes before meta `to.chat`.", default=None)

    @property
    def has_one_place(self) -> bool:
        """Whether all goes to one place, whatever messages say."""
        return False

    @property
    def default_chat(self) -> str | None:
        """Where goes what names no chat."""
        return None


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

    @property
    def has_one_place(self) -> bool:
        """Whether the operator's URL is the only one."""
        return self.webhook is not None
