"""The message as policy sees it.

Public: `message_class`, the facade of `core.message.Message`. A body that is
not in memory is loaded first: the method then waits, which the policy does
not notice. What can go wrong: ValueError, which Lua sees as an error with file
and line; SpoolCorrupt when the body is gone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Final

from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.ids import to_hex
from kumotwist.core.interfaces import MessageStore
from kumotwist.core.json import Json
from kumotwist.core.message import Message
from kumotwist.core.schedule import Schedule, format_rfc3339, parse_rfc3339
from kumotwist.lua.address import address, addresses
from kumotwist.lua.binding import Function, binary, mapping, octets, text
from kumotwist.lua.convert import HostClass, json_value
from kumotwist.lua.lib.dkim import SIGNING_METHODS
from kumotwist.lua.messageconformance import CONFORMANCE_METHODS
from kumotwist.lua.messageheaders import BODY_METHODS, BodyMethod
from kumotwist.lua.messagereports import REPORT_METHODS
from kumotwist.lua.messagetexts import TEXT_METHODS


def get_meta(message: Message, key: object) -> Json:
    """The value of a metadata key, or nil."""
    return message.meta.get(key if isinstance(key, str) else text(key, "key"))


def set_meta(message: Message, key: object, value: object = None) -> None:
    """Set a metadata key to any value that JSON has."""
    name = key if isinstance(key, str) else text(key, "key")
    message.set_meta(name, value if isinstance(value, str) else json_value(value, f"meta '{name}'"))


def get_id(message: Message) -> str:
    """The spool id, 32 hex digits."""
    return to_hex(message.id)


def sender(message: Message) -> EnvelopeAddress:
    """The reverse path."""
    return message.sender


def recipient(message: Message) -> object:
    """The forward path; a list when there are several, nil when there is none."""
    recipients = message.recipients
    if len(recipients) == 1:
        return recipients[0]
    return list(recipients) or None


def recipient_list(message: Message) -> list[EnvelopeAddress]:
    """The forward paths, always as a list."""
    return list(message.recipients)


def set_sender(message: Message, value: object) -> None:
    """Replace the reverse path with an address or its text."""
    message.set_sender(address(value, "sender"))


def set_recipient(message: Message, value: object) -> None:
    """Replace the forward paths with an address, its text, or a list of them."""
    message.set_recipients(addresses(value, "recipient"))


def queue_name(message: Message) -> str:
    """The scheduled queue that the message belongs to."""
    return message.queue_name()


def num_attempts(message: Message) -> int:
    """How many delivery attempts have ended."""
    return message.attempts


def increment_num_attempts(message: Message) -> None:
    """Count one more attempt."""
    message.check_may_change()
    message.attempts += 1


@binary
def set_data(message: Message, data: object) -> None:
    """Replace the whole message."""
    message.set_body(octets(data, "data"))


def set_scheduling(message: Message, spec: object = None) -> Json:
    """Constrain when it may be attempted; nil lifts all constraints. What now holds, as a table."""
    if spec is None:
        message.set_schedule(None)
        return None
    given = mapping(json_value(spec, "the schedule"), "the schedule")
    schedule = Schedule.parse({key: json_value(value, key) for key, value in given.items()})
    message.set_schedule(schedule)
    return schedule.to_json()


def no_effect(message: Message, *_: object) -> None:
    """Accepted for KumoMTA's sake: messages are always synced, and leave memory when they wait."""


_PLAIN: Final[Mapping[str, Function]] = {
    "get_meta": get_meta,
    "id": get_id,
    "increment_num_attempts": increment_num_attempts,
    "num_attempts": num_attempts,
    "queue_name": queue_name,
    "recipient": recipient,
    "recipient_list": recipient_list,
    "sender": sender,
    "set_data": set_data,
    "set_force_sync": no_effect,
    "set_meta": set_meta,
    "set_recipient": set_recipient,
    "set_scheduling": set_scheduling,
    "set_sender": set_sender,
    "shrink": no_effect,
    "shrink_data": no_effect,
}


def message_class(store: MessageStore, now: Callable[[], float]) -> HostClass:
    """The facade; bodies are loaded from `store`, and `now` tells Unix seconds."""

    def set_due(message: Message, due: object = None) -> str | None:
        """Set when it is to be attempted, an RFC 3339 text; nil is now. The time that its schedule allows."""
        message.check_may_change()
        wanted = now() if due is None else parse_rfc3339(text(due, "due"))
        message.due = message.schedule.next_allowed(wanted) if message.schedule else wanted
        message.is_meta_dirty = True
        return format_rfc3339(message.due)

    async def save(message: Message) -> None:
        """Write it to the spool and wait until it is on disk."""
        message.check_may_change()
        await store.save([message])

    methods: dict[str, Function] = {**_PLAIN, "set_due": set_due, "save": save}
    methods.update(
        (method.__name__, _with_body(method, store))
        for method in (*BODY_METHODS, *SIGNING_METHODS, *TEXT_METHODS, *REPORT_METHODS, *CONFORMANCE_METHODS)
    )
    return HostClass("message", methods, fields={}, meta={})


def _with_body(method: BodyMethod, store: MessageStore) -> Function:
    """`method(message, ...)` from one that takes the body as well."""

    @wraps(method)
    def called(message: Message, *arguments: object) -> object:
        body = message.body
        if body is None:
            return later(message, arguments)
        return method(message, body, *arguments)

    signature = inspect.signature(method)
    parameters = [one for name, one in signature.parameters.items() if name != "body"]
    most = len(parameters) - 1

    async def later(message: Message, arguments: tuple[object, ...]) -> object:
        return method(message, await store.load_body(message), *arguments[:most])

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # for usage errors
    return called
