"""What taking a message apart may cost: the closed list, and what cannot be taken apart at all.

Channels that speak JSON build from parts, so what a part list cannot say is
lost. Every loss is one of `LossKind`; the log and the documentation name them
by their value.

Public: `LossKind`, `Loss`, `NotRepresentable`, `in_words`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen


class LossKind(Enum):
    """Every kind of loss there is; the value is the name that operators see."""

    NESTING = "nesting"
    TEXTS_JOINED = "texts_joined"
    TEXT_KIND = "text_kind"
    ALTERNATIVE = "alternative"
    AMP = "amp"
    CALENDAR = "calendar"
    REPORT = "report"
    INLINE = "inline"
    FILE_NAME = "file_name"
    HEADER_8BIT = "header_8bit"
    HEADER_AGAIN = "header_again"
    ADDRESS = "address"
    CHARSET_UNKNOWN = "charset_unknown"
    CHARSET_WRONG = "charset_wrong"
    ENCODING = "encoding"
    DAMAGED = "damaged"

    @property
    def meaning(self) -> str:
        """What happened, in the operator's words."""
        return _MEANINGS[self]


_MEANINGS = {
    LossKind.NESTING: "multiparts within each other were laid flat",
    LossKind.TEXTS_JOINED: "texts with parts between them were joined into one",
    LossKind.TEXT_KIND: "a text of another kind went out as plain text",
    LossKind.ALTERNATIVE: "an alternative besides plain text and HTML was left out",
    LossKind.AMP: "the AMP alternative was left out",
    LossKind.CALENDAR: "an invitation became an attachment",
    LossKind.REPORT: "a delivery or disposition report became text and attachments",
    LossKind.INLINE: "a part meant to be shown in place became an attachment",
    LossKind.FILE_NAME: "an attachment without a name was given one",
    LossKind.HEADER_8BIT: "a header in an unknown 8-bit charset was guessed at",
    LossKind.HEADER_AGAIN: "of a header that stands there several times only the first went along",
    LossKind.ADDRESS: "an entry of an address header that is no address was left out",
    LossKind.CHARSET_UNKNOWN: "the charset of a text is unknown and was guessed at",
    LossKind.CHARSET_WRONG: "a text has octets that its charset does not have",
    LossKind.ENCODING: "a body is not in the transfer encoding that it names",
    LossKind.DAMAGED: "a multipart lacks its boundary or its end",
}


@frozen
class Loss:
    """One loss; `where` is the part's number and type, or the name of a header."""

    kind: LossKind
    where: str

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.where})"


@frozen
class NotRepresentable:
    """The message would no longer be what it is: refuse it for good on this channel.

    `reason` is a sentence for the log, without anything of the message's content.
    """

    reason: str


def in_words(losses: Sequence[Loss]) -> str:
    """`calendar (1.3 text/calendar), address (to)`: one line for a log."""
    return ", ".join(str(loss) for loss in losses)
