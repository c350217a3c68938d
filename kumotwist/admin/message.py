"""`GET /api/admin/message/v1?id=`: the whole story of one message so far.

What lives stands in the spool of one of the workers, what happened in the
local logs, what was handed over and came back in the ledger. Whichever worker
is asked puts it together.

Public: `routes`, `Sources`, `Story`, `describe`. What can go wrong: 400 for an id that is none, 404
for a message that nobody knows, 503 when too many ask at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from attrs import frozen

from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.core.ids import SpoolId, created_at, from_hex
from kumotwist.core.json import Json, JsonObject
from kumotwist.core.message import Message
from kumotwist.net.operation import Operation, Parameter, json_answer, text_answer
from kumotwist.net.router import HttpError, HttpRequest, Reply, Route, json_reply
from kumotwist.records.search import Found

PATH: Final = "/api/admin/message/v1"


class Story(msgspec.Struct):
    """A message's story; times in Unix seconds.

    `state` is "queued" while a worker has it, "finished" when the logs or the
    ledger know it. `records` are log records, oldest first; `is_complete` is
    false when the logs were too much to read. `parts` of a hand-over are the
    ends of a long SMS's parts, null while one is not known. `fallback` of `live`
    tells on which stage it is, since when, whether it has been handed over, and
    when the next stage is due unless `until_state` is reached.
    """

    id: str
    created: float
    state: Literal["queued", "finished"]
    live: dict[str, Any] | None
    records: list[dict[str, Any]]
    handovers: list[dict[str, Any]]
    receipts: list[dict[str, Any]]
    is_complete: bool


_OPERATION: Final = Operation(
    name="message",
    tag="operation",
    summary="The whole story of one message so far.",
    text="Where it is, every log record about it, what was handed over to a provider and what came back.",
    parameters=(
        Parameter(name="id", place="query", text="The message's id: 32 hex digits.", is_required=True, max_length=36),
    ),
    answers={
        200: json_answer("The story.", Story),
        400: text_answer("No id, or what is none."),
        404: text_answer("Nobody knows it: it never was, or it is forgotten."),
        503: text_answer("Too many ask at once.", {"Retry-After": "Seconds to wait."}),
    },
)


@frozen(kw_only=True)
class Sources:
    """Where the pieces come from."""

    #: What the workers have of it, as `describe` says it.
    live: Callable[[SpoolId], Awaitable[Sequence[JsonObject]]]
    #: The log records about it. Raises Overload.
    records: Callable[[SpoolId], Awaitable[Found]]
    #: Hand-overs and receipts. Raises StateUnavailable, Overload.
    ledger: Callable[[SpoolId], Awaitable[tuple[list[Json], list[Json]]]]


def describe(message: Message) -> JsonObject:
    """What is shown of a message that is still in the spool; its body is nobody's business here."""
    shown: JsonObject = {
        "sender": message.sender.email,
        "recipients": [one.email for one in message.recipients],
        "queue": _queue_of(message),
        "attempts": message.attempts,
        "due": message.due,
        "meta": message.meta,
    }
    if message.course is not None:
        shown["fallback"] = message.course.to_json()
    return shown


def routes(sources: Sources) -> tuple[Route, ...]:
    """The one route."""

    async def tell(request: HttpRequest) -> Reply:
        spool_id = _asked_for(request)
        try:
            return json_reply(await _story(sources, spool_id))
        except (Overload, StateUnavailable) as error:
            raise HttpError(503, f"Error: {error}", {"Retry-After": "5"}) from None

    return (Route("GET", PATH, tell, _OPERATION),)


async def _story(sources: Sources, spool_id: SpoolId) -> Story:
    # The logs last: what happens while we ask is in them, and a message that ends meanwhile is not lost from sight.
    live = await sources.live(spool_id)
    handovers, receipts = await sources.ledger(spool_id)
    found = await sources.records(spool_id)
    if not live and not handovers and not receipts and not found.records:
        raise HttpError(404, f"Error: there is no message {spool_id.hex()}")
    return Story(
        spool_id.hex(),
        created_at(spool_id),
        "queued" if live else "finished",
        live[0] if live else None,
        list[Any](found.records),
        list[Any](handovers),
        list[Any](receipts),
        found.is_complete,
    )


def _asked_for(request: HttpRequest) -> SpoolId:
    written = request.query().get("id", "")
    try:
        return from_hex(written)
    except ValueError:
        raise HttpError(400, "Error: ask with ?id= and the 32 hex digits of a message's id") from None


def _queue_of(message: Message) -> str:
    try:
        return message.queue_name()
    except ValueError:
        return ""
