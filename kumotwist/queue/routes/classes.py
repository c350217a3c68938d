"""What messages are told apart by: the class they are learned in, and the key that keeps them on a route.

Public: `class_of`, `sticky_key`. What is missing is the class of all.
"""

from __future__ import annotations

from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.message import Message

#: Characters of a class or key that count; both may come from clients. Ours: a domain has 255 (RFC 1035 s2.3.4).
MAX_NAME = 255


def class_of(config: RouteTableConfig, message: Message) -> str:
    """The class of a message, "" when it has none."""
    by = config.class_
    if by == "all":
        return ""
    if by == "domain":
        return message.recipients[0].domain.lower()[:MAX_NAME] if message.recipients else ""
    return _meta(message, by.removeprefix("meta:"))


def sticky_key(config: RouteTableConfig, message: Message) -> str | None:
    """What keeps a message on its route; None when nothing does."""
    by = config.sticky_by
    if by is None:
        return None
    if by == "recipient":
        return message.recipients[0].email.lower()[:MAX_NAME] if message.recipients else None
    if by == "sender":
        return message.sender.email.lower()[:MAX_NAME]
    return _meta(message, by.removeprefix("meta:")) or None


def _meta(message: Message, name: str) -> str:
    value = message.meta.get(name)
    return value[:MAX_NAME] if isinstance(value, str) else ""
