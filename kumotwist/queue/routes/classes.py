"""What messages are told apart by: the class they are learned in, and the key that keeps them on a route.

Public: `class_of`, `stands_in_header`, `domain_of`, `sticky_key`, `shown_name`, `MAX_NAME`. What is missing is the
class of all. What has to be looked up or asked of policy is found by `queue.classes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.message import Message
from kumotwist.proto.phone import carrier, number_of, region
from kumotwist.proto.translate.whom import needs_body, whom_of
from kumotwist.queue.routes.mailboxes import provider_of_domain

#: Characters of a class or key that count; both may come from clients. Ours: a domain has 255 (RFC 1035 s2.3.4).
MAX_NAME = 255

_BY_NUMBER: Final[Mapping[object, Callable[[str], str]]] = {"country": region, "carrier": carrier}


def shown_name(name: str) -> str:
    """A class as metrics and logs name it: that of all is `all`, and one of that name has quotes around it."""
    return f'"{name}"' if name.strip('"') == "all" else name or "all"


def class_of(config: RouteTableConfig, message: Message) -> str | None:
    """The class of a message, "" when it has none; None when the message alone does not tell."""
    by = config.class_
    if by == "all":
        return ""
    if by == "domain":
        return domain_of(message)
    if by == "mailbox_provider":
        domain = domain_of(message)
        return provider_of_domain(domain) if domain else ""
    if by in _BY_NUMBER:
        number = _number(config, message)
        return _BY_NUMBER[by](number) if number else ""
    return _meta(message, by.removeprefix("meta:")) if isinstance(by, str) else None


def stands_in_header(config: RouteTableConfig, message: Message) -> bool:
    """Whether the class may stand in a header of the message, which is only in the spool."""
    return message.body is None and config.class_ in _BY_NUMBER and any(map(needs_body, _dialling(config)))


def _number(config: RouteTableConfig, message: Message) -> str:
    """That of the first recipient, as the first route that dials it finds it; else one in the envelope."""
    if not message.recipients:
        return ""
    recipient = message.recipients[0]
    found = (whom_of(message, recipient, options).number for options in _dialling(config))
    return next(filter(None, found), "") or number_of(recipient.email)


def _dialling(config: RouteTableConfig) -> Iterator[object]:
    """The options of its routes to phones."""
    return (route.protocol for route in config.routes if getattr(route.protocol, "addressed_by", "") == "phone")


def domain_of(message: Message) -> str:
    """The domain of the first recipient, "" without one."""
    return message.recipients[0].domain.lower()[:MAX_NAME] if message.recipients else ""


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
