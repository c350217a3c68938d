"""`POST /api/admin/explain/v1`: what would become of a message, with the shares and health as they are now.

The message is made, shown to policy and followed, or is one in the queue of which the id is given; nothing is
stored, queued or sent. What the worker that is asked knows is what is told: shares are shared by
all, places in a queue are not.

Public: `routes`, `Question`. What can go wrong: 422 for a question that is none, 404 for an id that no
worker has in its queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from kumotwist.admin import asked, message
from kumotwist.admin.explanation import Told
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import ConfigError
from kumotwist.core.ids import SpoolId, from_hex
from kumotwist.net.operation import BODY_REFUSALS, Operation, json_answer, text_answer
from kumotwist.net.router import JSON, HttpError, HttpRequest, Reply, Route, json_reply

PATH: Final = "/api/admin/explain/v1"


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The message to explain: an RFC 5322 text, its envelope, metadata, and the way it would have come in.

    By SMTP it comes from the client at the address `peer` that says `helo`, has logged in as `user` if that is given,
    and connected to the ESMTP listener of the number `listener`. Or only the `id` of one that is in the queue: 32 hex
    digits.
    """

    recipients: list[str] = []
    sender: str = ""
    content: str = "Subject: example\r\n\r\n"
    meta: dict[str, Any] = {}
    intake: Literal["smtp", "http"] = "smtp"
    id: str = ""
    peer: str = "127.0.0.1"
    helo: str = "localhost"
    user: str = ""
    listener: int = 1


_OPERATION: Final = Operation(
    name="explain",
    tag="operation",
    summary="What would become of a message, and why. Nothing is sent.",
    text="Handlers, queue, route table with shares and evidence, channel, limits, and what each failure would lead to.",
    body=Question,
    answers={
        200: json_answer("The explanation.", Told),
        404: text_answer("No worker has a message of that id in its queue."),
        422: text_answer("What is wrong with the question."),
        **BODY_REFUSALS,
    },
)
_DECODER: Final = msgspec.json.Decoder(Question)

Tell = Callable[[EnvelopeAddress, tuple[EnvelopeAddress, ...], Question], Awaitable[Told]]
#: What the workers say of a message in the queue, JSON each; those that have not got it say nothing.
Find = Callable[[SpoolId], Awaitable[Sequence[bytes]]]


def routes(tell: Tell, find: Find) -> tuple[Route, ...]:
    """The one route; `tell` explains a question whose addresses have been read, `find` a message in the queue."""

    async def explain(request: HttpRequest) -> Reply:
        try:
            question = _DECODER.decode(request.body)
            if question.id:
                return await _queued(question, find)
            recipients = tuple([asked.recipient(one) for one in question.recipients])
            if not recipients:
                raise ValueError("recipients: at least one is needed, or the id of a message in the queue")
            sender = asked.sender(question.sender)
            question.meta = asked.metadata(recipients, question.meta)
            question.peer = asked.address(question.peer)
        except (msgspec.DecodeError, ValueError) as error:
            raise HttpError(422, f"Error: {error}") from None
        try:
            return json_reply(await tell(sender, recipients, question))
        except ConfigError as error:
            raise HttpError(422, f"Error: listener: {error}") from None

    return (Route("POST", PATH, explain, _OPERATION),)


async def _queued(question: Question, find: Find) -> Reply:
    if question != Question(id=question.id):
        raise ValueError("id: goes alone, since the message is in the queue")
    try:
        spool_id = from_hex(question.id)
    except ValueError:
        raise ValueError("id: 32 hex digits are needed") from None
    told = [one for one in await find(spool_id) if one]
    if not told:
        where = f"{message.PATH}?id={spool_id.hex()}"
        raise HttpError(404, f"Error: no worker has the message {spool_id.hex()} in its queue; {where} tells its story")
    return Reply(200, told[0], JSON)
