"""`POST /api/admin/explain/v1`: what would become of a message, with the shares and health as they are now.

The message is made, shown to policy and followed; it is not stored, queued or
sent. What the worker that is asked knows is what is told: shares are shared by
all, places in a queue are not.

Public: `routes`, `Question`. What can go wrong: 422 for a question that is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec

from kumotwist.admin import asked
from kumotwist.admin.explanation import Told
from kumotwist.core.address import EnvelopeAddress
from kumotwist.net.operation import BODY_REFUSALS, Operation, json_answer, text_answer
from kumotwist.net.router import HttpError, HttpRequest, Reply, Route, json_reply

PATH: Final = "/api/admin/explain/v1"


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The message to explain: an RFC 5322 text, its envelope, metadata, and the way it would have come in."""

    recipients: list[str]
    sender: str = ""
    content: str = "Subject: example\r\n\r\n"
    meta: dict[str, Any] = {}
    intake: Literal["smtp", "http"] = "smtp"


_OPERATION: Final = Operation(
    name="explain",
    tag="operation",
    summary="What would become of a message, and why. Nothing is sent.",
    text="Handlers, queue, route table with shares and evidence, channel, limits, and what each failure would lead to.",
    body=Question,
    answers={
        200: json_answer("The explanation.", Told),
        422: text_answer("What is wrong with the question."),
        **BODY_REFUSALS,
    },
)
_DECODER: Final = msgspec.json.Decoder(Question)

Tell = Callable[[EnvelopeAddress, tuple[EnvelopeAddress, ...], Question], Awaitable[Told]]


def routes(tell: Tell) -> tuple[Route, ...]:
    """The one route; `tell` explains a question whose addresses have been read."""

    async def explain(request: HttpRequest) -> Reply:
        try:
            question = _DECODER.decode(request.body)
            recipients = tuple([asked.recipient(one) for one in question.recipients])
            if not recipients:
                raise ValueError("recipients: at least one is needed")
            sender = asked.sender(question.sender)
            question.meta = asked.metadata(recipients, question.meta)
        except (msgspec.DecodeError, ValueError) as error:
            raise HttpError(422, f"Error: {error}") from None
        return json_reply(await tell(sender, recipients, question))

    return (Route("POST", PATH, explain, _OPERATION),)
