"""Translating methods of the message facade: the text of a message for handsets, notifications and chats.

Public: `TEXT_METHODS`, named as Lua calls them; `lua.message` makes methods of
them. Each reads the message and changes nothing. What can go wrong: ConfigError
for a wrong option; ValueError for a message without readable text.
"""

from __future__ import annotations

from typing import Final, TypeVar

from kumotwist.config.structure import structure
from kumotwist.config.translate import ChatTextOptions, PushTextOptions, SmsTextOptions
from kumotwist.core.json import JsonObject
from kumotwist.core.message import Message
from kumotwist.lua.messageheaders import BodyMethod
from kumotwist.proto.translate import body as bodies
from kumotwist.proto.translate import chat, push, sms

T = TypeVar("T")


def as_sms(_: Message, body: bytes, options: object = None) -> JsonObject:
    """Its text as an SMS: `{ text, segments, coding }`, coding `gsm` or `ucs2`."""
    made = sms.as_sms(bodies.read(body), _options(SmsTextOptions, options, "as_sms"))
    return {"text": made.text, "segments": made.segments, "coding": made.coding.value}


def as_push(message: Message, body: bytes, options: object = None) -> JsonObject:
    """It as a notification: `{ title, body, data }`."""
    made = push.as_push(bodies.read(body), message.meta, _options(PushTextOptions, options, "as_push"))
    return {"title": made.title, "body": made.body, "data": made.data}


def as_chat(_: Message, body: bytes, options: object = None) -> JsonObject:
    """Its text as a chat message in the markup of a service: `{ text }`."""
    return {"text": chat.as_chat(bodies.read(body), _options(ChatTextOptions, options, "as_chat"))}


def _options(cls: type[T], given: object, method: str) -> T:
    return structure(cls, {} if given is None else given, f"message:{method}")


TEXT_METHODS: Final[tuple[BodyMethod, ...]] = (as_sms, as_push, as_chat)
