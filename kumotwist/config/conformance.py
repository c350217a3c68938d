"""Options of repairing messages.

Public: `RepairOptions`.
"""

from __future__ import annotations

from kumotwist.config.option import option, options


@options
class RepairOptions:
    """How a message is repaired."""

    detect_encoding: bool = option(
        "Guess the charset of text that is not in the one it names, and is not UTF-8.", default=False
    )
    include_encodings: tuple[str, ...] = option("Guess among these charsets only; none: among all.", default=())
    exclude_encodings: tuple[str, ...] = option("Never guess one of these charsets.", default=())
    message_id: str | None = option(
        "The Message-ID, without brackets, of a message that has none; else it is made of the id of the message"
        " and the sender's domain.",
        default=None,
    )
