"""What a message that came back in a report says of itself, by which it is known again.

Public: `Origin`.
"""

from __future__ import annotations

from attrs import frozen

from kumotwist.core.ids import SpoolId


@frozen
class Origin:
    """`ids` are those that Received headers in our form name, the last hop's first; `message_id` is "" without one.

    `recipients` are whom our trace header names: they are ours to know, however a report spells or hides them.
    """

    ids: tuple[SpoolId, ...] = ()
    message_id: str = ""
    recipients: tuple[str, ...] = ()
