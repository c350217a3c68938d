"""How a message's envelope and state are written in the spool.

One record is a msgpack array that begins with its version; the body is stored
beside it as it is, so that a change of meta never rewrites the body.

Public: `encode`, `decode`. What can go wrong: meta that is not JSON cannot be
written (`PolicyError`: the policy put it there); bytes that are no record
cannot be read (`SpoolCorrupt`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.course import MAX_TEXT, Course, Failure
from kumotwist.core.errors import PolicyError, SpoolCorrupt
from kumotwist.core.ids import SpoolId
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule
from kumotwist.core.way import Kept

#: Version of the record; a reader refuses what it does not know.
VERSION: Final = 1


class _Stored(msgspec.Struct, array_like=True):
    """The record. Fields may be added at the end, with a default; VERSION grows when a meaning changes."""

    version: int
    sender: tuple[str, str]
    recipients: list[tuple[str, str]]
    due: float
    attempts: int
    schedule: dict[str, object] | None
    meta: dict[str, object]
    course: _Course | None = None
    kept: tuple[str, list[str], float] | None = None


class _Course(msgspec.Struct, array_like=True):
    """A `Course` as it is kept; fields are added as above."""

    table: str
    stage: str | None
    since: float
    deadline: float | None
    until: str
    is_handed_over: bool
    failure: tuple[str, str] | None
    origin: bytes | None
    is_released: bool = False
    beside: list[bytes] = []
    passed: list[str] = []
    was_handed_over: bool = False


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


def encode(message: Message) -> bytes:
    """The record of `message` as it is now. Raises PolicyError when its meta is not JSON."""
    sender = message.sender
    schedule = message.schedule
    stored = (
        VERSION,
        (sender.user, sender.domain),
        [(one.user, one.domain) for one in message.recipients],
        message.due,
        message.attempts,
        schedule.to_json() if schedule is not None else None,
        message.meta,
    )
    try:
        if message.course is None and message.kept is None:
            return _encoder.encode(stored)
        course = _stored(message.course) if message.course is not None else None
        kept = message.kept
        return _encoder.encode((*stored, course, (kept.table, kept.routes, kept.share) if kept is not None else None))
    except (TypeError, ValueError, OverflowError) as error:
        raise PolicyError(f"the metadata of message {message.id.hex()} cannot be stored: {error}") from error


def decode(spool_id: SpoolId, record: bytes) -> Message:
    """The message of `record`, clean and without its body. Raises SpoolCorrupt."""
    try:
        stored = _decoder.decode(record)
        if stored.version != VERSION:
            raise ValueError(f"record version {stored.version} is not known here")
        schedule: dict[str, Json] | None = stored.schedule  # type: ignore[assignment]  # JSON as it was written
        meta: JsonObject = stored.meta  # type: ignore[assignment]  # the same
        return Message(
            spool_id,
            EnvelopeAddress(*stored.sender),
            tuple([EnvelopeAddress(user, domain) for user, domain in stored.recipients]),
            meta,
            None,
            stored.due,
            stored.attempts,
            Schedule.parse(schedule) if schedule else None,
            is_meta_dirty=False,
            is_body_dirty=False,
            course=_found(stored.course) if stored.course is not None else None,
            kept=_waits_for(*stored.kept) if stored.kept is not None else None,
        )
    except (msgspec.MsgspecError, ValueError, UnicodeError) as error:
        raise SpoolCorrupt(f"message {spool_id.hex()}: {error}") from error


def _stored(course: Course) -> _Course:
    failure = course.failure
    return _Course(
        course.table,
        course.stage,
        course.since,
        course.deadline,
        course.until,
        course.is_handed_over,
        (failure.reason, failure.text[:MAX_TEXT]) if failure is not None else None,
        course.origin,
        course.is_released,
        list(course.beside),
        list(course.passed),
        course.was_handed_over,
    )


def _waits_for(table: str, routes: list[str], share: float) -> Kept:
    if not routes:
        raise ValueError("it waits for room on no route")
    return Kept(table, tuple(routes), share)


def _found(kept: _Course) -> Course:
    return Course(
        table=kept.table,
        stage=kept.stage,
        since=kept.since,
        deadline=kept.deadline,
        until=kept.until,
        is_handed_over=kept.is_handed_over,
        failure=Failure(*kept.failure) if kept.failure is not None else None,
        origin=SpoolId(kept.origin) if kept.origin is not None else None,
        is_released=kept.is_released,
        beside=tuple([SpoolId(one) for one in kept.beside]),
        passed=tuple(kept.passed),
        was_handed_over=kept.was_handed_over,
    )
