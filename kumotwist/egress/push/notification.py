"""A message as a notification: whom it is for, title, text, the application's own data.

The address stands in meta: where the channel's `to_meta` says, else in `to`,
where the send API puts it. The application's data stands in meta `data`. What
a single message wants otherwise than the channel's options stands in meta
`push`.

Public: `Notification`, `notification_of`, `device_token`, `web_push`, `wishes`, `fitted`, `expiry_of`. What
can go wrong: ValueError, which costs this message alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.proto.mime.losses import NotRepresentable
from kumotwist.proto.mime.parts import decompose

#: Characters of a device token: FCM's have some 160, APNs's 64 to 200 in hexadecimal. Ours.
MAX_TOKEN: Final = 4096
#: How far back a cut looks for the end of a word. Ours.
_WORD: Final = 24
_CUT: Final = "\u2026"
#: What sticks to the character before it besides combining marks: joiners, variation selectors and skin tones.
_JOINED: Final = frozenset((0x200D, *range(0xFE00, 0xFE10), *range(0x1F3FB, 0x1F400)))


@frozen
class Notification:
    """What the user sees and what the application gets."""

    title: str
    body: str
    data: JsonObject


def notification_of(message: Message) -> Notification:
    """Subject, text and data of a message."""
    parts = decompose(message.body or b"")
    if isinstance(parts, NotRepresentable):
        raise ValueError(f"not representable: {parts.reason}")
    data = message.meta.get("data", {})
    if not isinstance(data, dict):
        raise ValueError("meta data is not a JSON object")
    return Notification(parts.subject.strip(), parts.text.strip(), data)


def device_token(message: Message, to_meta: str | None) -> str:
    """The token of the device that the message is for."""
    token = _address(message, to_meta, "device_token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise ValueError("there is no device token in meta: `to` wants { device_token = ... }")
    return token


def web_push(message: Message, to_meta: str | None) -> Json:
    """The subscription of the browser that the message is for, not yet looked at."""
    return _address(message, to_meta, "web_push")


def _address(message: Message, to_meta: str | None, kind: str) -> Json:
    value = message.meta.get(to_meta if to_meta is not None else "to")
    return value.get(kind, value) if isinstance(value, dict) else value


def wishes(message: Message, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """What meta `push` asks for, by the names of options; `known` has the type of each that it may name."""
    wanted = message.meta.get("push", {})
    if not isinstance(wanted, dict):
        raise ValueError("meta push is not a JSON object")
    for name, value in wanted.items():
        kinds = known.get(name)
        if kinds is None:
            raise ValueError(f"meta push: {name!r} cannot be chosen for one message; these can: {', '.join(known)}")
        # True is an int to Python.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ValueError(f"meta push: {name} has a value of the wrong type")
    return dict(wanted)


def expiry_of(message: Message, ttl: float | None) -> float | None:
    """Unix seconds after which nobody wants it any more; None when that is nowhere said."""
    expires = message.schedule.expires if message.schedule is not None else None
    if ttl is None:
        return expires
    by_age = message.created + ttl
    return by_age if expires is None else min(expires, by_age)


def fitted(make: Callable[[str], bytes], text: str, limit: int) -> bytes:
    """`make(text)`, with the text cut as little as `limit` octets ask for. Raises ValueError when nothing helps."""
    whole = make(text)
    if len(whole) <= limit:
        return whole
    least = len(make(""))
    if least > limit:
        raise ValueError(f"{least} octets without any text are more than the {limit} that fit into a push")
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(make(text[:middle] + _CUT)) <= limit else (low, middle - 1)
    return make(_clipped(text, low))


def _clipped(text: str, length: int) -> str:
    """`text` cut to at most `length` characters and a mark, at a word's end if one is near."""
    while length > 0 and _sticks(text[length]):
        length -= 1
    if length == 0:
        return ""
    space = max(
        text.rfind(" ", max(length - _WORD, 0), length + 1), text.rfind("\n", max(length - _WORD, 0), length + 1)
    )
    return text[: space if space > 0 else length].rstrip() + _CUT


def _sticks(character: str) -> bool:
    """Whether a cut in front of it would tear a character apart."""
    return unicodedata.combining(character) > 0 or ord(character) in _JOINED
