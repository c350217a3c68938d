"""`POST /api/send/v1`: the send API as HTTP has it, with `Idempotency-Key`.

Public: `send_route`, `IDEMPOTENCY_KEY`, `REPLAYED`. What can go wrong: nothing
reaches the caller; the client hears 400, 409, 413, 415, 422 or 503 in plain
text.
"""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import frozen
from twisted.logger import Logger

from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.core.ids import IdGenerator
from kumotwist.intake.http.origin import origin_of
from kumotwist.intake.http.refusals import refusals, require_json
from kumotwist.intake.send import request as send_request
from kumotwist.intake.send.idempotency import (
    MAX_KEY,
    Answered,
    Interrupted,
    KeyName,
    Keys,
    Refusal,
    Reservation,
    key_of,
    scope_of,
)
from kumotwist.intake.send.result import SendResult
from kumotwist.intake.send.sending import Prepared, Sending
from kumotwist.net.operation import (
    BODY_REFUSALS,
    JSON,
    NOT_NOW,
    TEXT,
    Answer,
    Operation,
    Parameter,
    json_answer,
    text_answer,
)
from kumotwist.net.router import HttpError, HttpRequest, Reply, Route, json_reply

log: Final = Logger()

PATH: Final = "/api/send/v1"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
#: Header of an answer that was given before; its name is the one that other APIs with such keys use.
REPLAYED: Final = "Idempotent-Replayed"
#: Seconds after which to ask again about a request that is under way. Ours: policy and disk take less.
BUSY_RETRY: Final = "1"
_OPERATION: Final = Operation(
    name="send",
    tag="messages",
    summary="Sends one message to any kind of address: e-mail, phone, device, web push, chat.",
    text="200 means that at least one recipient was accepted and that all that were accepted are on disk.",
    body=send_request.SendBody,
    parameters=(
        Parameter(
            name=IDEMPOTENCY_KEY,
            place="header",
            text="For 24 hours the same key with the same body has no further effect and gets the first answer again. "
            "More than one such header is refused with 400.",
            max_length=MAX_KEY,
        ),
    ),
    answers={
        **BODY_REFUSALS,
        200: json_answer(
            "What became of each recipient.", SendResult, {REPLAYED: "`true` for an answer given before."}
        ),
        409: text_answer(
            "The key was used with another request, or the first request is under way: then with Retry-After.",
            {"Retry-After": "Seconds to wait."},
        ),
        422: Answer(
            text="No recipient was accepted (JSON), or the request is wrong (text, with the path of the field).",
            bodies={JSON: SendResult, TEXT: None},
        ),
        503: NOT_NOW,
    },
)


def send_route(sending: Sending, keys: Keys, region: str | None) -> Route:
    """The route; numbers without `+` are of `region`."""
    return Route("POST", PATH, _Handler(sending, keys, sending.ids, region).handle, _OPERATION)


@frozen
class _Handler:
    """Takes requests, with a key or without."""

    sending: Sending
    keys: Keys
    ids: IdGenerator
    region: str | None

    async def handle(self, request: HttpRequest) -> Reply:
        """Answer one request. Raises HttpError."""
        require_json(request)
        with refusals():
            body = send_request.decode(request.body)
            key = _key(request)
            prepared = self.sending.prepare(body, origin_of(request), self.region)
            if key is None:
                return _reply(await prepared.send())
            return await self._once(prepared, key)

    async def _once(self, prepared: Prepared, key: KeyName) -> Reply:
        """Carry it out unless that was done before."""
        ids = [self.ids() for _ in prepared.request.addresses]
        state = await self.keys.reserve(key, ids)
        match state:
            case Refusal.UNDER_WAY:
                raise HttpError(409, f"Error: {state.value}", {"Retry-After": BUSY_RETRY})
            case Refusal.OTHER_REQUEST:
                raise HttpError(409, f"Error: {state.value}")
            case Answered(answer):
                return Reply(200, answer, JSON, {REPLAYED: "true"})
            case Interrupted(kept):
                answer = msgspec.json.encode(prepared.interrupted(kept))
                return Reply(200, answer, JSON, {REPLAYED: "true"})
            case Reservation():
                return await self._carry_out(prepared, state)

    async def _carry_out(self, prepared: Prepared, reservation: Reservation) -> Reply:
        try:
            result = await prepared.send(reservation)
        except BaseException:
            # Where it is open what is on disk the next start finds out.
            if not prepared.is_saving:
                await _release(reservation)
            raise
        if not result.accepted:
            await _release(reservation)
        return _reply(result)


def _key(request: HttpRequest) -> KeyName | None:
    header = request.headers(IDEMPOTENCY_KEY.lower())
    if header is None:
        return None
    if request.repeats(IDEMPOTENCY_KEY.lower()) > 1:
        # A choice of ours may be another than a proxy's or a retry's, and the message would be sent twice.
        raise HttpError(400, f"Error: {IDEMPOTENCY_KEY} is there more than once; a request has one key")
    try:
        return KeyName.of(scope_of(request.auth), key_of(header), PATH, request.body)
    except ValueError as error:
        raise HttpError(400, f"Error: {error}") from None


async def _release(reservation: Reservation) -> None:
    try:
        await reservation.release()
    except (StateUnavailable, Overload) as error:
        log.error("an idempotency key stays taken until the next start: {error}", error=error)


def _reply(result: SendResult) -> Reply:
    # Who looks at the status only must not take it for sent when none of it was.
    return json_reply(result, 200 if result.accepted else 422)
