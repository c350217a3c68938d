"""One message for each recipient, where each has to go a way of its own from here on.

The first recipient keeps the message and its id. The others get messages with
ids made from it and from their address, so that whoever does it again after a
crash makes the same ones. They are on disk before the first message loses
them; until then each names its `origin` and stands back for it. So at any
moment of a crash each recipient is in one message that goes out.

Public: `derived_id`, `split`, `double`, `stands_back`. What can go wrong: what the store raises; the message
is then as it was.
"""

from __future__ import annotations

import hashlib
from typing import Final

from attrs import evolve

from kumotwist.core.course import Course
from kumotwist.core.errors import KumotwistError
from kumotwist.core.ids import SpoolId
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.message import FALLBACK_OF, SPLIT_FROM, Message

#: Octets of an id that tell the time of acceptance, which the parts of a message share (RFC 9562 s5.1).
_STAMP: Final = 8


def derived_id(origin: SpoolId, recipient: str, number: int) -> SpoolId:
    """The id of the message to the recipient at position `number` of the message `origin`."""
    digest = bytearray(hashlib.blake2b(origin + f"{number} {recipient}".encode(), digest_size=16 - _STAMP).digest())
    # The variant of RFC 9562 s4.1 and the multicast bit of s6.10: as of any id of ours, and of no network card.
    digest[0] = digest[0] & 0x3F | 0x80
    digest[2] |= 0x01
    return SpoolId(origin[:_STAMP] + bytes(digest))


async def split(store: MessageStore, message: Message, course: Course) -> list[Message]:
    """Leave `message` its first recipient; the messages to the others, saved, which are to be queued.

    `course` is what all of them begin with. Raises what `store.save` raises.
    """
    recipients, before = message.recipients, message.course
    body = message.body if message.body is not None else await store.load_body(message)
    others = [
        Message(
            id=derived_id(message.id, one.email, number),
            sender=message.sender,
            recipients=(one,),
            meta={**message.meta, SPLIT_FROM: message.id.hex()},
            body=body,
            due=message.due,
            schedule=message.schedule,
            has_dots=message.has_dots,
            course=evolve(course, origin=message.id),
        )
        for number, one in enumerate(recipients[1:], 1)
    ]
    # Those that are there are from before a crash and are looked after already.
    there = await store.load([one.id for one in others])
    fresh = [one for one, old in zip(others, there, strict=True) if old is None]
    message.set_recipients(recipients[:1])
    message.set_meta(SPLIT_FROM, message.id.hex())
    message.set_course(course)
    try:
        await store.save((*fresh, message))
    except KumotwistError:
        # When cancelled it may be done: then the process ends, and its successor finds out.
        message.set_recipients(recipients)
        message.set_course(before)
        for one in fresh:
            store.remove(one.id)
        raise
    return fresh


async def double(store: MessageStore, message: Message, course: Course) -> Message:
    """Another message of the same content, on `course`; whoever makes it again after a crash makes the same one.

    It is not saved. Raises what the store raises.
    """
    body = message.body if message.body is not None else await store.load_body(message)
    return Message(
        id=derived_id(message.id, course.at, 0),
        sender=message.sender,
        recipients=message.recipients,
        meta={**message.meta, FALLBACK_OF: message.id.hex()},
        body=body,
        due=message.due,
        attempts=message.attempts,
        schedule=message.schedule,
        has_dots=message.has_dots,
        course=course,
        kept=message.kept,
    )


async def stands_back(store: MessageStore, message: Message) -> bool:
    """Whether the message that this one was split from still has its recipient, after a crash in between.

    Asked without a pause between the answer and what is done about it: the other may be split anew at any time.
    """
    course = message.course
    if course is None or course.origin is None or course.stage is not None:
        return False
    (origin,) = await store.load((course.origin,))
    return origin is not None and len(origin.recipients) > 1
