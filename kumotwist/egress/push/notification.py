"""A message as a notification: what it says, what it chooses for itself, how long it is wanted, how it fits.

What a single message wants otherwise than the channel's options stands in its
meta `push`, by the names of options.

Public: `notification_of`, `wishes`, `expiry_of`, `fitted`. What can go wrong:
ValueError, which costs this message alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from kumotwist.config.translate import PushTextOptions
from kumotwist.core.message import Message
from kumotwist.proto.translate import body as bodies
from kumotwist.proto.translate.push import Notification, as_push
from kumotwist.proto.translate.shorten import octets, shorten


def notification_of(message: Message, text: PushTextOptions) -> Notification:
    """Title, body and data of a message, whose own body is in memory."""
    return as_push(bodies.read(message.body or b""), message.meta, text)


def wishes(message: Message, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """What meta `push` asks for, by the names of options; `known` has the type of each that it may name."""
    wanted = message.meta.get("push", {})
    if not isinstance(wanted, dict):
        raise ValueError("meta push is not an object")
    for name, value in wanted.items():
        kinds = known.get(name)
        if kinds is None:
            raise ValueError(f"meta push: {name!r} cannot be chosen for one message; these can: {', '.join(known)}")
        # True is an int to Python.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ValueError(f"meta push: {name} has a value of the wrong type")
    return dict(wanted)


def expiry_of(message: Message, ttl: float | None) -> float | None:
    """Unix seconds after which nobody wants it any more: the message's own expiry or `ttl`; None when neither is."""
    expires = message.expires if ttl is None else min(message.expires, message.created + ttl)
    return expires if expires < inf else None


def fitted(make: Callable[[str], bytes], text: str, limit: int) -> bytes:
    """`make(text)`, with the text cut as far as `limit` octets ask for. Raises ValueError when nothing helps."""
    made, room = make(text), octets(text)
    while len(made) > limit:
        if room == 0:
            raise ValueError(f"{len(made)} octets without any text are more than the {limit} that fit into a push")
        room = max(room - (len(made) - limit), 0)
        made = make(shorten(text, room, octets))
    return made
